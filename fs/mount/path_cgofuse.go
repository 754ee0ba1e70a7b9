//go:build windows || cgofuse

package mount

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/winfsp/cgofuse/fuse"

	"vitrine/fs"
)

// pathFS answers by path. What changes nothing is here, what would change
// something in readonly_cgofuse.go.
type pathFS struct {
	fuse.FileSystemBase
	ctx      context.Context // ends with the mount
	tree     *fs.Tree
	o        Options
	uid, gid uint32
	begin    sync.Once
	ready    chan struct{} // closed by Init

	mu      sync.Mutex
	handles map[uint64]fs.Handle
	last    uint64
}

var (
	_ fuse.FileSystemInterface = (*pathFS)(nil)
	_ fuse.FileSystemOpenEx    = (*pathFS)(nil)
	_ fuse.FileSystemGetpath   = (*pathFS)(nil)
)

func newPathFS(ctx context.Context, tree *fs.Tree, o Options) *pathFS {
	uid, gid := owner(o)
	return &pathFS{ctx: ctx, tree: tree, o: o, uid: uid, gid: gid, ready: make(chan struct{}), handles: make(map[uint64]fs.Handle)}
}

// Init is called when the mount begins.
func (f *pathFS) Init() { f.begin.Do(func() { close(f.ready) }) }

// answer runs an operation and gives its result the form of FUSE: 0 or a
// negative number. cgofuse would turn a panic into an error and say nothing.
func (f *pathFS) answer(op func(ctx context.Context) error) (result int) {
	defer func() {
		if v := recover(); v != nil {
			f.o.OnError(fmt.Errorf("mount: %v\n%s", v, debug.Stack()))
			result = -fuse.EIO
		}
	}()
	ctx, cancel := context.WithTimeout(f.ctx, answerTime)
	defer cancel()
	return code(op(ctx))
}

func code(err error) int {
	switch why(err) {
	case reasonNone:
		return 0
	case reasonNotExist:
		return -fuse.ENOENT
	case reasonInterrupted:
		return -fuse.EINTR
	case reasonTimeout:
		return -fuse.ETIMEDOUT
	case reasonDenied:
		return -fuse.EACCES
	case reasonReadOnly:
		return -fuse.EROFS
	case reasonInvalid:
		return -fuse.EINVAL
	case reasonNotDir:
		return -fuse.ENOTDIR
	}
	return -fuse.EIO
}

// find resolves a path, and returns it as the tree spells it. Where case does
// not count, an exact name is preferred.
func (f *pathFS) find(ctx context.Context, path string) (fs.Node, string, error) {
	var n fs.Node = f.tree.Root()
	var real strings.Builder
	for part := range strings.SplitSeq(path, "/") {
		if part == "" {
			continue
		}
		d, ok := n.(fs.Dir)
		if !ok {
			return nil, "", errNotDir
		}
		child, err := d.Lookup(ctx, part)
		if foldCase && errors.Is(err, iofs.ErrNotExist) {
			if part, err = spelling(ctx, d, part); err == nil {
				child, err = d.Lookup(ctx, part)
			}
		}
		if err != nil {
			return nil, "", err
		}
		n = child
		real.WriteString("/" + part)
	}
	if real.Len() == 0 {
		real.WriteByte('/')
	}
	return n, real.String(), nil
}

// spelling finds a name of the directory that differs in case only.
func spelling(ctx context.Context, d fs.Dir, name string) (string, error) {
	for e, err := range d.Entries(ctx) {
		if err != nil {
			return "", err
		}
		if strings.EqualFold(e.Name, name) {
			return e.Name, nil
		}
	}
	return "", iofs.ErrNotExist
}

// Getpath tells how a path is really spelled.
func (f *pathFS) Getpath(path string, _ uint64) (int, string) {
	var real string
	return f.answer(func(ctx context.Context) (err error) {
		_, real, err = f.find(ctx, path)
		return err
	}), real
}

// Getattr tells what stat tells.
func (f *pathFS) Getattr(path string, st *fuse.Stat_t, _ uint64) int {
	return f.answer(func(ctx context.Context) error {
		n, _, err := f.find(ctx, path)
		if err != nil {
			return err
		}
		return f.stat(ctx, n, st)
	})
}

func (f *pathFS) stat(ctx context.Context, n fs.Node, st *fuse.Stat_t) error {
	i, err := n.Stat(ctx)
	if err != nil {
		return err
	}
	mode := uint32(i.Mode.Perm())
	switch {
	case i.Mode.IsDir():
		mode = fuse.S_IFDIR | mode&^f.o.Umask
	case i.Mode&iofs.ModeSymlink != 0:
		mode |= fuse.S_IFLNK
	default:
		mode = fuse.S_IFREG | mode&^f.o.Umask
	}
	t := fuse.NewTimespec(i.Time)
	*st = fuse.Stat_t{
		Ino: i.Ino, Mode: mode, Nlink: i.Links, Uid: f.uid, Gid: f.gid, Size: i.Size,
		Atim: t, Mtim: t, Ctim: t, Birthtim: t,
		Blksize: 4096, Blocks: (i.Alloc + 511) / 512,
	}
	return nil
}

// Statfs counts bytes of disks as used and none as free. Its unit is the
// sector that Windows takes the volume to have, and disks are attached by.
func (f *pathFS) Statfs(_ string, st *fuse.Statfs_t) int {
	size, points := f.tree.Size()
	*st = fuse.Statfs_t{Bsize: 4096, Frsize: 512, Blocks: max(1, uint64(size)/512), Files: uint64(points), Namemax: 255}
	return 0
}

// Readlink is not offered on Windows, where WinFsp would follow every path
// for links then.
func (f *pathFS) Readlink(path string) (int, string) {
	if !Links {
		return -fuse.ENOSYS, ""
	}
	var target string
	return f.answer(func(ctx context.Context) error {
		n, _, err := f.find(ctx, path)
		if err != nil {
			return err
		}
		l, ok := n.(fs.Link)
		if !ok {
			return iofs.ErrInvalid
		}
		target, err = l.Target(ctx)
		return err
	}), target
}

// OpenEx opens a file. What the system remembers of files that change is
// never used.
func (f *pathFS) OpenEx(path string, fi *fuse.FileInfo_t) int {
	return f.answer(func(ctx context.Context) error {
		if fi.Flags&(fuse.O_WRONLY|fuse.O_RDWR|fuse.O_TRUNC|fuse.O_APPEND) != 0 {
			return errReadOnly
		}
		n, _, err := f.find(ctx, path)
		if err != nil {
			return err
		}
		file, ok := n.(fs.File)
		if !ok {
			return iofs.ErrInvalid
		}
		i, err := file.Stat(ctx)
		if err != nil {
			return err
		}
		h, err := file.Open(ctx)
		if err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		f.last++
		f.handles[f.last] = h
		fi.Fh, fi.DirectIo, fi.KeepCache = f.last, i.Volatile, !i.Volatile
		return nil
	})
}

// Open is not called where there is OpenEx.
func (f *pathFS) Open(path string, flags int) (int, uint64) {
	fi := fuse.FileInfo_t{Flags: flags}
	return f.OpenEx(path, &fi), fi.Fh
}

func (f *pathFS) handle(fh uint64) (fs.Handle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h, ok := f.handles[fh]
	if !ok {
		return nil, iofs.ErrInvalid
	}
	return h, nil
}

// Read must not keep buf, which is memory of the kernel.
func (f *pathFS) Read(_ string, buf []byte, off int64, fh uint64) int {
	var n int
	if e := f.answer(func(ctx context.Context) error {
		h, err := f.handle(fh)
		if err != nil {
			return err
		}
		n, err = h.ReadAt(ctx, buf, off)
		return err
	}); e != 0 {
		return e
	}
	return n
}

// Release closes a file.
func (f *pathFS) Release(_ string, fh uint64) int {
	f.mu.Lock()
	h, ok := f.handles[fh]
	delete(f.handles, fh)
	f.mu.Unlock()
	if !ok {
		return -fuse.EINVAL
	}
	return code(h.Close())
}

// Opendir opens a directory.
func (f *pathFS) Opendir(path string) (int, uint64) {
	return f.answer(func(ctx context.Context) error {
		n, _, err := f.find(ctx, path)
		if err != nil {
			return err
		}
		if _, ok := n.(fs.Dir); !ok {
			return errNotDir
		}
		return nil
	}), 0
}

// Readdir lists a directory with what stat tells of each entry, which saves
// the system a question for each.
func (f *pathFS) Readdir(path string, fill func(name string, st *fuse.Stat_t, off int64) bool, _ int64, _ uint64) int {
	return f.answer(func(ctx context.Context) error {
		n, _, err := f.find(ctx, path)
		if err != nil {
			return err
		}
		d, ok := n.(fs.Dir)
		if !ok {
			return errNotDir
		}
		fill(".", nil, 0)
		fill("..", nil, 0)
		for e, err := range d.Entries(ctx) {
			if err != nil {
				return err
			}
			var st *fuse.Stat_t
			if child, err := d.Lookup(ctx, e.Name); err == nil {
				st = new(fuse.Stat_t)
				if f.stat(ctx, child, st) != nil {
					st = nil // the system asks for it by itself
				}
			}
			if !fill(e.Name, st, 0) {
				break
			}
		}
		return nil
	})
}

// Releasedir closes a directory.
func (f *pathFS) Releasedir(string, uint64) int { return 0 }

// Flush has nothing to flush.
func (f *pathFS) Flush(string, uint64) int { return 0 }

// Fsync has nothing to flush.
func (f *pathFS) Fsync(string, bool, uint64) int { return 0 }

// Fsyncdir has nothing to flush.
func (f *pathFS) Fsyncdir(string, bool, uint64) int { return 0 }

// watch tells the system what has changed.
func (f *pathFS) watch(host *fuse.FileSystemHost) {
	f.tree.Watch(func(c fs.Change) {
		root := f.tree.Root()
		for e, err := range root.Entries(f.ctx) {
			if err != nil || e.Ino != c.Ino {
				continue
			}
			for _, name := range c.New {
				host.Notify("/"+e.Name+"/"+name, fuse.NOTIFY_MKDIR)
			}
			for _, name := range c.Gone {
				host.Notify("/"+e.Name+"/"+name, fuse.NOTIFY_RMDIR)
			}
		}
	})
}
