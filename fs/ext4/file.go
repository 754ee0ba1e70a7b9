package ext4

import (
	"context"
	"fmt"
	"io"
	iofs "io/fs"
	"path"
	"sync"
	"sync/atomic"

	"vitrine/fs/disk"
)

// file is an open file that is no folder.
type file struct {
	content
	name   string
	refuse error // why it cannot be read
	closed atomic.Bool

	mu  sync.Mutex // guards off
	off int64
}

var (
	_ io.ReadSeeker        = (*file)(nil)
	_ io.ReaderAt          = (*file)(nil)
	_ disk.ContextReaderAt = (*file)(nil)
)

func (f *file) prepare() error {
	if f.refuse = f.fsys.mustBeFile(f.inode); f.refuse != nil {
		return nil
	}
	if f.inode.has(flagInlineData) {
		data, err := f.inode.inlineData()
		if err != nil {
			return err
		}
		f.inline = data
	}
	return nil
}

// check returns why op cannot be done.
func (f *file) check(op string) error {
	err := f.refuse
	if f.closed.Load() {
		err = iofs.ErrClosed
	}
	if err != nil {
		return pathError(op, f.name, err)
	}
	return nil
}

func (f *file) Stat() (iofs.FileInfo, error) {
	if f.closed.Load() {
		return nil, pathError("stat", f.name, iofs.ErrClosed)
	}
	return newInfo(path.Base(f.name), f.inode), nil
}

func (f *file) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, iofs.ErrClosed)
	}
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("read"); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := f.ReadAt(p, f.off)
	f.off += int64(n)
	if err == io.EOF && n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) Seek(off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.check("seek"); err != nil {
		return 0, err
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		off += f.off
	case io.SeekEnd:
		off += f.inode.size
	default:
		return 0, pathError("seek", f.name, fmt.Errorf("whence %d", whence))
	}
	if off < 0 {
		return 0, pathError("seek", f.name, errInvalidOff)
	}
	f.off = off
	return off, nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt, given up when ctx ends.
func (f *file) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := f.check("read"); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathError("read", f.name, errInvalidOff)
	}
	n, err := f.readAt(ctx, p, off)
	if err != nil && err != io.EOF {
		err = pathError("read", f.name, err)
	}
	return n, err
}

// NextData returns the first stretch at or behind off that may be other than
// zeros; io.EOF behind the last.
func (f *file) NextData(off int64) (start, end int64, err error) {
	if err := f.check("read"); err != nil {
		return 0, 0, err
	}
	start, end, err = f.nextData(context.Background(), off)
	if err != nil && err != io.EOF {
		err = pathError("read", f.name, err)
	}
	return start, end, err
}
