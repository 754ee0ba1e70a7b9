package guest

import (
	"bytes"
	"io"
	iofs "io/fs"
	"time"
)

// textName is the file that stands where a volume is not opened.
const textName = "README.txt"

// text is a file system with one file, which says why there are no others.
type text struct{ body []byte }

var _ interface {
	iofs.ReadDirFS
	iofs.StatFS
} = (*text)(nil)

func newText(why string) *text { return &text{[]byte(why + "\n")} }

// textInfo is the folder (size < 0) or the file in it.
type textInfo struct{ size int64 }

func (i textInfo) IsDir() bool { return i.size < 0 }

func (i textInfo) Name() string {
	if i.IsDir() {
		return "."
	}
	return textName
}

func (i textInfo) Size() int64 { return max(i.size, 0) }

func (i textInfo) Mode() iofs.FileMode {
	if i.IsDir() {
		return iofs.ModeDir | 0o555
	}
	return 0o444
}

func (i textInfo) ModTime() time.Time { return time.Time{} }

func (i textInfo) Sys() any { return nil }

func (t *text) Stat(name string) (iofs.FileInfo, error) {
	switch {
	case !iofs.ValidPath(name):
		return nil, &iofs.PathError{Op: "stat", Path: name, Err: iofs.ErrInvalid}
	case name == ".":
		return textInfo{-1}, nil
	case name == textName:
		return textInfo{int64(len(t.body))}, nil
	}
	return nil, &iofs.PathError{Op: "stat", Path: name, Err: iofs.ErrNotExist}
}

func (t *text) ReadDir(name string) ([]iofs.DirEntry, error) {
	info, err := t.Stat(name)
	if err == nil && !info.IsDir() {
		err = &iofs.PathError{Op: "readdir", Path: name, Err: iofs.ErrInvalid}
	}
	if err != nil {
		return nil, err
	}
	return []iofs.DirEntry{iofs.FileInfoToDirEntry(textInfo{int64(len(t.body))})}, nil
}

func (t *text) Open(name string) (iofs.File, error) {
	info, err := t.Stat(name)
	if err != nil {
		return nil, &iofs.PathError{Op: "open", Path: name, Err: iofs.ErrNotExist}
	}
	if info.IsDir() {
		return &textFolder{t: t}, nil
	}
	return &textFile{bytes.NewReader(t.body), info}, nil
}

type textFile struct {
	*bytes.Reader
	info iofs.FileInfo
}

func (f *textFile) Stat() (iofs.FileInfo, error) { return f.info, nil }

func (f *textFile) Close() error { return nil }

type textFolder struct {
	t    *text
	done bool
}

var _ iofs.ReadDirFile = (*textFolder)(nil)

func (f *textFolder) Stat() (iofs.FileInfo, error) { return textInfo{-1}, nil }

func (f *textFolder) Read([]byte) (int, error) {
	return 0, &iofs.PathError{Op: "read", Path: ".", Err: iofs.ErrInvalid}
}

func (f *textFolder) Close() error { return nil }

func (f *textFolder) ReadDir(n int) ([]iofs.DirEntry, error) {
	if f.done {
		if n > 0 {
			return nil, io.EOF
		}
		return nil, nil
	}
	f.done = true
	return f.t.ReadDir(".")
}
