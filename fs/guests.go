package fs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"vitrine/fs/disk"
	"vitrine/fs/guest"
	"vitrine/repo"
)

const (
	openGuests = 8 // restore points whose volumes are kept open
	notesName  = "NOTES.txt"
)

// guestFolder is guest/ of a restore point or of a checkpoint: a folder for
// each volume on the disks. The volumes are looked for when somebody enters it.
type guestFolder struct {
	t     *Tree
	key   string // names the disks, whatever place of the tree shows them
	scope string // of inode numbers
	path  string // likewise, with a slash at the end
	place string // for messages
	disks []repo.Disk
	when  time.Time
}

// guests are the opened volumes of a guestFolder.
type guests struct {
	byName  map[string]*guest.Volume
	folders []string // in name order
	notes   []byte   // what is to be said about the volumes
	// shaky is set where the store failed meanwhile: it is tried again.
	shaky bool
	at    time.Time
}

func (f *guestFolder) ino(path string) uint64 { return inode(f.scope, f.path+path) }

// Stat does not look for volumes.
func (f *guestFolder) Stat(context.Context) (Info, error) {
	return Info{Ino: inode(f.scope, strings.TrimSuffix(f.path, "/")), Mode: dirMode, Links: 1, Time: f.when}, nil
}

// Lookup finds a volume's folder.
func (f *guestFolder) Lookup(ctx context.Context, name string) (Node, error) {
	g, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	if name == notesName && len(g.notes) > 0 {
		return newText(f.ino(notesName), f.when, func() []byte { return g.notes }), nil
	}
	if g.byName[name] == nil {
		return nil, notExist(name)
	}
	root := &guestPlace{f: f, volume: name}
	return root.node(ctx, g.byName[name].FS(), g.shaky)
}

// Entries lists the volumes.
func (f *guestFolder) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	g, err := f.open(ctx)
	if err != nil {
		return entriesError(err)
	}
	var list []Entry
	if len(g.notes) > 0 {
		list = append(list, Entry{Name: notesName, Ino: f.ino(notesName)})
	}
	for _, name := range g.folders {
		list = append(list, Entry{Name: name, Ino: f.ino(name), Mode: iofs.ModeDir})
	}
	slices.SortFunc(list, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return entries(list)
}

// open returns the volumes, opened for as long as they are remembered.
func (f *guestFolder) open(ctx context.Context) (*guests, error) {
	if g, ok := f.t.guests.get(f.key); ok && (!g.shaky || f.t.o.Clock().Sub(g.at) < retryAfter) {
		return g, nil
	}
	return share(ctx, f.t, "guest "+f.key, func(ctx context.Context) (*guests, error) {
		g := &guests{byName: make(map[string]*guest.Volume), at: f.t.o.Clock()}
		disks := make([]guest.Disk, len(f.disks))
		under := make([]*guestDisk, len(f.disks))
		for i := range f.disks {
			d := &f.disks[i]
			under[i] = &guestDisk{ctx: f.t.ctx, size: max(0, d.Image.Size)}
			if under[i].img, under[i].err = f.t.repo.OpenImage(ctx, d.Image); under[i].err != nil {
				f.t.failed(ctx, f.place, under[i].err)
			}
			disks[i] = guest.Disk{Name: stemOf(d.Name), R: under[i], Sector: int(d.LogicalSector)}
		}
		var found *guest.Volumes
		if err := guard(func() (err error) { found, err = guest.Open(ctx, disks); return err }); err != nil {
			err = fmt.Errorf("fs: open volumes of %s: %w", f.place, err)
			f.t.failed(ctx, f.place, err)
			return nil, err
		}
		for _, v := range found.List {
			g.byName[v.Folder] = v
			g.folders = append(g.folders, v.Folder)
		}
		slices.Sort(g.folders)
		g.notes = notesOf(found)
		for _, d := range under {
			g.shaky = g.shaky || d.failed.Load()
		}
		f.t.guests.put(f.key, g)
		return g, nil
	})
}

// volume returns the files of a volume.
func (f *guestFolder) volume(ctx context.Context, name string) (iofs.FS, error) {
	g, err := f.open(ctx)
	if err != nil {
		return nil, err
	}
	v := g.byName[name]
	if v == nil {
		return nil, notExist(name)
	}
	return v.FS(), nil
}

// notesOf is the text about the volumes; nil where all is well.
func notesOf(v *guest.Volumes) []byte {
	var b strings.Builder
	for _, n := range v.Notes {
		fmt.Fprintf(&b, "%s\n", clean(n))
	}
	for _, one := range v.List {
		for _, n := range one.Notes {
			fmt.Fprintf(&b, "%s: %s\n", one.Folder, clean(n))
		}
	}
	return []byte(b.String())
}

// clean keeps a line one line, whatever a guest wrote into it.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}

// guestDisk is a disk that file systems read.
type guestDisk struct {
	ctx    context.Context // of the tree
	img    Image
	size   int64
	err    error // why there is no img
	ahead  readAhead
	failed atomic.Bool
}

var (
	_ disk.Disk            = (*guestDisk)(nil)
	_ disk.ContextReaderAt = (*guestDisk)(nil)
)

// Size is the disk's.
func (d *guestDisk) Size() int64 { return d.size }

// ReadAt reads until the tree is closed.
func (d *guestDisk) ReadAt(p []byte, off int64) (int, error) { return d.ReadAtContext(d.ctx, p, off) }

// ReadAtContext fetches ahead of who reads in order.
func (d *guestDisk) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if ctx.Done() == nil {
		ctx = d.ctx
	}
	if d.err != nil {
		d.failed.Store(true)
		return 0, d.err
	}
	if off >= 0 && off < d.size {
		if at, n := d.ahead.read(off, int64(len(p)), d.size); n > 0 {
			d.img.Prefetch(at, n)
		}
	}
	n, err := d.img.ReadAtContext(ctx, p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		d.failed.Store(true)
	}
	return n, err
}

// NextData is the image's.
func (d *guestDisk) NextData(off int64) (start, end int64, err error) {
	if d.err != nil {
		d.failed.Store(true)
		return 0, 0, d.err
	}
	return d.img.NextData(off)
}

// guard runs code that decodes what a guest wrote. Should it panic all the
// same, then only who asked fails.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("fs: reading a guest's file system failed: %v", v)
		}
	}()
	return f()
}

// wait runs f, which may read from the store and does not know ctx, and stops
// waiting when ctx ends. f ends by itself with the tree.
func wait[T any](ctx context.Context, f func() (T, error)) (T, error) {
	type answer struct {
		v   T
		err error
	}
	done := make(chan answer, 1)
	go func() {
		var a answer
		a.err = guard(func() (err error) { a.v, err = f(); return err })
		done <- a
	}()
	select {
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	case a := <-done:
		return a.v, a.err
	}
}

// HoldsVolumes reports whether a node is the folder guest/ of a restore point
// or a checkpoint: the files in it are those of the disks beside it.
func HoldsVolumes(n Node) bool {
	_, ok := n.(*guestFolder)
	return ok
}
