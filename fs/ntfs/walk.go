package ntfs

import (
	"errors"
	iofs "io/fs"
	"strings"
)

const (
	maxLinks = 40
	maxParts = 64 << 10 // of a path with all its links
)

// spot is what a path leads to.
type spot struct {
	*node
	stream string // UTF-16LE name of an alternate stream, "" for the file
	depth  int    // directories above it, for links that are relative to the root
}

// walk follows a valid path from the root. The last part's link is followed
// where follow says so.
func (f *FS) walk(path string, follow bool) (spot, error) {
	root, err := f.node(recRoot)
	if err != nil {
		return spot{}, err
	}
	stack := []*node{root}
	parts := strings.Split(path, "/")
	for links := 0; len(parts) > 0; {
		part, last := parts[0], len(parts) == 1
		parts = parts[1:]
		top := stack[len(stack)-1]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			stack = stack[:max(len(stack)-1, 1)]
			continue
		case !top.isDir:
			return spot{}, iofs.ErrNotExist
		}
		next, err := f.child(top, part)
		if errors.Is(err, iofs.ErrNotExist) && last {
			return f.alternate(stack, part)
		}
		if err != nil {
			return spot{}, err
		}
		if next.link == nil || last && !follow {
			stack = append(stack, next)
			continue
		}
		if links++; links > maxLinks {
			return spot{}, errLoop
		}
		target, fromRoot := f.resolve(next.link)
		if fromRoot {
			stack = stack[:1]
		}
		if parts = append(strings.Split(target, "/"), parts...); len(parts) > maxParts {
			return spot{}, errLoop
		}
	}
	return spot{node: stack[len(stack)-1], depth: len(stack) - 1}, nil
}

// child looks a name up in a directory.
func (f *FS) child(dir *node, name string) (*node, error) {
	e, err := f.lookup(dir.inode, name)
	if err != nil {
		return nil, err
	}
	return f.node(e.ref)
}

// lookup finds a part of a path in a directory.
func (f *FS) lookup(dir *inode, name string) (entry, error) {
	d, err := dir.openDir()
	if err != nil {
		return entry{}, err
	}
	for _, enc := range encodings(name) {
		e, err := d.lookup(enc)
		if err == nil && e.ref&refMask == dir.num {
			err = iofs.ErrNotExist // the root's name for itself
		}
		if !errors.Is(err, iofs.ErrNotExist) {
			return e, err
		}
	}
	return entry{}, iofs.ErrNotExist
}

// alternate understands the last part of a path as "name:stream".
func (f *FS) alternate(stack []*node, part string) (spot, error) {
	i := strings.LastIndexByte(part, ':')
	if i <= 0 || i == len(part)-1 {
		return spot{}, iofs.ErrNotExist
	}
	n, err := stack[len(stack)-1], error(nil)
	depth := len(stack) - 1
	if part[:i] != "." {
		if n, err = f.child(n, part[:i]); err != nil {
			return spot{}, err
		}
		depth++
	}
	names := encodings(part[i+1:])
	var found string
	err = n.each(func(t uint32, name string) bool { return t == atData && name != "" }, func(a attr) error {
		for _, want := range names {
			folded, exact := f.upcase.compare(want, a.name)
			if folded == 0 && (exact == 0 || found == "") {
				found = a.name
			}
		}
		return nil
	})
	if err == nil && found == "" {
		err = iofs.ErrNotExist
	}
	return spot{n, found, depth}, err
}

// resolve returns where a link leads, and whether from the volume's root. A
// target with a drive's letter is on this volume when its first part is, and
// when either both or none of them is a Windows' C:.
func (f *FS) resolve(l *link) (target string, fromRoot bool) {
	if l.drive == 0 {
		return l.target, l.root
	}
	path := strings.TrimPrefix(l.target[2:], "/")
	if (l.drive == 'C') != f.ownLetter() {
		return l.target, false
	}
	if first, _, _ := strings.Cut(path, "/"); first != "" {
		if _, err := f.find(first); err != nil {
			return l.target, false
		}
	}
	return path, true
}

// hasWindows reports whether the root has a Windows folder: the volume's letter
// is not written on it, but this makes it C:.
func (f *FS) hasWindows() bool {
	n, err := f.find("Windows")
	return err == nil && n.isDir
}

// find looks a name up in the root directory.
func (f *FS) find(name string) (*node, error) {
	root, err := f.inode(recRoot)
	if err != nil {
		return nil, err
	}
	e, err := f.lookup(root, name)
	if err != nil {
		return nil, err
	}
	return f.node(e.ref)
}

// readLink returns the target of a link as a path: relative to the link where
// it stays on the volume, as Windows wrote it (with slashes) otherwise.
func (f *FS) readLink(s spot) string {
	if s.link.unix {
		return s.link.target
	}
	target, fromRoot := f.resolve(s.link)
	if !fromRoot {
		return target
	}
	up := strings.Repeat("../", s.depth-1)
	if target = up + strings.TrimLeft(target, "/"); target == "" {
		return "."
	}
	return target
}
