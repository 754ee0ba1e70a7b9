package guest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"vitrine/fs/disk"
	"vitrine/fs/lvm"
	"vitrine/fs/part"
)

// maxVolumes bounds what a machine may have.
const maxVolumes = 4096

// origin is where a volume lies, and what its place says about it.
type origin struct {
	disk     int // number of the disk; of the first
	partType part.Type
	partName string
	partID   string
	lv       *lvm.Volume
	members  []member // of lv's group, by the numbers that lvm uses
	start    int64    // on the disk
	r        disk.Disk
	contents part.Contents
	swap     *part.SwapHeader // of swap space
	// doubt says why what lies on the volume may not be what it seems; "" when
	// nothing does.
	doubt string
}

// member is where a physical volume lies.
type member struct {
	disk  int
	start int64
}

// Open finds and opens the volumes on a machine's disks. Everything that can be
// wrong with a single volume is told in its place; the error is that of ctx.
func Open(ctx context.Context, disks []Disk) (*Volumes, error) {
	v, leashes, err := open(ctx, disks)
	if err != nil {
		return nil, err
	}
	for _, l := range leashes {
		l.ctx.Store(nil)
	}
	return v, nil
}

// finder collects volumes.
type finder struct {
	ctx     context.Context
	disks   []Disk
	found   Volumes
	pvs     []disk.Disk
	members []member
	pvOwner []*Volume // the partition of each member
}

// open is Open that leaves all reads bound to ctx.
func open(ctx context.Context, disks []Disk) (*Volumes, []*leash, error) {
	f := &finder{ctx: ctx, disks: disks}
	leashes := make([]*leash, len(disks))
	for i, d := range disks {
		leashes[i] = &leash{Disk: d.R}
		leashes[i].ctx.Store(&ctx)
		if err := f.disk(i, leashes[i]); err != nil {
			return nil, nil, err
		}
	}
	if err := f.groups(); err != nil {
		return nil, nil, err
	}
	for _, v := range f.found.List {
		if v.Why == "" {
			f.openFS(v)
		}
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
	}
	f.found.List = shown(f.found.List)
	f.found.roots = findRoots(f.found.List)
	f.found.name(disks)
	return &f.found, leashes, ctx.Err()
}

// disk collects the partitions of a disk.
func (f *finder) disk(i int, d disk.Disk) error {
	whole := func(why string) {
		f.found.List = append(f.found.List, &Volume{Disk: f.disks[i].Name, Size: d.Size(), Why: why, from: origin{disk: i, r: d}})
	}
	t, err := part.Read(d, d.Size(), f.disks[i].Sector)
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	if err != nil {
		whole(fmt.Sprintf("The partition table of this disk cannot be read: %v.", err))
		return nil
	}
	for _, n := range t.Notes {
		f.found.Notes = append(f.found.Notes, "disk "+f.disks[i].Name+": "+n)
	}
	for _, p := range t.Partitions {
		if len(f.found.List) == maxVolumes {
			f.found.Notes = append(f.found.Notes, fmt.Sprintf("the machine has more than %d volumes; the rest is not shown", maxVolumes))
			return nil
		}
		if p.Type.Role() == part.Boot || p.Size == 0 {
			continue
		}
		v := &Volume{Disk: f.disks[i].Name, Partition: p.Index, Size: p.Size, Notes: p.Notes}
		v.from = origin{disk: i, partType: p.Type, partName: p.Name, partID: p.ID, start: p.Start, r: disk.Section(d, p.Start, p.Size)}
		if len(p.Notes) > 0 {
			v.from.doubt = "its place on the disk is in doubt: " + p.Notes[0]
		}
		if p.Type.Role() == part.Foreign {
			v.Type, v.Why = p.Type.Foreign(), p.Type.Advice()
		}
		if err := f.identify(v); err != nil {
			return err
		}
		f.found.List = append(f.found.List, v)
	}
	return nil
}

// identify looks at what a volume holds.
func (f *finder) identify(v *Volume) error {
	c, err := part.Identify(v.from.r, v.Size)
	switch {
	case f.ctx.Err() != nil:
		return f.ctx.Err()
	case v.Why != "":
		return nil
	case err != nil:
		v.Why = fmt.Sprintf("The beginning of this volume cannot be read: %v.", err)
		return nil
	case len(c) == 0:
		return nil
	}
	v.from.contents = c
	if len(c) > 1 && v.from.doubt == "" {
		var kinds []string
		for _, k := range c {
			kinds = append(kinds, k.Kind)
		}
		v.from.doubt = "it shows signs of " + strings.Join(kinds, " and ")
	}
	switch c[0].Class {
	case part.NotOpened:
		v.Type, v.Why = c[0].Kind, c[0].Advice
	case part.SwapSpace:
		if v.from.swap, err = part.ReadSwap(v.from.r, v.Size); err != nil {
			return f.ctx.Err()
		}
		if v.from.swap != nil {
			v.UUID, v.Label = v.from.swap.UUID, v.from.swap.Label
		}
		v.Type, v.Why = "swap", "This is swap space: memory that Linux moved here while it ran. It has no files."
	case part.PhysicalVolume:
		v.Type = c[0].Kind
		if v.from.lv != nil {
			v.Why = "This logical volume is itself a member of an LVM group, most likely of a machine inside this machine."
			return nil
		}
		// Which of them get a folder is known when the groups are.
		f.pvs = append(f.pvs, v.from.r)
		f.members = append(f.members, member{v.from.disk, v.from.start})
		f.pvOwner = append(f.pvOwner, v)
	}
	return nil
}

// groups collects the logical volumes.
func (f *finder) groups() error {
	if len(f.pvs) == 0 {
		return nil
	}
	found, err := lvm.Open(f.ctx, f.pvs)
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	if err != nil {
		for _, v := range f.pvOwner {
			v.Why = fmt.Sprintf("This is a member of an LVM group, which cannot be read: %v.", err)
		}
		return nil
	}
	for _, l := range found.Loose {
		f.pvOwner[l.Disk].Why = l.Why
	}
	for _, g := range found.Groups {
		for _, n := range g.Notes {
			f.found.Notes = append(f.found.Notes, "LVM group "+g.Name+": "+n)
		}
		for _, lv := range g.Volumes {
			if len(f.found.List) == maxVolumes {
				f.found.Notes = append(f.found.Notes, fmt.Sprintf("the machine has more than %d volumes; the rest is not shown", maxVolumes))
				return nil
			}
			if lv.Kind == "thin-pool" || lv.Kind == "cache-pool" || lv.Kind == "vdo-pool" {
				continue
			}
			if err := f.logical(g, lv); err != nil {
				return err
			}
		}
	}
	return nil
}

// logical adds a logical volume.
func (f *finder) logical(g *lvm.Group, lv *lvm.Volume) error {
	v := &Volume{Group: g.Name, Logical: lv.Name, Size: lv.Size()}
	v.from = origin{disk: -1, lv: lv, members: f.members}
	for _, m := range g.Members {
		if m.Disk >= 0 && v.from.disk < 0 {
			v.from.disk = f.members[m.Disk].disk
			v.Disk = f.disks[v.from.disk].Name
		}
	}
	if ok, why := lv.Placed(); !ok {
		v.from.doubt = why
	} else {
		// A member whose partition is in doubt puts all in doubt.
		for _, m := range g.Members {
			if m.Disk >= 0 && f.pvOwner[m.Disk].from.doubt != "" {
				v.from.doubt = f.pvOwner[m.Disk].from.doubt
			}
		}
	}
	f.found.List = append(f.found.List, v)
	d, err := lv.Open(f.ctx)
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	var unsupported *lvm.UnsupportedError
	switch {
	case errors.As(err, &unsupported):
		v.Type, v.Why = "LVM "+lv.Kind, unsupported.Why
	case err != nil:
		v.Type, v.Why = "LVM", fmt.Sprintf("This logical volume cannot be opened: %v.", err)
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			v.Why += "\nWhat to do: " + h.Hint() + "."
		}
	default:
		v.from.r = d
		return f.identify(v)
	}
	return nil
}

// openFS opens the file system of a volume.
func (f *finder) openFS(v *Volume) {
	if v.Type == kindMember || v.from.r == nil {
		return
	}
	if _, _, err := v.from.r.NextData(0); err == io.EOF {
		return
	}
	for _, format := range formats() {
		if !format.probe(v.from.r, v.Size) {
			continue
		}
		fs, err := format.open(v.from.r, v.Size)
		if err != nil {
			v.Type, v.Why = format.name, fmt.Sprintf("This %s volume cannot be read: %v.", format.name, err)
			var h interface{ Hint() string }
			if errors.As(err, &h) {
				v.Why += "\nWhat to do: " + h.Hint() + "."
			}
			return
		}
		v.fs, v.Type, v.Label, v.UUID = fs, fs.Type(), fs.Label(), fs.UUID()
		v.Notes = append(v.Notes, fs.Notes()...)
		if c := v.from.contents; len(c) > 0 && c[len(c)-1].Class == part.Mirror {
			v.Notes = append(v.Notes, "this is one half of a Linux software mirror (RAID 1); the other may be newer")
			v.from.doubt = "it is one half of a Linux software mirror (RAID 1)"
		}
		return
	}
	if len(v.from.contents) > 0 {
		c := v.from.contents[0]
		v.Type, v.Why = c.Kind, c.Advice
		if v.Why == "" {
			v.Why = "This volume begins like " + c.Kind + ", but is damaged or of a form that is not known here: attach the disk from the backup to a machine that knows it."
		}
		return
	}
	v.Why = "This volume holds no file system that is known here. It may be empty, encrypted, or used by a program of its own."
}

// kindMember is the type of a member of an LVM group.
const kindMember = "LVM"

// shown drops what has no folder: members of groups that were found, and what
// was never written.
func shown(list []*Volume) []*Volume {
	var keep []*Volume
	for _, v := range list {
		if v.fs != nil || v.Why != "" {
			keep = append(keep, v)
		}
	}
	return keep
}
