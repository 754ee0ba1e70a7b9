package ntfs

import (
	"io"
	iofs "io/fs"

	"vitrine/fs/disk"
)

var (
	_ iofs.File        = (*file)(nil)
	_ io.ReaderAt      = (*file)(nil)
	_ io.Seeker        = (*file)(nil)
	_ iofs.ReadDirFile = (*dirFile)(nil)
)

// file is an open file or stream.
type file struct {
	info    *info
	path    string
	content content
	refused error // why there is no content
	off     int64
	closed  bool
}

func (f *file) fail(op string, err error) error {
	return &iofs.PathError{Op: op, Path: f.path, Err: err}
}

// ready returns why the content cannot be used.
func (f *file) ready(op string) error {
	if f.closed {
		return f.fail(op, iofs.ErrClosed)
	}
	if f.refused != nil {
		return f.fail(op, f.refused)
	}
	return nil
}

// Stat describes the open file.
func (f *file) Stat() (iofs.FileInfo, error) {
	if f.closed {
		return nil, f.fail("stat", iofs.ErrClosed)
	}
	return f.info, nil
}

// Read reads from where the last Read or Seek ended.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.off)
	if f.off += int64(n); n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt reads at a place; it is safe for concurrent use.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.ready("read"); err != nil {
		return 0, err
	}
	n, err := f.content.ReadAt(p, off)
	if err != nil && err != io.EOF {
		err = f.fail("read", err)
	}
	return n, err
}

// Seek sets where the next Read begins.
func (f *file) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += f.off
	case io.SeekEnd:
		off += f.info.size
	}
	if f.closed {
		return 0, f.fail("seek", iofs.ErrClosed)
	}
	if off < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return 0, f.fail("seek", iofs.ErrInvalid)
	}
	f.off = off
	return off, nil
}

// NextData returns the next extent that may hold something other than zeros;
// io.EOF when only holes follow.
func (f *file) NextData(off int64) (start, end int64, err error) {
	if err := f.ready("seek"); err != nil {
		return 0, 0, err
	}
	return f.content.NextData(off)
}

// Extents returns where on the volume the content lies; none for what is
// resident or packed.
func (f *file) Extents() []disk.Extent {
	if s, ok := f.content.(*stream); ok {
		return s.extents()
	}
	return nil
}

// Close ends the use of the file.
func (f *file) Close() error {
	if f.closed {
		return f.fail("close", iofs.ErrClosed)
	}
	f.closed = true
	return nil
}

// dirFile is an open directory.
type dirFile struct {
	info   *info
	path   string
	scan   *scan
	ready  []iofs.DirEntry // decoded, not given out yet
	damage error           // the first, told behind the last entry
	done   bool
	closed bool
}

func (d *dirFile) fail(op string, err error) error {
	return &iofs.PathError{Op: op, Path: d.path, Err: err}
}

// Stat describes the open directory.
func (d *dirFile) Stat() (iofs.FileInfo, error) {
	if d.closed {
		return nil, d.fail("stat", iofs.ErrClosed)
	}
	return d.info, nil
}

// Read fails: a directory has no bytes.
func (d *dirFile) Read([]byte) (int, error) { return 0, d.fail("read", errIsDir) }

// Close ends the use of the directory.
func (d *dirFile) Close() error {
	if d.closed {
		return d.fail("close", iofs.ErrClosed)
	}
	d.closed, d.ready, d.scan = true, nil, nil
	return nil
}

// ReadDir returns the next n entries in the order of the index blocks, or all
// that are left. Damaged blocks do not keep the others from being read: they
// are an error behind the last entry.
func (d *dirFile) ReadDir(n int) ([]iofs.DirEntry, error) {
	if d.closed {
		return nil, d.fail("readdir", iofs.ErrClosed)
	}
	if d.scan == nil {
		dir, err := d.info.openDir()
		if err != nil {
			return nil, d.fail("readdir", err)
		}
		d.scan = dir.scan()
	}
	for !d.done && (n <= 0 || len(d.ready) < n) {
		d.step()
	}
	var err error
	if n <= 0 || len(d.ready) == 0 {
		if err, d.damage = d.damage, nil; err != nil {
			err = d.fail("readdir", err)
		} else if n > 0 {
			err = io.EOF
		}
		n = len(d.ready)
	}
	n = min(n, len(d.ready))
	out := d.ready[:n:n]
	d.ready = d.ready[n:]
	return out, err
}

// step decodes the entries of the next index node.
func (d *dirFile) step() {
	const perNode = 64
	fs, root := d.info.fs, d.info.num == recRoot
	slab := make([]dirEntry, 0, perNode)
	var names []byte
	var ends []int
	done, err := d.scan.step(func(e entry) {
		num := e.ref & refMask
		if root && num < firstUser || num == d.info.num {
			return // metadata files, and the root's name for itself
		}
		names = appendName(names, e.name)
		ends = append(ends, len(names))
		slab = append(slab, dirEntry{fs: fs, ref: e.ref, attrs: e.attrs})
	})
	d.done = done
	if err != nil && d.damage == nil {
		d.damage = err
	}
	all, from := string(names), 0
	for i := range slab {
		slab[i].name = all[from:ends[i]]
		from = ends[i]
		d.ready = append(d.ready, &slab[i])
	}
}

// dirEntry is a name in a directory. It loads the file only where the index
// does not tell what it is.
type dirEntry struct {
	fs    *FS
	name  string
	ref   uint64
	attrs uint32
}

func (e *dirEntry) Name() string   { return e.name }
func (e *dirEntry) IsDir() bool    { return e.Type().IsDir() }
func (e *dirEntry) String() string { return iofs.FormatDirEntry(e) }

// Type tells links, directories and files apart.
func (e *dirEntry) Type() iofs.FileMode {
	if e.attrs&(attrReparse|attrSystem) != 0 {
		if n, err := e.fs.node(e.ref); err == nil {
			return n.mode.Type()
		}
	}
	if e.attrs&attrDirectory != 0 {
		return iofs.ModeDir
	}
	return 0
}

// Info describes the file without following a link.
func (e *dirEntry) Info() (iofs.FileInfo, error) {
	n, err := e.fs.node(e.ref)
	if err != nil {
		return nil, &iofs.PathError{Op: "lstat", Path: e.name, Err: err}
	}
	return &info{node: n, name: e.name, size: n.size, mode: n.mode}, nil
}
