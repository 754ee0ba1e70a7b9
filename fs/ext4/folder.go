package ext4

import (
	"context"
	"io"
	iofs "io/fs"
	"path"
	"slices"
	"strings"
	"sync"
)

// folderFile is an open folder.
type folderFile struct {
	fsys  *FS
	inode *inode
	name  string

	mu     sync.Mutex // guards what follows
	closed bool
	scan   *scan
	ready  []entry // read from the volume, but not given yet
	err    error   // what comes behind ready
}

var _ iofs.ReadDirFile = (*folderFile)(nil)

func (f *folderFile) Stat() (iofs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, pathError("stat", f.name, iofs.ErrClosed)
	}
	return newInfo(path.Base(f.name), f.inode), nil
}

func (f *folderFile) Read([]byte) (int, error) {
	return 0, pathError("read", f.name, errIsDir)
}

func (f *folderFile) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return pathError("close", f.name, iofs.ErrClosed)
	}
	f.closed = true
	return nil
}

// ReadDir gives the entries in the order of the volume. Damage in the folder
// is an error at its place: the next call goes on behind it.
func (f *folderFile) ReadDir(count int) ([]iofs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, pathError("readdir", f.name, iofs.ErrClosed)
	}
	var list []iofs.DirEntry
	for count <= 0 || len(list) < count {
		if len(f.ready) > 0 {
			list = append(list, f.fsys.dirEntry(f.inode, f.ready[0]))
			f.ready = f.ready[1:]
			continue
		}
		if err := f.err; err != nil {
			if err == io.EOF {
				break
			}
			if count <= 0 || len(list) == 0 {
				f.err = nil
				return list, pathError("readdir", f.name, err)
			}
			break
		}
		f.ready, f.err = f.scan.entries(context.Background(), f.ready[:0])
	}
	if count > 0 && len(list) == 0 {
		return nil, io.EOF
	}
	return list, nil
}

// ReadDir returns all entries of a folder by name. Where the folder is damaged
// it returns the others, and the first error.
func (fsys *FS) ReadDir(name string) ([]iofs.DirEntry, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	dir, ok := f.(iofs.ReadDirFile)
	if !ok {
		return nil, pathError("readdir", name, errNotDir)
	}
	var first error
	list, err := dir.ReadDir(-1)
	for err != nil {
		if first == nil {
			first = err
		}
		var more []iofs.DirEntry
		more, err = dir.ReadDir(-1)
		list = append(list, more...)
	}
	slices.SortFunc(list, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, first
}

// dirEntry is a name in a folder. Its inode is read when somebody asks.
type dirEntry struct {
	fsys  *FS
	name  string
	inode uint32
	typ   uint8
}

func (fsys *FS) dirEntry(dir *inode, e entry) *dirEntry {
	d := &dirEntry{fsys: fsys, inode: e.inode, typ: e.typ}
	if dir.has(flagEncrypted) {
		d.name = fsys.opaqueName(dir, e.name)
	} else {
		d.name = string(e.name)
	}
	return d
}

func (d *dirEntry) Name() string   { return d.name }
func (d *dirEntry) IsDir() bool    { return d.Type().IsDir() }
func (d *dirEntry) String() string { return iofs.FormatDirEntry(d) }

// Type is what the folder says; where it says nothing, what the inode says,
// and irregular where that cannot be read.
func (d *dirEntry) Type() iofs.FileMode {
	if t, ok := (entry{typ: d.typ}).fileType(); ok {
		return t
	}
	n, err := d.fsys.inode(context.Background(), d.inode)
	if err != nil {
		return iofs.ModeIrregular
	}
	return typeOfMode(n.mode)
}

func (d *dirEntry) Info() (iofs.FileInfo, error) {
	n, err := d.fsys.inode(context.Background(), d.inode)
	if err != nil {
		return nil, pathError("stat", d.name, err)
	}
	return newInfo(d.name, n), nil
}
