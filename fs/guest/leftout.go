package guest

import (
	"context"
	"fmt"

	"vitrine/fs/disk"
	"vitrine/fs/part"
)

// Options say what a backup keeps although no guest would miss it.
type Options struct {
	IncludeSwap bool // swap, page and hibernation files
	IncludeFree bool // clusters that no file uses
	// DropShadowCopies leaves out free clusters that the guest's own shadow
	// copies may still read.
	DropShadowCopies bool
	// MemoryKept says that the machine's memory is kept with its disks, as a
	// saved state is: memory goes on where it was and misses everything, so
	// that nothing is left out.
	MemoryKept bool
}

// Plan says what a backup need not keep.
type Plan struct {
	// Disks are what is left out of each disk, in whole pages of 4 KiB.
	Disks []*disk.Set
	Left  []Item // what is left out
	Kept  []Item // what is kept although the options would leave it out, and why
}

// Item is something on a volume that is or could be left out.
type Item struct {
	Disk   string `json:"disk"`
	Volume string `json:"volume"`
	What   string `json:"what"` // "swap", "free space", or the name of a file
	Bytes  int64  `json:"bytes,omitempty"`
	Why    string `json:"why,omitempty"` // it is kept
}

const (
	page = 4096
	// keptSwap bytes at the beginning of swap stay: they hold its identity, by
	// which the guest finds it again, whatever its processor's page size.
	keptSwap = 64 << 10
	// A set of extents is kept small: beyond manyExtents only long ones count.
	manyExtents = 1 << 20
	longExtent  = 64 << 10
)

// What an item can be, other than a file.
const (
	whatSwap = "swap"
	whatFree = "free space"
)

// LeftOut says what of a machine's disks need not be kept. Only volumes that
// are understood completely and consistent lose anything; any doubt keeps the
// data and is told in Kept. The error is that of ctx.
func LeftOut(ctx context.Context, disks []Disk, o Options) (*Plan, error) {
	p := &Plan{Disks: make([]*disk.Set, len(disks))}
	for i := range p.Disks {
		p.Disks[i] = new(disk.Set)
	}
	if o.IncludeSwap && o.IncludeFree {
		return p, nil
	}
	v, _, err := open(ctx, disks)
	if err != nil {
		return nil, err
	}
	l := &planner{ctx: ctx, o: o, all: v, plan: p, asleep: v.asleep()}
	if o.MemoryKept {
		l.asleep = "the machine's memory is kept with its disks"
	}
	for _, one := range v.List {
		if err := l.volume(one); err != nil {
			return nil, err
		}
	}
	for i, s := range p.Disks {
		p.Disks[i] = wholePages(s)
	}
	return p, ctx.Err()
}

// planner makes a Plan.
type planner struct {
	ctx  context.Context
	o    Options
	all  *Volumes
	plan *Plan
	// asleep says why the machine hibernates: then its memory, which is on its
	// disks, knows more than they do.
	asleep string
}

// asleep says whether the machine hibernates; "" when it does not.
func (v *Volumes) asleep() string {
	for _, one := range v.List {
		if h, ok := one.fs.(interface{ Hibernated() bool }); ok && h.Hibernated() {
			return "Windows on " + one.Folder + " is hibernated (fast startup counts)"
		}
		if one.from.swap != nil && one.from.swap.Hibernated {
			return one.Folder + " holds the memory of a hibernated Linux"
		}
	}
	for _, f := range v.swapFiles() {
		if f.header.Hibernated {
			return f.name + " on " + f.volume.Folder + " holds the memory of a hibernated Linux"
		}
	}
	return ""
}

// volume plans what is left out of a volume: all that is certain, or nothing.
func (l *planner) volume(v *Volume) error {
	if v.from.swap != nil {
		l.swap(v)
		return nil
	}
	if v.fs == nil {
		if v.Type != "" {
			l.keep(v, whatFree, v.Type+" is not opened")
		}
		return nil
	}
	doubt := v.from.doubt
	if ok, why := v.fs.Consistent(); !ok && doubt == "" {
		doubt = why
	}
	if r, ok := v.fs.(interface{ Replayed() bool }); ok && r.Replayed() && doubt == "" {
		// In a torn copy a bitmap may be older than the files beside it.
		doubt = "it was in use when it was copied, perhaps not in one moment"
	}
	if doubt == "" {
		doubt = l.asleep
	}
	if doubt != "" {
		l.keep(v, "everything", doubt)
		return nil
	}

	left := &share{taken: new(disk.Set), size: v.Size}
	var items []Item
	if !l.o.IncludeSwap {
		for _, f := range l.files(v) {
			list, err := v.fs.Extents(f.name)
			if l.ctx.Err() != nil {
				return l.ctx.Err()
			}
			if err != nil {
				l.keep(v, f.name, err.Error())
				continue
			}
			before := left.taken.Bytes()
			if why := left.file(list, f.skip, f.whole); why != "" {
				l.keep(v, f.name, why)
			} else if n := left.taken.Bytes() - before; n > 0 {
				items = append(items, l.item(v, f.name, n))
			}
		}
	}
	if !l.o.IncludeFree {
		free, why := l.free(v, left)
		if l.ctx.Err() != nil {
			return l.ctx.Err()
		}
		switch {
		case why != "" && free < 0:
			// Files that lie on free space: nothing on this volume is certain.
			l.keep(v, "everything", why)
			return nil
		case why != "":
			l.keep(v, whatFree, why)
		case free > 0:
			items = append(items, l.item(v, whatFree, free))
		}
	}
	if !l.place(v, left.taken) {
		l.keep(v, "everything", "its place on the disks is in doubt")
		return nil
	}
	l.plan.Left = append(l.plan.Left, items...)
	return nil
}

func (l *planner) item(v *Volume, what string, n int64) Item {
	return Item{Disk: v.Disk, Volume: v.Folder, What: what, Bytes: n}
}

func (l *planner) keep(v *Volume, what, why string) {
	l.plan.Kept = append(l.plan.Kept, Item{Disk: v.Disk, Volume: v.Folder, What: what, Why: why})
}

// swap plans a volume of swap.
func (l *planner) swap(v *Volume) {
	if l.o.IncludeSwap {
		return
	}
	h := v.from.swap
	switch {
	case v.from.doubt != "":
		l.keep(v, whatSwap, v.from.doubt)
	case l.asleep != "":
		l.keep(v, whatSwap, l.asleep)
	case h.Size == 0:
		l.keep(v, whatSwap, "its header is of an old form without a length")
	case h.Size > v.Size:
		l.keep(v, whatSwap, fmt.Sprintf("its header gives it %d bytes of %d", h.Size, v.Size))
	case v.Partition > 0 && v.from.partType.Role() != part.Swap && !l.all.listedSwap(v):
		l.keep(v, whatSwap, "its partition is of another type and no fstab names it")
	case h.Size > keptSwap:
		s := new(disk.Set)
		s.Add(keptSwap, h.Size)
		if l.place(v, s) {
			l.plan.Left = append(l.plan.Left, l.item(v, whatSwap, s.Bytes()))
		} else {
			l.keep(v, whatSwap, "its place on the disks is in doubt")
		}
	}
}

// free adds a volume's free space to left and returns how much it is. why says
// why it is kept; n is negative when that puts everything else in doubt.
func (l *planner) free(v *Volume, left *share) (n int64, why string) {
	if s, ok := v.fs.(interface{ HasShadowCopies() bool }); ok && s.HasShadowCopies() && !l.o.DropShadowCopies {
		return 0, "shadow copies of the guest may read it"
	}
	free, least := new(disk.Set), int64(page)
	for x, err := range v.fs.Free(l.ctx) {
		if err != nil {
			return 0, err.Error()
		}
		if x.Off < 0 || x.Len < 0 || x.Off > left.size-x.Len {
			return -1, "its free space lies outside of it"
		}
		if left.taken.Overlaps(x.Off, x.End()) {
			return -1, "files lie on what is marked as free"
		}
		if x.Len < least {
			continue
		}
		free.Add(x.Off, x.End())
		if least == page && free.Count()%4096 == 0 && free.Count() >= manyExtents {
			least = longExtent
		}
	}
	for a, b := range free.All() {
		left.taken.Add(a, b)
	}
	return free.Bytes(), ""
}

// share collects what is left out of one volume.
type share struct {
	taken *disk.Set
	size  int64
}

// file adds the content of a file but its first skip bytes; whole bytes of it
// must lie somewhere. The answer says why it is not added.
func (s *share) file(list []disk.Extent, skip, whole int64) string {
	own := new(disk.Set)
	for _, x := range list {
		switch {
		case x.Off < 0 || x.Len < 0 || x.Off > s.size-x.Len:
			return "it lies outside of the volume"
		case s.taken.Overlaps(x.Off, x.End()) || own.Overlaps(x.Off, x.End()):
			return "it lies on another file"
		}
		own.Add(x.Off, x.End())
	}
	if own.Bytes() < whole {
		return "it has holes"
	}
	for _, x := range list {
		cut := min(skip, x.Len)
		skip -= cut
		s.taken.Add(x.Off+cut, x.End())
	}
	return ""
}

// place adds what is left out of a volume to the disks it lies on.
func (l *planner) place(v *Volume, s *disk.Set) bool {
	disks := l.plan.Disks
	for a, b := range s.All() {
		if v.from.lv == nil {
			if disks[v.from.disk].Overlaps(v.from.start+a, v.from.start+b) {
				return false
			}
			continue
		}
		for i, x := range v.from.lv.Places(a, b-a) {
			m := v.from.members[i]
			if disks[m.disk].Overlaps(m.start+x.Off, m.start+x.End()) {
				return false
			}
		}
	}
	for a, b := range s.All() {
		if v.from.lv == nil {
			disks[v.from.disk].Add(v.from.start+a, v.from.start+b)
			continue
		}
		for i, x := range v.from.lv.Places(a, b-a) {
			m := v.from.members[i]
			disks[m.disk].Add(m.start+x.Off, m.start+x.End())
		}
	}
	return true
}

// wholePages returns the pages that lie in s completely.
func wholePages(s *disk.Set) *disk.Set {
	whole := new(disk.Set)
	for a, b := range s.All() {
		whole.Add((a+page-1)/page*page, b/page*page)
	}
	return whole
}
