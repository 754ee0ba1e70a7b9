//go:build !linux && !windows

package mount

import (
	"context"

	"vitrine/fs"
)

// Links says that a mount on this system shows symbolic links.
const Links = true

// UnmountOptions of Unmount.
type UnmountOptions struct {
	Lazy bool // detach it if it is busy
}

// Unmount is not supported on this system.
func Unmount(string, UnmountOptions) error { return ErrUnsupported }

func prepare(context.Context, string, Options) (string, error) { return "", ErrUnsupported }

func serve(context.Context, *fs.Tree, string, Options) (server, error) { return nil, ErrUnsupported }
