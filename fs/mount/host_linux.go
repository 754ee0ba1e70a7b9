//go:build linux && cgofuse

package mount

import (
	"fmt"

	"github.com/winfsp/cgofuse/fuse"
)

// Links says that a mount on this system shows symbolic links.
const Links = true

const (
	foldCase      = false
	attributeCode = -fuse.EROFS
)

// hostArgs are the arguments that libfuse is given. The mount is not made
// read-only, so that the adapter's own refusals are met, as on Windows.
func hostArgs(dir string, o Options) (string, []string, error) {
	if err := canMount(o); err != nil {
		return "", nil, err
	}
	args := []string{"-o", "fsname=" + o.Name, "-o", "subtype=vitrine", "-o", "use_ino", "-o", "attr_timeout=1", "-o", "entry_timeout=1"}
	if o.AllowOther {
		args = append(args, "-o", "allow_other", "-o", "default_permissions")
	}
	if o.NonEmpty {
		args = append(args, "-o", "nonempty")
	}
	for _, f := range o.Forward {
		args = append(args, "-o", f)
	}
	return dir, args, nil
}

func missing(err error) error {
	return &SystemError{"libfuse is not installed", err, "apt-get install libfuse2"}
}

// visible reports whether the mount is there, without asking it.
func visible(dir string) bool { return ours(dir) }

// hostSystem is what the system adds to a mount: nothing here.
type hostSystem struct{}

func newHostSystem(*hostServer, Options) (*hostSystem, error) { return &hostSystem{}, nil }

func (*hostSystem) close() {}

func (*hostSystem) unmount(s *hostServer) error {
	if err := unmountDir(s.dir, false); err != nil && ours(s.dir) {
		return err
	}
	return nil
}

func (*hostSystem) detach(s *hostServer) error {
	if err := unmountDir(s.dir, true); err != nil && ours(s.dir) {
		return fmt.Errorf("mount: detach: %w", err)
	}
	return nil
}
