package xfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
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
	errLinks   = errors.New("too many symbolic links")
	errSpecial = errors.New("a special file has no content")
	errClosed  = iofs.ErrClosed
)

const (
	maxLinks   = 40
	maxSymlink = 1024
)

func pathError(op, name string, err error) error {
	return &iofs.PathError{Op: op, Path: name, Err: err}
}

// validPath is iofs.ValidPath without its demand for UTF-8: names on XFS are
// bytes.
func validPath(name string) bool {
	if name == "." {
		return true
	}
	for elem := range strings.SplitSeq(name, "/") {
		if elem == "" || isDot(elem) {
			return false
		}
	}
	return true
}

// walk finds the inode of a path, inside the volume. The last symbolic link is
// followed if follow is set.
func (v *FS) walk(ctx context.Context, name string, follow bool) (*inode, error) {
	if !validPath(name) {
		return nil, iofs.ErrInvalid
	}
	way := []*inode{v.root}
	links := 0
	for rest := name; rest != ""; {
		var elem string
		elem, rest, _ = strings.Cut(rest, "/")
		at := way[len(way)-1]
		if !at.isDir() {
			return nil, errNotDir
		}
		if elem == "" || elem == "." {
			continue
		}
		if elem == ".." {
			way = way[:max(len(way)-1, 1)]
			continue
		}
		e, err := v.directory(at).lookup(ctx, elem)
		if err != nil {
			return nil, err
		}
		n, err := v.inode(ctx, e.inode)
		if err != nil {
			return nil, err
		}
		if !n.isSymlink() || rest == "" && !follow {
			way = append(way, n)
			continue
		}
		if links++; links > maxLinks {
			return nil, errLinks
		}
		target, err := v.target(ctx, n)
		if err != nil {
			return nil, err
		}
		if target == "" {
			return nil, iofs.ErrNotExist
		}
		if target[0] == '/' {
			way = way[:1]
		}
		if rest != "" {
			target += "/" + rest
		}
		rest = target
	}
	return way[len(way)-1], nil
}

// target reads where a symbolic link points to.
func (v *FS) target(ctx context.Context, n *inode) (string, error) {
	object := fmt.Sprintf("symbolic link %d", n.number)
	place, _ := v.sb.inodePlace(n.number)
	if n.size > maxSymlink {
		return "", damaged(object, place, fmt.Sprintf("a target of %d bytes", n.size))
	}
	if n.format == formatLocal {
		return string(n.fork[:n.size]), nil
	}
	var target []byte
	f := v.fork(n)
	for blk := uint64(0); int64(len(target)) < n.size; {
		e, ok, err := f.find(ctx, blk)
		if err != nil {
			return "", err
		}
		if !ok || e.off != blk || e.count<<v.sb.blockLog > 1<<16 || n.realtime {
			return "", damaged(object, place, "its target is not where it should be")
		}
		blk = e.end()
		off, _ := v.sb.place(e.start, e.count)
		b, err := v.pages.read(ctx, off, int(e.count<<v.sb.blockLog))
		if err != nil {
			return "", err
		}
		if v.sb.v5 {
			if string(b[:4]) != "XSLM" {
				return "", damaged(object, off, "no signature")
			}
			if reason := v.prove(b, off, symlinkLayout(), n.number); reason != "" {
				return "", damaged(object, off, reason)
			}
			start, count := int64(binary.BigEndian.Uint32(b[4:])), int64(binary.BigEndian.Uint32(b[8:]))
			if start != int64(len(target)) || count > int64(len(b)-56) || count == 0 {
				return "", damaged(object, off, fmt.Sprintf("%d bytes of a target at %d", count, start))
			}
			b = b[56 : 56+count]
		}
		target = append(target, b[:min(int64(len(b)), n.size-int64(len(target)))]...)
	}
	return string(target), nil
}

// Open opens a file or directory; symbolic links are followed inside the
// volume.
func (v *FS) Open(name string) (iofs.File, error) {
	n, err := v.walk(context.Background(), name, true)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	i := v.info(n, path.Base(name))
	if n.isDir() {
		return &openDir{v: v, info: i, path: name, cursor: v.directory(n).cursor()}, nil
	}
	return &file{v: v, info: i, path: name, fork: v.fork(n)}, nil
}

func (v *FS) info(n *inode, name string) info { return info{n, name, v.notice(n)} }

// Stat describes a file, following symbolic links.
func (v *FS) Stat(name string) (iofs.FileInfo, error) { return v.stat("stat", name, true) }

// Lstat describes a file or a symbolic link.
func (v *FS) Lstat(name string) (iofs.FileInfo, error) { return v.stat("lstat", name, false) }

func (v *FS) stat(op, name string, follow bool) (iofs.FileInfo, error) {
	n, err := v.walk(context.Background(), name, follow)
	if err != nil {
		return nil, pathError(op, name, err)
	}
	return v.info(n, path.Base(name)), nil
}

// ReadLink returns the target of a symbolic link.
func (v *FS) ReadLink(name string) (string, error) {
	n, err := v.walk(context.Background(), name, false)
	if err == nil && !n.isSymlink() {
		err = errNotLink
	}
	var target string
	if err == nil {
		target, err = v.target(context.Background(), n)
	}
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	return target, nil
}

// ReadDir lists a directory by name. Of a damaged directory it returns what
// can be read, and an error.
func (v *FS) ReadDir(name string) ([]iofs.DirEntry, error) {
	ctx := context.Background()
	n, err := v.walk(ctx, name, true)
	if err == nil && !n.isDir() {
		err = errNotDir
	}
	if err != nil {
		return nil, pathError("readdir", name, err)
	}
	entries, err := v.directory(n).all(ctx)
	if err != nil {
		err = pathError("readdir", name, err)
	}
	list := v.dirEntries(ctx, entries)
	slices.SortFunc(list, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return list, err
}

// Extents returns where the content of a file lies, in the file's order:
// every block that was allocated for it, written or not. Files that share
// blocks with others are refused.
func (v *FS) Extents(name string) ([]disk.Extent, error) {
	ctx := context.Background()
	n, err := v.walk(ctx, name, true)
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

func (v *FS) extents(ctx context.Context, n *inode) ([]disk.Extent, error) {
	switch {
	case n.mode&typeMask != typeRegular:
		return nil, errSpecial
	case v.notice(n) != "":
		return nil, errors.New(v.notice(n))
	case n.shared:
		return nil, errors.New("the file may share blocks with others")
	}
	var list []disk.Extent
	f := v.fork(n)
	for blk := uint64(0); int64(blk<<v.sb.blockLog) < n.size; {
		e, ok, err := f.find(ctx, blk)
		if err != nil {
			return nil, err
		}
		if !ok || int64(e.off<<v.sb.blockLog) >= n.size {
			break
		}
		blk = e.end()
		off, _ := v.sb.place(e.start, e.count)
		x := disk.Extent{Off: off, Len: min(int64(e.count<<v.sb.blockLog), n.size-int64(e.off<<v.sb.blockLog))}
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
