//go:build unix

package local

import (
	"errors"
	iofs "io/fs"
	"os"
	"syscall"
)

// openFile opens for reading. It takes a link for a missing file, as List
// does, and does not wait for the other end of a pipe.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, &iofs.PathError{Op: "open", Path: path, Err: iofs.ErrNotExist}
	}
	return f, err
}

// removeFile removes a file and never a folder.
func removeFile(path string) error {
	for {
		err := syscall.Unlink(path)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return &iofs.PathError{Op: "unlink", Path: path, Err: err}
		}
		return nil
	}
}

// syncFolder makes the names in a folder durable. XFS, once an error has made
// it shut down, lets the sync of a folder succeed whose changes it has just
// thrown away; asking for the folder's attributes then fails.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if err == nil {
		_, err = f.Stat()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// linkNew names the file by a second link, which never replaces anything, and
// drops the first.
func linkNew(tmp, path string) error {
	err := os.Link(tmp, path)
	if errors.Is(err, iofs.ErrExist) && sameFile(tmp, path) {
		err = nil // the answer to the first try was lost on the network
	}
	if err != nil {
		return err
	}
	return removeFile(tmp)
}

func sameFile(a, b string) bool {
	sa, erra := os.Lstat(a)
	sb, errb := os.Lstat(b)
	return erra == nil && errb == nil && os.SameFile(sa, sb)
}

func isReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

// isUnsupported is a file system without permissions of its own.
func isUnsupported(err error) bool {
	return errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOTSUP) || errors.Is(err, syscall.ENOSYS)
}
