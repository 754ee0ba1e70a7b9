package ext4

import (
	"bytes"
	"context"
	iofs "io/fs"
	"path"
	"strings"
)

const (
	// maxLinks is how many symbolic links one path may go through.
	maxLinks = 40
	// maxTarget is the longest target that is followed or given.
	maxTarget = 1 << 16
)

// validPath is iofs.ValidPath for names that need not be UTF-8.
func validPath(name string) bool {
	if name == "." {
		return true
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || strings.IndexByte(part, 0) >= 0 {
			return false
		}
	}
	return true
}

// resolve finds the inode of a path. Symbolic links on the way lead to places
// of the same volume; one at the end is followed only if follow says so.
func (fsys *FS) resolve(ctx context.Context, name string, follow bool) (*inode, error) {
	if !validPath(name) {
		return nil, iofs.ErrInvalid
	}
	root, err := fsys.inode(ctx, rootInode)
	if err != nil {
		return nil, err
	}
	above := []*inode{root} // the folders of the path so far
	rest := name
	for links := 0; rest != ""; {
		part, tail, more := strings.Cut(rest, "/")
		rest = tail
		here := above[len(above)-1]
		if !here.is(modeDir) {
			return nil, errNotDir
		}
		switch part {
		case "", ".":
			continue
		case "..":
			above = above[:max(len(above)-1, 1)]
			continue
		}
		n, err := fsys.child(ctx, here, part)
		if err != nil {
			return nil, err
		}
		if n.is(modeLink) && (follow || more) {
			if links++; links > maxLinks {
				return nil, errLoop
			}
			target, err := fsys.target(ctx, n)
			if err != nil {
				return nil, err
			}
			if target[0] == '/' {
				above = above[:1]
			}
			if rest != "" {
				target += "/" + rest
			}
			rest = target
			continue
		}
		for _, a := range above {
			if a.number == n.number {
				return nil, n.corrupt(n.off, "the folder lies in itself")
			}
		}
		above = append(above, n)
	}
	return above[len(above)-1], nil
}

func (fsys *FS) child(ctx context.Context, dir *inode, name string) (*inode, error) {
	e, err := fsys.lookup(ctx, dir, name)
	if err != nil {
		return nil, err
	}
	return fsys.inode(ctx, e.inode)
}

// target reads where a symbolic link leads.
func (fsys *FS) target(ctx context.Context, n *inode) (string, error) {
	if notice := n.notice(); notice != "" {
		return "", &UnreadableError{notice}
	}
	if n.size <= 0 || n.size > maxTarget {
		return "", n.corrupt(n.off, "the target of the link has %d bytes", n.size)
	}
	var p []byte
	switch {
	case n.has(flagInlineData):
		var err error
		if p, err = n.inlineData(); err != nil {
			return "", err
		}
	case fsys.isFastLink(n):
		if n.size >= inlineSize {
			return "", n.corrupt(n.off, "the target of the link has %d bytes and no block", n.size)
		}
		p = n.blockMap()[:n.size]
	default:
		c := content{fsys: fsys, inode: n}
		p = make([]byte, n.size)
		if _, err := c.readAt(ctx, p, 0); err != nil {
			return "", err
		}
	}
	if i := bytes.IndexByte(p, 0); i >= 0 {
		p = p[:i] // as the kernel does
	}
	if len(p) == 0 {
		return "", n.corrupt(n.off, "the target of the link is empty")
	}
	return string(p), nil
}

// isFastLink reports whether the link has no blocks, except perhaps one of
// extended attributes, so that its target is in the inode.
func (fsys *FS) isFastLink(n *inode) bool {
	var xattr uint64
	if n.xattrBlock != 0 {
		xattr = fsys.super.clusterBlocks * uint64(fsys.blockSize) / 512
	}
	return n.sectors == xattr && !n.has(flagExtents)
}

// Open opens a file or a folder; symbolic links are followed inside of the
// volume.
func (fsys *FS) Open(name string) (iofs.File, error) {
	n, err := fsys.resolve(context.Background(), name, true)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if n.is(modeDir) {
		return &folderFile{fsys: fsys, inode: n, name: name, scan: fsys.newScan(n)}, nil
	}
	f := &file{content: content{fsys: fsys, inode: n}, name: name}
	if err := f.prepare(); err != nil {
		return nil, pathError("open", name, err)
	}
	return f, nil
}

// Stat describes what Open opens.
func (fsys *FS) Stat(name string) (iofs.FileInfo, error) {
	n, err := fsys.resolve(context.Background(), name, true)
	if err != nil {
		return nil, pathError("stat", name, err)
	}
	return newInfo(path.Base(name), n), nil
}

// Lstat is Stat, except that a symbolic link is described itself.
func (fsys *FS) Lstat(name string) (iofs.FileInfo, error) {
	n, err := fsys.resolve(context.Background(), name, false)
	if err != nil {
		return nil, pathError("lstat", name, err)
	}
	return newInfo(path.Base(name), n), nil
}

// ReadLink returns where a symbolic link leads, as the guest wrote it.
func (fsys *FS) ReadLink(name string) (string, error) {
	n, err := fsys.resolve(context.Background(), name, false)
	if err == nil && !n.is(modeLink) {
		err = errNotLink
	}
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	target, err := fsys.target(context.Background(), n)
	if err != nil {
		return "", pathError("readlink", name, err)
	}
	return target, nil
}

func pathError(op, name string, err error) error {
	return &iofs.PathError{Op: op, Path: name, Err: err}
}

func (fsys *FS) mustBeFile(n *inode) error {
	switch {
	case n.is(modeDir):
		return errIsDir
	case !n.is(modeRegular):
		return errSpecial
	case n.notice() != "":
		return &UnreadableError{n.notice()}
	}
	return nil
}
