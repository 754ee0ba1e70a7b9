package mount

import (
	"fmt"
	"slices"
	"strings"
)

// Options that the system understands, by name, and those that say nothing to
// a mount that is only read or would hurt it: go-fuse waits for ever for a
// helper that auto_unmount keeps running.
var (
	forwarded = []string{"default_permissions", "exec", "noexec", "context", "fscontext", "defcontext", "rootcontext", "seclabel"}
	dropped   = []string{"auto_unmount", "auto_cache", "kernel_cache", "direct_io", "big_writes", "subtype", "blkdev", "max_read", "intr", "nointr", "async_read", "sync_read"}
)

// OptionError is returned for a mount option that nobody understands.
type OptionError struct{ Option string }

func (e *OptionError) Error() string { return fmt.Sprintf("mount: unknown option %q", e.Option) }

// Hint says what to do.
func (e *OptionError) Hint() string { return "the help of this command lists the options" }

// forward picks what is passed to the system. The kernel would refuse an option
// that it does not know without saying which.
func forward(options []string) ([]string, error) {
	var list []string
	for _, o := range options {
		name, _, _ := strings.Cut(o, "=")
		switch {
		case slices.Contains(forwarded, name):
			list = append(list, o)
		case !slices.Contains(dropped, name):
			return nil, &OptionError{o}
		}
	}
	return list, nil
}
