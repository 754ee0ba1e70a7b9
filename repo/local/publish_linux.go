package local

import (
	"os"

	"golang.org/x/sys/unix"
)

// publish names the whole file; fs.ErrExist when the name is taken. File
// systems that cannot rename without replacing (NFS, some in user space) can
// link.
func publish(tmp, path string) error {
	for {
		err := unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EINVAL, unix.ENOSYS, unix.ENOTSUP:
			return linkNew(tmp, path)
		}
		return &os.LinkError{Op: "rename", Old: tmp, New: path, Err: err}
	}
}
