package fat

import (
	"context"
	"io"
	"sync"

	iofs "io/fs"

	"vitrine/fs/disk"
)

// file is an open file.
type file struct {
	v     *FS
	info  info
	path  string
	chain *chain

	mu     sync.Mutex
	off    int64
	closed bool
}

var (
	_ io.ReaderAt          = (*file)(nil)
	_ io.Seeker            = (*file)(nil)
	_ disk.ContextReaderAt = (*file)(nil)
)

func (f *file) Stat() (iofs.FileInfo, error) { return f.info, nil }

// Close makes Read and Seek fail.
func (f *file) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return pathError("close", f.path, iofs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, pathError("read", f.path, iofs.ErrClosed)
	}
	n, err := f.ReadAt(p, f.off)
	f.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

func (f *file) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch whence {
	case io.SeekCurrent:
		offset += f.off
	case io.SeekEnd:
		offset += f.info.size
	}
	if f.closed {
		return 0, pathError("seek", f.path, iofs.ErrClosed)
	}
	if offset < 0 || whence < 0 || whence > io.SeekEnd {
		return 0, pathError("seek", f.path, iofs.ErrInvalid)
	}
	f.off = offset
	return offset, nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that ends with ctx.
func (f *file) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, end := disk.Clip(len(p), off, f.info.size)
	written := max(min(int64(n), f.info.valid-off), 0)
	if n > 0 && written > 0 {
		if done, err := f.chain.read(ctx, p[:written], off); err != nil {
			return done, pathError("read", f.path, err)
		}
	}
	clear(p[written:n])
	return n, end
}

// NextData returns what was written of the file, from off on; io.EOF tells
// that there is nothing.
func (f *file) NextData(off int64) (start, end int64, err error) {
	if off = max(off, 0); off >= f.info.valid {
		return 0, 0, io.EOF
	}
	return off, f.info.valid, nil
}

// openDir is an open directory.
type openDir struct {
	v    *FS
	info info
	path string

	mu     sync.Mutex
	cursor *cursor
	err    error // met on the way, reported at the end
	closed bool
}

var _ iofs.ReadDirFile = (*openDir)(nil)

func (d *openDir) Stat() (iofs.FileInfo, error) { return d.info, nil }

func (d *openDir) Read([]byte) (int, error) { return 0, pathError("read", d.path, errIsDir) }

// Close makes ReadDir fail.
func (d *openDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return pathError("close", d.path, iofs.ErrClosed)
	}
	d.closed = true
	return nil
}

// ReadDir returns the next n entries in the volume's order. Damage is reported
// behind all that can be read.
func (d *openDir) ReadDir(n int) ([]iofs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, pathError("readdir", d.path, iofs.ErrClosed)
	}
	var nodes []dirEntry
	for !d.cursor.done && (n <= 0 || len(nodes) < n) {
		x, err := d.cursor.next(context.Background())
		d.err = keep(d.err, err)
		if x.name != "" {
			nodes = append(nodes, dirEntry{x})
		}
	}
	list := dirEntries(nodes)
	if n > 0 && len(list) > 0 {
		return list, nil
	}
	if d.err != nil {
		return list, pathError("readdir", d.path, d.err)
	}
	if n > 0 {
		return list, io.EOF
	}
	return list, nil
}

// dirEntry is a node as an entry of a directory.
type dirEntry struct{ node }

func dirEntries(nodes []dirEntry) []iofs.DirEntry {
	list := make([]iofs.DirEntry, len(nodes))
	for i := range nodes {
		list[i] = &nodes[i]
	}
	return list
}

func (e *dirEntry) Name() string                 { return e.name }
func (e *dirEntry) IsDir() bool                  { return e.dir }
func (e *dirEntry) Type() iofs.FileMode          { return e.mode().Type() }
func (e *dirEntry) Info() (iofs.FileInfo, error) { return info{e.node, e.name}, nil }
func (e *dirEntry) String() string               { return iofs.FormatDirEntry(e) }
