package local

import (
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// extended gives the form of an absolute path that may be longer than 260
// characters. The store's own is absolute and clean.
func extended(path string) (*uint16, error) {
	switch {
	case len(path) >= 4 && path[:4] == `\\?\`:
	case len(path) >= 2 && path[:2] == `\\`:
		path = `\\?\UNC\` + path[2:]
	case filepath.IsAbs(path):
		path = `\\?\` + path
	}
	return windows.UTF16PtrFromString(path)
}

// openFile opens for reading in a way that lets others delete the file.
func openFile(path string) (*os.File, error) {
	p, err := extended(path)
	if err != nil {
		return nil, &iofs.PathError{Op: "open", Path: path, Err: err}
	}
	h, err := windows.CreateFile(p, windows.GENERIC_READ,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		if st, serr := os.Lstat(path); serr == nil && st.IsDir() {
			err = windows.ERROR_FILE_NOT_FOUND
		}
		return nil, &iofs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// removeFile removes a file, also a read-only one, and never a folder.
func removeFile(path string) error {
	p, err := extended(path)
	if err == nil {
		err = windows.DeleteFile(p)
	}
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		var attrs uint32
		attrs, err = windows.GetFileAttributes(p)
		if err == nil && attrs&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
			err = windows.ERROR_ACCESS_DENIED
		}
		if err == nil {
			err = windows.SetFileAttributes(p, attrs&^windows.FILE_ATTRIBUTE_READONLY)
		}
		if err == nil {
			err = windows.DeleteFile(p)
		}
	}
	if err != nil {
		return &iofs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// publish names the whole file; fs.ErrExist when the name is taken.
func publish(tmp, path string) error {
	from, err := extended(tmp)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: tmp, New: path, Err: err}
	}
	to, err := extended(path)
	if err == nil {
		err = windows.MoveFileEx(from, to, windows.MOVEFILE_WRITE_THROUGH)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: tmp, New: path, Err: err}
	}
	return nil
}

// syncFolder has nothing to do: NTFS and ReFS log changes of names in order,
// and the move that publishes an object is written through.
func syncFolder(string) error { return nil }

func isReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

// isUnsupported is a file system without attributes.
func isUnsupported(err error) bool {
	return errors.Is(err, windows.ERROR_NOT_SUPPORTED) || errors.Is(err, windows.ERROR_INVALID_FUNCTION)
}
