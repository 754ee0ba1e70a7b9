package fs

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

const maxLinks = 40 // followed in one path

// Walk finds the node of a slash-separated path below d, "" or "." being d
// itself. It follows no links.
func Walk(ctx context.Context, d Dir, name string) (Node, error) {
	var n Node = d
	for _, part := range strings.Split(name, "/") {
		if part == "" || part == "." {
			continue
		}
		dir, ok := n.(Dir)
		if !ok {
			return nil, notExist(name)
		}
		var err error
		if n, err = dir.Lookup(ctx, part); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Follow is Walk that follows links, also one in the last place. None leads
// out of root.
func Follow(ctx context.Context, root Dir, name string) (Node, error) {
	return resolve(ctx, root, path.Clean("/" + name)[1:], true)
}

// resolve finds the node of a clean path below root; the last element's link
// is followed only when follow is set.
func resolve(ctx context.Context, root Dir, name string, follow bool) (Node, error) {
	for range maxLinks {
		dir, parts, again := Node(root), strings.Split(name, "/"), false
		for i, part := range parts {
			d, ok := dir.(Dir)
			if !ok {
				return nil, iofs.ErrNotExist
			}
			if part == "." || part == "" {
				continue
			}
			n, err := d.Lookup(ctx, part)
			if err != nil {
				return nil, err
			}
			if l, ok := n.(Link); ok && (follow || i < len(parts)-1) {
				target, err := l.Target(ctx)
				if err != nil {
					return nil, err
				}
				name = path.Join(append(append(slices.Clone(parts[:i]), target), parts[i+1:]...)...)
				again = true
				break
			}
			dir = n
		}
		if !again {
			return dir, nil
		}
	}
	return nil, iofs.ErrInvalid
}

// FS is the tree as an io/fs.FS, with links followed. Its files can be read
// at any offset (io.ReaderAt, io.Seeker).
func (t *Tree) FS() iofs.FS { return treeFS{t} }

type treeFS struct{ t *Tree }

var (
	_ iofs.StatFS     = treeFS{}
	_ iofs.ReadDirFS  = treeFS{}
	_ iofs.ReadLinkFS = treeFS{}
)

// find resolves a path; the last element's link only when follow is set.
func (f treeFS) find(op, name string, follow bool) (Node, error) {
	if !iofs.ValidPath(name) {
		return nil, &iofs.PathError{Op: op, Path: name, Err: iofs.ErrInvalid}
	}
	n, err := resolve(f.t.ctx, f.t.Root(), name, follow)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return n, nil
}

func pathError(op, name string, err error) error {
	var p *iofs.PathError
	if errors.As(err, &p) && p.Err == iofs.ErrNotExist {
		err = iofs.ErrNotExist
	}
	return &iofs.PathError{Op: op, Path: name, Err: err}
}

func (f treeFS) Open(name string) (iofs.File, error) {
	n, err := f.find("open", name, true)
	if err != nil {
		return nil, err
	}
	i, err := n.Stat(f.t.ctx)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	info := fileInfo{path.Base(name), i}
	switch n := n.(type) {
	case Dir:
		return &openDir{fsys: f, name: name, dir: n, info: info}, nil
	case File:
		h, err := n.Open(f.t.ctx)
		if err != nil {
			return nil, pathError("open", name, err)
		}
		return &openFile{SectionReader: io.NewSectionReader(under{f.t.ctx, h}, 0, i.Size), h: h, info: info}, nil
	}
	return nil, pathError("open", name, iofs.ErrInvalid)
}

func (f treeFS) info(op, name string, follow bool) (iofs.FileInfo, error) {
	n, err := f.find(op, name, follow)
	if err != nil {
		return nil, err
	}
	i, err := n.Stat(f.t.ctx)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return fileInfo{path.Base(name), i}, nil
}

func (f treeFS) Stat(name string) (iofs.FileInfo, error)  { return f.info("stat", name, true) }
func (f treeFS) Lstat(name string) (iofs.FileInfo, error) { return f.info("lstat", name, false) }

func (f treeFS) ReadLink(name string) (string, error) {
	n, err := f.find("readlink", name, false)
	if err != nil {
		return "", err
	}
	l, ok := n.(Link)
	if !ok {
		return "", pathError("readlink", name, iofs.ErrInvalid)
	}
	return l.Target(f.t.ctx)
}

func (f treeFS) ReadDir(name string) ([]iofs.DirEntry, error) {
	n, err := f.find("readdir", name, true)
	if err != nil {
		return nil, err
	}
	d, ok := n.(Dir)
	if !ok {
		return nil, pathError("readdir", name, errors.New("not a directory"))
	}
	var list []iofs.DirEntry
	for e, err := range d.Entries(f.t.ctx) {
		if err != nil {
			return list, pathError("readdir", name, err)
		}
		list = append(list, dirEntry{f, path.Join(name, e.Name), e})
	}
	// A guest's folders have an order of their own.
	slices.SortFunc(list, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, nil
}

// fileInfo is a node's Info as io/fs has it; Sys gives the Info.
type fileInfo struct {
	name string
	i    Info
}

func (i fileInfo) Name() string        { return i.name }
func (i fileInfo) Size() int64         { return i.i.Size }
func (i fileInfo) Mode() iofs.FileMode { return i.i.Mode }
func (i fileInfo) ModTime() time.Time  { return i.i.Time }
func (i fileInfo) IsDir() bool         { return i.i.Mode.IsDir() }
func (i fileInfo) Sys() any            { return i.i }

type dirEntry struct {
	fsys treeFS
	path string
	e    Entry
}

func (e dirEntry) Name() string                 { return e.e.Name }
func (e dirEntry) IsDir() bool                  { return e.e.Mode.IsDir() }
func (e dirEntry) Type() iofs.FileMode          { return e.e.Mode.Type() }
func (e dirEntry) Info() (iofs.FileInfo, error) { return e.fsys.Lstat(e.path) }
func (e dirEntry) String() string               { return iofs.FormatDirEntry(e) }

// under reads a handle under the tree's context.
type under struct {
	ctx context.Context
	h   Handle
}

func (u under) ReadAt(p []byte, off int64) (int, error) { return u.h.ReadAt(u.ctx, p, off) }

type openFile struct {
	*io.SectionReader
	h    Handle
	info fileInfo
}

func (f *openFile) Stat() (iofs.FileInfo, error) { return f.info, nil }
func (f *openFile) Close() error                 { return f.h.Close() }

type openDir struct {
	fsys treeFS
	name string
	dir  Dir
	info fileInfo

	mu   sync.Mutex
	read bool
	rest []iofs.DirEntry
}

func (d *openDir) Stat() (iofs.FileInfo, error) { return d.info, nil }
func (d *openDir) Close() error                 { return nil }

func (d *openDir) Read([]byte) (int, error) {
	return 0, pathError("read", d.name, errors.New("is a directory"))
}

func (d *openDir) ReadDir(n int) ([]iofs.DirEntry, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.read {
		list, err := d.fsys.ReadDir(d.name)
		if err != nil {
			return nil, err
		}
		d.rest, d.read = list, true
	}
	if n <= 0 || n > len(d.rest) {
		if n > 0 && len(d.rest) == 0 {
			return nil, io.EOF
		}
		n = len(d.rest)
	}
	list := d.rest[:n:n]
	d.rest = d.rest[n:]
	return list, nil
}
