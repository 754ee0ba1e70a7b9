//go:build linux && !cgofuse

package mount

import (
	"context"
	"io"
	iofs "io/fs"
	"iter"
	"math"
	"syscall"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"vitrine/fs"
)

// mapping is what turns a tree's nodes into the kernel's.
type mapping struct {
	tree     *fs.Tree
	uid, gid uint32
	umask    uint32
}

func newMapping(tree *fs.Tree, o Options) *mapping {
	uid, gid := owner(o)
	return &mapping{tree: tree, uid: uid, gid: gid, umask: o.Umask}
}

// node is a node of the tree that the kernel knows.
type node struct {
	gofs.Inode
	m        *mapping
	n        fs.Node
	changing bool // names in it may come and go
}

var (
	_ gofs.NodeLookuper       = (*node)(nil)
	_ gofs.NodeGetattrer      = (*node)(nil)
	_ gofs.NodeOpendirHandler = (*node)(nil)
	_ gofs.NodeReadlinker     = (*node)(nil)
	_ gofs.NodeOpener         = (*node)(nil)
	_ gofs.NodeStatfser       = (*node)(nil)
)

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*gofs.Inode, syscall.Errno) {
	d, ok := n.n.(fs.Dir)
	if !ok {
		return nil, syscall.ENOTDIR
	}
	child, err := d.Lookup(ctx, name)
	if err != nil {
		return nil, errno(err)
	}
	i, err := child.Stat(ctx)
	if err != nil {
		return nil, errno(err)
	}
	n.m.attr(i, &out.Attr)
	known := longTime
	if n.changing || i.Volatile {
		known = shortTime
	}
	out.SetEntryTimeout(known)
	out.SetAttrTimeout(known)
	return n.NewInode(ctx, &node{m: n.m, n: child, changing: i.Volatile}, gofs.StableAttr{Mode: kind(i.Mode), Ino: i.Ino}), 0
}

func (n *node) Getattr(ctx context.Context, _ gofs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	i, err := n.n.Stat(ctx)
	if err != nil {
		return errno(err)
	}
	n.m.attr(i, &out.Attr)
	out.SetTimeout(longTime)
	if i.Volatile {
		out.SetTimeout(shortTime)
	}
	return 0
}

// attr fills what stat tells. Blksize is set, or go-fuse would make Blocks up
// from the size and every disk would look full.
func (m *mapping) attr(i fs.Info, a *fuse.Attr) {
	a.Ino = i.Ino
	a.Size = uint64(i.Size)
	a.Blocks = uint64(i.Alloc+511) / 512
	a.Blksize = 4096
	a.Mode = kind(i.Mode) | uint32(i.Mode.Perm())
	if i.Mode&iofs.ModeSymlink == 0 {
		a.Mode &^= m.umask & 0o777
	}
	a.Nlink = i.Links
	a.Uid, a.Gid = m.uid, m.gid
	a.SetTimes(&i.Time, &i.Time, &i.Time)
}

func kind(m iofs.FileMode) uint32 {
	switch {
	case m.IsDir():
		return syscall.S_IFDIR
	case m&iofs.ModeSymlink != 0:
		return syscall.S_IFLNK
	}
	return syscall.S_IFREG
}

func (n *node) Readlink(ctx context.Context) ([]byte, syscall.Errno) {
	l, ok := n.n.(fs.Link)
	if !ok {
		return nil, syscall.EINVAL
	}
	target, err := l.Target(ctx)
	return []byte(target), errno(err)
}

// Open keeps what the kernel has of files that never change, and has it ask
// for the others each time.
func (n *node) Open(ctx context.Context, flags uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_ACCMODE != syscall.O_RDONLY || flags&syscall.O_TRUNC != 0 {
		return nil, 0, syscall.EROFS
	}
	f, ok := n.n.(fs.File)
	if !ok {
		return nil, 0, syscall.EISDIR
	}
	i, err := f.Stat(ctx)
	if err != nil {
		return nil, 0, errno(err)
	}
	h, err := f.Open(ctx)
	if err != nil {
		return nil, 0, errno(err)
	}
	if i.Volatile {
		return &handle{h}, fuse.FOPEN_DIRECT_IO, 0
	}
	return &handle{h}, fuse.FOPEN_KEEP_CACHE, 0
}

// Statfs counts bytes of disks as used and none as free.
func (n *node) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	size, points := n.m.tree.Size()
	*out = fuse.StatfsOut{
		Blocks: max(1, uint64(size)/4096), Bsize: 4096, Frsize: 4096,
		Files: uint64(points), NameLen: 255,
	}
	return 0
}

// OpendirHandle lists without holding the listing in memory.
func (n *node) OpendirHandle(ctx context.Context, _ uint32) (gofs.FileHandle, uint32, syscall.Errno) {
	d, ok := n.n.(fs.Dir)
	if !ok {
		return nil, 0, syscall.ENOTDIR
	}
	h := &listing{d: d}
	h.rewind()
	return h, 0, 0
}

// listing is an opened directory. go-fuse calls it from one goroutine at a
// time. The listing is that of the time when it was begun.
type listing struct {
	d    fs.Dir
	next func() (fs.Entry, error, bool)
	stop func()
	off  uint64
}

var (
	_ gofs.FileReaddirenter = (*listing)(nil)
	_ gofs.FileSeekdirer    = (*listing)(nil)
	_ gofs.FileReleasedirer = (*listing)(nil)
)

// rewind begins anew. What the tree has to fetch for it is not given up with
// the request that happens to begin, since the next one goes on with it.
func (l *listing) rewind() {
	if l.stop != nil {
		l.stop()
	}
	l.off, l.next, l.stop = 0, nil, nil
}

func (l *listing) Readdirent(ctx context.Context) (*fuse.DirEntry, syscall.Errno) {
	if l.next == nil {
		l.next, l.stop = iter.Pull2(l.d.Entries(ctx))
	}
	e, err, ok := l.next()
	if !ok {
		return nil, 0
	}
	if err != nil {
		l.rewind()
		return nil, errno(err)
	}
	l.off++
	return &fuse.DirEntry{Name: e.Name, Ino: e.Ino, Mode: kind(e.Mode), Off: l.off}, 0
}

// Seekdir goes to an offset that Readdirent gave.
func (l *listing) Seekdir(ctx context.Context, off uint64) syscall.Errno {
	if off < l.off {
		l.rewind()
	}
	for l.off < off {
		e, errno := l.Readdirent(ctx)
		if errno != 0 {
			return errno
		}
		if e == nil {
			break
		}
	}
	return 0
}

func (l *listing) Releasedir(context.Context, uint32) { l.rewind() }

// handle is an opened file.
type handle struct{ h fs.Handle }

var (
	_ gofs.FileReader   = (*handle)(nil)
	_ gofs.FileLseeker  = (*handle)(nil)
	_ gofs.FileReleaser = (*handle)(nil)
)

func (h *handle) Read(ctx context.Context, p []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	ctx, end := reading(ctx)
	defer end()
	n, err := h.h.ReadAt(ctx, p, off)
	if e := errno(err); e != 0 {
		return nil, e
	}
	return fuse.ReadResultData(p[:n]), 0
}

func (h *handle) Lseek(ctx context.Context, off uint64, whence uint32) (uint64, syscall.Errno) {
	x, ok := h.h.(fs.Extenter)
	if !ok || off > math.MaxInt64 {
		return 0, syscall.EINVAL
	}
	var at int64
	var err error
	switch whence {
	case unix.SEEK_DATA:
		at, err = x.NextData(ctx, int64(off))
	case unix.SEEK_HOLE:
		at, err = x.NextHole(ctx, int64(off))
	default:
		return 0, syscall.EINVAL
	}
	if err == io.EOF {
		return 0, syscall.ENXIO
	}
	return uint64(at), errno(err)
}

func (h *handle) Release(context.Context) syscall.Errno { return errno(h.h.Close()) }

// errno tells the kernel of an error.
func errno(err error) syscall.Errno {
	switch why(err) {
	case reasonNone:
		return 0
	case reasonNotExist:
		return syscall.ENOENT
	case reasonInterrupted:
		return syscall.EINTR
	case reasonTimeout:
		return syscall.ETIMEDOUT
	case reasonDenied:
		return syscall.EACCES
	case reasonReadOnly:
		return syscall.EROFS
	case reasonInvalid:
		return syscall.EINVAL
	case reasonNotDir:
		return syscall.ENOTDIR
	}
	return syscall.EIO
}

// watch has the kernel forget what has changed above the restore points.
func (n *node) watch(tree *fs.Tree) {
	tree.Watch(func(c fs.Change) {
		for name, machine := range n.Children() {
			if machine.StableAttr().Ino != c.Ino {
				continue
			}
			// Whether the kernel knew any of it does not matter: it
			// asks again within a second anyway.
			n.NotifyEntry(name)
			machine.NotifyContent(0, 0)
			for _, gone := range append(c.Gone, "latest") {
				machine.NotifyEntry(gone)
			}
		}
	})
}
