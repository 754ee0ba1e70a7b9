package fat

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"

	iofs "io/fs"

	"vitrine/fs/disk"
)

var (
	_ iofs.FS         = (*FS)(nil)
	_ iofs.ReadDirFS  = (*FS)(nil)
	_ iofs.StatFS     = (*FS)(nil)
	_ iofs.ReadLinkFS = (*FS)(nil)
)

var (
	errNotDir  = errors.New("not a directory")
	errIsDir   = errors.New("is a directory")
	errNotLink = errors.New("not a symbolic link")
)

func pathError(op, name string, err error) error {
	return &iofs.PathError{Op: op, Path: name, Err: err}
}

// walk finds the node of a path. A directory that lies inside itself is
// damage.
func (v *FS) walk(ctx context.Context, name string) (node, error) {
	if !iofs.ValidPath(name) {
		return node{}, iofs.ErrInvalid
	}
	at := v.root
	if name == "." {
		return at, nil
	}
	above := make(map[uint32]bool)
	for elem := range strings.SplitSeq(name, "/") {
		if !at.dir {
			return node{}, errNotDir
		}
		above[at.first] = true
		n, err := v.lookup(ctx, at, elem)
		if err != nil {
			return node{}, err
		}
		if n.dir && above[n.first] {
			return node{}, damaged("directory entry", n.place, "a directory inside itself")
		}
		at = n
	}
	return at, nil
}

// Open opens a file or directory.
func (v *FS) Open(name string) (iofs.File, error) {
	n, err := v.walk(context.Background(), name)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	i := info{n, path.Base(name)}
	if n.dir {
		return &openDir{v: v, info: i, path: name, cursor: v.cursor(n)}, nil
	}
	return &file{v: v, info: i, path: name, chain: v.chain(n)}, nil
}

// Stat describes a file.
func (v *FS) Stat(name string) (iofs.FileInfo, error) {
	n, err := v.walk(context.Background(), name)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return info{n, path.Base(name)}, nil
}

// Lstat is Stat: there are no symbolic links.
func (v *FS) Lstat(name string) (iofs.FileInfo, error) { return v.Stat(name) }

// ReadLink gives an error: there are no symbolic links.
func (v *FS) ReadLink(name string) (string, error) {
	if _, err := v.walk(context.Background(), name); err != nil {
		return "", pathError("readlink", name, err)
	}
	return "", pathError("readlink", name, errNotLink)
}

// ReadDir lists a directory by name. Of a damaged directory it returns what
// can be read, and an error.
func (v *FS) ReadDir(name string) ([]iofs.DirEntry, error) {
	ctx := context.Background()
	n, err := v.walk(ctx, name)
	if err == nil && !n.dir {
		err = errNotDir
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	nodes, err := v.all(ctx, n)
	if err != nil {
		err = pathError("readdir", name, err)
	}
	slices.SortFunc(nodes, func(a, b dirEntry) int { return strings.Compare(a.name, b.name) })
	return dirEntries(nodes), err
}

// Extents returns where the content of a file lies, in the file's order.
func (v *FS) Extents(name string) ([]disk.Extent, error) {
	ctx := context.Background()
	n, err := v.walk(ctx, name)
	if err == nil && n.dir {
		err = errIsDir
	}
	var list []disk.Extent
	if err == nil {
		list, err = v.extents(ctx, n)
	}
	if err != nil {
		return nil, pathError("extents", name, err)
	}
	return list, nil
}

const maxExtents = 1 << 20

func (v *FS) extents(ctx context.Context, n node) ([]disk.Extent, error) {
	c := v.chain(n)
	if err := c.check(ctx); err != nil {
		return nil, err
	}
	if c.damage != nil {
		return nil, c.damage
	}
	var list []disk.Extent
	for index := int64(0); index < c.good; {
		cluster, count, err := c.locate(ctx, index)
		if err != nil {
			return nil, err
		}
		x := disk.Extent{Off: v.g.place(cluster), Len: min(count*v.g.cluster, n.size-index*v.g.cluster)}
		index += count
		if k := len(list) - 1; k >= 0 && list[k].End() == x.Off {
			list[k].Len += x.Len
			continue
		}
		if len(list) == maxExtents {
			return nil, errors.New("the file is in too many pieces")
		}
		list = append(list, x)
	}
	return list, nil
}
