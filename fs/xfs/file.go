package xfs

import (
	"context"
	"errors"
	"io"
	"sync"

	iofs "io/fs"

	"vitrine/fs/disk"
)

// file is an open file.
type file struct {
	v    *FS
	info info
	path string
	fork *fork

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
		return pathError("close", f.path, errClosed)
	}
	f.closed = true
	return nil
}

func (f *file) Read(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return 0, pathError("read", f.path, errClosed)
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
		return 0, pathError("seek", f.path, errClosed)
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
	if err := f.readable(); err != nil {
		return 0, pathError("read", f.path, err)
	}
	n, end := disk.Clip(len(p), off, f.info.size)
	done, err := f.fill(ctx, p[:n], off)
	if err != nil {
		return done, pathError("read", f.path, err)
	}
	return n, end
}

func (f *file) readable() error {
	if f.info.reason != "" {
		return errors.New(f.info.reason)
	}
	if f.info.mode&typeMask != typeRegular {
		return errSpecial
	}
	return nil
}

// fill reads len(p) bytes at off, which are inside the file.
func (f *file) fill(ctx context.Context, p []byte, off int64) (int, error) {
	log := f.v.sb.blockLog
	for done := 0; done < len(p); {
		at := off + int64(done)
		blk := uint64(at) >> log
		rest := p[done:]
		e, ok, err := f.fork.find(ctx, blk)
		if err != nil {
			return done, err
		}
		if !ok || e.off > blk {
			if ok {
				rest = rest[:min(int64(len(rest)), int64(e.off<<log)-at)]
			}
			clear(rest)
			done += len(rest)
			continue
		}
		rest = rest[:min(int64(len(rest)), int64(e.end()<<log)-at)]
		if e.unwritten {
			clear(rest)
			done += len(rest)
			continue
		}
		place, _ := f.v.sb.place(e.start, e.count)
		if err := disk.ReadFull(ctx, f.v.r, rest, place+at-int64(e.off<<log)); err != nil {
			return done, err
		}
		done += len(rest)
	}
	return len(p), nil
}

// maxJoin bounds how many extents of a file NextData looks at to join them.
const maxJoin = 1024

// NextData returns the first extent at or behind off that holds data; holes
// and blocks that were never written lie between. io.EOF tells that there is
// none.
func (f *file) NextData(off int64) (start, end int64, err error) {
	if err := f.readable(); err != nil {
		return 0, 0, pathError("read", f.path, err)
	}
	ctx, log := context.Background(), f.v.sb.blockLog
	for at, joined := max(off, 0), 0; at < f.info.size && joined < maxJoin; {
		e, ok, err := f.fork.find(ctx, uint64(at)>>log)
		if err != nil {
			return 0, 0, pathError("read", f.path, err)
		}
		if !ok {
			break
		}
		from := max(int64(e.off<<log), at)
		if end > 0 && (e.unwritten || from > end) {
			break
		}
		if at = int64(e.end() << log); !e.unwritten {
			if end == 0 {
				start = from
			}
			end = at
			joined++
		}
	}
	if end == 0 || start >= f.info.size {
		return 0, 0, io.EOF
	}
	return start, min(end, f.info.size), nil
}

// openDir is an open directory.
type openDir struct {
	v    *FS
	info info
	path string

	mu      sync.Mutex
	cursor  *cursor
	entries []entry // read and not yet returned
	err     error   // met on the way, reported at the end
	closed  bool
}

var _ iofs.ReadDirFile = (*openDir)(nil)

func (d *openDir) Stat() (iofs.FileInfo, error) { return d.info, nil }

func (d *openDir) Read([]byte) (int, error) { return 0, pathError("read", d.path, errIsDir) }

// Close makes ReadDir fail.
func (d *openDir) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return pathError("close", d.path, errClosed)
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
		return nil, pathError("readdir", d.path, errClosed)
	}
	ctx := context.Background()
	for !d.cursor.done && (n <= 0 || len(d.entries) < n) {
		more, err := d.cursor.next(ctx)
		d.err = keep(d.err, err)
		d.entries = append(d.entries, more...)
	}
	take := len(d.entries)
	if n > 0 {
		take = min(take, n)
	}
	list := d.v.dirEntries(ctx, d.entries[:take])
	if d.entries = d.entries[take:]; len(d.entries) == 0 {
		d.entries = nil
	}
	if n > 0 && take > 0 {
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

// dirEntry is an entry of a directory, with what its Info needs.
type dirEntry struct {
	v *FS
	entry
	kind iofs.FileMode
}

// dirEntries tells the type of each entry. Where the directory does not tell,
// the inode is asked; one that cannot be read is irregular.
func (v *FS) dirEntries(ctx context.Context, entries []entry) []iofs.DirEntry {
	list := make([]iofs.DirEntry, len(entries))
	for i, e := range entries {
		kind, ok := e.mode()
		if !ok {
			kind = iofs.ModeIrregular
			if n, err := v.inode(ctx, e.inode); err == nil {
				kind = fileMode(n.mode).Type()
			}
		}
		list[i] = &dirEntry{v, e, kind}
	}
	return list
}

func (e *dirEntry) Name() string        { return e.name }
func (e *dirEntry) IsDir() bool         { return e.kind.IsDir() }
func (e *dirEntry) Type() iofs.FileMode { return e.kind }
func (e *dirEntry) String() string      { return iofs.FormatDirEntry(e) }

// Info reads the inode.
func (e *dirEntry) Info() (iofs.FileInfo, error) {
	n, err := e.v.inode(context.Background(), e.inode)
	if err != nil {
		return nil, pathError("stat", e.name, err)
	}
	n.fork = nil // lists of many files need no more of it
	return e.v.info(n, e.name), nil
}
