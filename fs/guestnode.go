package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"strconv"
	"strings"
	"sync/atomic"
)

const (
	maxGuestDepth  = 512
	guestBatch     = 1024     // entries of a folder read at a time
	maxGuestTarget = 4095     // of a link, as the kernel takes it
	countFrom      = 64 << 10 // smaller files are not asked for holes by Stat
	countExtents   = 256      // nor are more extents counted than this
)

// guestPlace is a place in a volume. Its path is made of names alone: no link
// is on the way, so that a folder has one place only.
type guestPlace struct {
	f      *guestFolder
	volume string
	up     *guestPlace // nil at the volume's root
	name   string
	depth  int    // of the folder that it is in; 0 at the root and in it
	number uint64 // the guest's inode; 0 unknown
	info   Info
}

// guestSys is what file systems tell beyond io/fs.
type guestSys interface {
	Inode() uint64
	Links() int
	Notice() string
}

// path is the place as the file system calls it.
func (p *guestPlace) path() string {
	if p.up == nil {
		return "."
	}
	var names []string
	for q := p; q.up != nil; q = q.up {
		names = append(names, q.name)
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteString(names[i])
		if i > 0 {
			b.WriteByte('/')
		}
	}
	return b.String()
}

// inTree is the place below guest/.
func (p *guestPlace) inTree() string {
	if p.up == nil {
		return p.volume
	}
	return p.volume + "/" + p.path()
}

func (p *guestPlace) where() string { return p.f.place + "/" + p.inTree() }

func (p *guestPlace) fail(ctx context.Context, verb string, err error) error {
	if ctx.Err() != nil || errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	err = fmt.Errorf("fs: %s %s: %w", verb, clean(p.where()), err)
	p.f.t.failed(ctx, clean(p.where()), err)
	return err
}

var errLoop = errors.New("the folder contains itself")

// node looks at what is at the place.
func (p *guestPlace) node(ctx context.Context, fsys iofs.FS, volatile bool) (Node, error) {
	path := p.path()
	type seen struct {
		info   iofs.FileInfo
		sys    guestSys
		links  int
		target string
	}
	s, err := wait(ctx, func() (s seen, err error) {
		if s.info, err = lstat(fsys, path); err != nil {
			return s, err
		}
		s.links = 1
		var ok bool
		if s.sys, ok = s.info.Sys().(guestSys); ok {
			s.links = s.sys.Links()
		}
		if s.info.Mode()&iofs.ModeSymlink != 0 {
			s.target, err = iofs.ReadLink(fsys, path)
		}
		return s, err
	})
	if err != nil {
		return nil, p.fail(ctx, "look at", err)
	}
	p.info = Info{Ino: p.f.ino(p.inTree()), Mode: guestMode(s.info.Mode()), Size: max(0, s.info.Size()), Links: 1, Time: s.info.ModTime(), Volatile: volatile, Guest: true}
	if p.info.Time.IsZero() {
		p.info.Time = p.f.when
	}
	if s.sys != nil {
		p.number, p.info.Notice = s.sys.Inode(), s.sys.Notice()
	}
	switch p.info.Mode.Type() {
	case iofs.ModeDir:
		return p.dir(ctx)
	case iofs.ModeSymlink:
		return p.link(ctx, s.target)
	}
	if what := special(s.info.Mode()); what != "" {
		p.info.Size, p.info.Notice = 0, "this is "+what+" of the guest, which has no content"
	}
	if s.links > 1 && p.number != 0 {
		// No path has two slashes: names of one file share a number.
		p.info.Ino = p.f.ino(p.volume + "//" + strconv.FormatUint(p.number, 10))
		p.info.Links = uint32(min(s.links, 1<<20))
	}
	return &guestFile{guestPlace: p}, nil
}

// dir is the place as a folder. A folder that contains itself is damage, and
// would have no end.
func (p *guestPlace) dir(ctx context.Context) (Node, error) {
	p.info.Size = 0
	if p.depth > maxGuestDepth {
		return nil, p.fail(ctx, "look at", errors.New("the folders are too deep"))
	}
	for q := p.up; q != nil && p.number != 0; q = q.up {
		if q.number == p.number {
			return nil, p.fail(ctx, "look at", errLoop)
		}
	}
	return &guestDir{p}, nil
}

// link is the place as a link or, where the tree has none, as a text with the
// target.
func (p *guestPlace) link(ctx context.Context, target string) (Node, error) {
	target = insideTarget(p.depth, target)
	if len(target) > maxGuestTarget || strings.IndexByte(target, 0) >= 0 {
		return nil, p.fail(ctx, "look at", errors.New("the link's target makes no sense"))
	}
	p.info.Size = int64(len(target))
	if p.f.t.o.RealLatest {
		return newText(p.info.Ino, p.info.Time, func() []byte { return []byte(target) }), nil
	}
	return guestLink{p, target}, nil
}

func lstat(fsys iofs.FS, path string) (iofs.FileInfo, error) {
	if l, ok := fsys.(iofs.ReadLinkFS); ok {
		return l.Lstat(path)
	}
	return iofs.Stat(fsys, path)
}

// guestMode is a guest's mode in the tree: nothing can be written, nothing runs
// as somebody else, nothing is a device, and the mount's owner may read all.
func guestMode(m iofs.FileMode) iofs.FileMode {
	switch {
	case m.IsDir():
		return iofs.ModeDir | m.Perm()&0o555 | 0o500
	case m&iofs.ModeSymlink != 0:
		return linkMode
	}
	return m.Perm()&0o555 | 0o400
}

// special names what is no file, folder or link.
func special(m iofs.FileMode) string {
	switch {
	case m&iofs.ModeDevice != 0:
		return "a device"
	case m&iofs.ModeNamedPipe != 0:
		return "a pipe"
	case m&iofs.ModeSocket != 0:
		return "a socket"
	case m&iofs.ModeIrregular != 0:
		return "a special file"
	}
	return ""
}

// insideTarget makes a link's target one that never leaves the volume, read
// from a folder that lies depth folders below the volume's root: an absolute
// one begins at that root, and the root has no parent. A target that stays
// inside as it is, is kept as it is.
func insideTarget(depth int, target string) string {
	absolute := strings.HasPrefix(target, "/")
	ups, keep := 0, !absolute
	if absolute {
		ups = depth
	}
	var names []string
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			switch {
			case len(names) > 0:
				names, keep = names[:len(names)-1], false
			case absolute || ups == depth:
				keep = false
			default:
				ups++
			}
		default:
			names = append(names, part)
		}
	}
	if keep {
		return target
	}
	inside := strings.Repeat("../", ups) + strings.Join(names, "/")
	if inside == "" {
		return "."
	}
	return inside
}

// guestLink is a symbolic link of a guest.
type guestLink struct {
	*guestPlace
	target string
}

// Stat is what the guest's file system said.
func (l guestLink) Stat(context.Context) (Info, error) { return l.info, nil }

// Target never leads out of the volume.
func (l guestLink) Target(context.Context) (string, error) { return l.target, nil }

// guestDir is a folder of a guest.
type guestDir struct{ *guestPlace }

// Stat is what the guest's file system said.
func (d *guestDir) Stat(context.Context) (Info, error) { return d.info, nil }

// Lookup finds a name by the rules of the guest's file system, in whatever case
// where that does not count.
func (d *guestDir) Lookup(ctx context.Context, name string) (Node, error) {
	if !isName(name) {
		return nil, notExist(name)
	}
	fsys, err := d.f.volume(ctx, d.volume)
	if err != nil {
		return nil, err
	}
	child := &guestPlace{f: d.f, volume: d.volume, up: d.guestPlace, name: name}
	if d.up != nil {
		child.depth = d.depth + 1
	}
	return child.node(ctx, fsys, false)
}

// isName tells names that a path can be made of.
func isName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.ContainsAny(s, "/\x00")
}

// Entries lists the folder in the guest's order. Where a part of it is damaged
// the others are listed before the error.
func (d *guestDir) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		if err := d.list(ctx, yield); err != nil {
			yield(Entry{}, d.fail(ctx, "list", err))
		}
	}
}

func (d *guestDir) list(ctx context.Context, yield func(Entry, error) bool) (damage error) {
	fsys, err := d.f.volume(ctx, d.volume)
	if err != nil {
		return err
	}
	path := d.path()
	file, err := wait(ctx, func() (iofs.ReadDirFile, error) {
		f, err := fsys.Open(path)
		if err != nil {
			return nil, err
		}
		dir, ok := f.(iofs.ReadDirFile)
		if !ok {
			return nil, errors.Join(errors.New("not a folder"), f.Close())
		}
		return dir, nil
	})
	if err != nil {
		return err
	}
	defer file.Close()
	prefix := d.inTree() + "/"
	for barren := 0; barren < 2; {
		list, err := wait(ctx, func() ([]Entry, error) {
			found, err := file.ReadDir(guestBatch)
			list := make([]Entry, 0, len(found))
			for _, e := range found {
				if name := e.Name(); isName(name) {
					list = append(list, Entry{Name: name, Ino: d.f.ino(prefix + name), Mode: d.kind(e.Type())})
				}
			}
			return list, err
		})
		for _, e := range list {
			if !yield(e, nil) {
				return nil
			}
		}
		switch {
		case err == io.EOF:
			return damage
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil && damage == nil:
			damage = err
		}
		if barren++; len(list) > 0 {
			barren = 0
		}
	}
	return damage
}

// kind is the type that node gives.
func (d *guestDir) kind(m iofs.FileMode) iofs.FileMode {
	k := guestMode(m).Type()
	if k == iofs.ModeSymlink && d.f.t.o.RealLatest {
		return 0
	}
	return k
}

// guestFile is a file of a guest.
type guestFile struct {
	*guestPlace
	alloc atomic.Int64 // one more than Info.Alloc; 0 is unknown
}

// Stat counts holes too, unless the file has very many.
func (f *guestFile) Stat(ctx context.Context) (Info, error) {
	i := f.info
	i.Alloc = i.Size
	if i.Size < countFrom || i.Notice != "" || f.f.t.o.Full {
		return i, nil
	}
	if a := f.alloc.Load(); a > 0 {
		i.Alloc = a - 1
		return i, nil
	}
	n, err := f.count(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return Info{}, ctx.Err()
		}
		return i, nil // reading it tells the error
	}
	f.alloc.Store(n + 1)
	i.Alloc = n
	return i, nil
}

// count adds the extents up.
func (f *guestFile) count(ctx context.Context) (int64, error) {
	h, err := f.openFile(ctx)
	if err != nil {
		return 0, err
	}
	defer h.file.Close()
	return wait(ctx, func() (int64, error) {
		var sum, off int64
		for range countExtents {
			start, end, err := h.next(off)
			if err == io.EOF {
				return sum, nil
			}
			if err != nil {
				return 0, err
			}
			sum, off = sum+end-start, end
		}
		return sum + max(0, f.info.Size-off), nil
	})
}

// Open opens the file, also one whose content cannot be given: reading tells
// why.
func (f *guestFile) Open(ctx context.Context) (Handle, error) {
	h, err := f.openFile(ctx)
	if err != nil {
		return nil, f.fail(ctx, "open", err)
	}
	f.f.t.meter.handles.Add(1)
	return h, nil
}

func (f *guestFile) openFile(ctx context.Context) (*guestHandle, error) {
	h := &guestHandle{f: f}
	if f.info.Notice != "" {
		h.file = nothing{}
		return h, nil
	}
	fsys, err := f.f.volume(ctx, f.volume)
	if err != nil {
		return nil, err
	}
	path := f.path()
	h.file, err = wait(ctx, func() (iofs.File, error) { return fsys.Open(path) })
	if err != nil {
		return nil, err
	}
	var ok bool
	if h.r, ok = h.file.(io.ReaderAt); !ok {
		return nil, errors.Join(errors.New("not a file"), h.file.Close())
	}
	return h, nil
}

// nothing stands in for a file that has no content to give.
type nothing struct{}

func (nothing) Stat() (iofs.FileInfo, error) { return nil, iofs.ErrInvalid }
func (nothing) Read([]byte) (int, error)     { return 0, io.EOF }
func (nothing) Close() error                 { return nil }
