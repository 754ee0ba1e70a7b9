package lvm

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"vitrine/fs/disk"
)

const attach = "attach the machine's disks from the backup to a Linux machine and activate the group there (vgchange -ay)."

// Volume is a logical volume. It is safe for concurrent use.
type Volume struct {
	Group   string
	Name    string
	ID      string
	Kind    string // linear, striped, thin, or the type LVM2 gives its segments
	visible bool
	shared  bool   // a snapshot reads it too
	why     string // it is not opened
	size    int64
	g       *Group

	segments []segment
	bad      error // of its description

	opened disk.Disk // under g.mu, as failed is
	failed error
}

// segment is a run of extents of a volume.
type segment struct {
	start, count int64 // extents
	kind         string
	legs         []leg
	stripe       int64 // bytes
	n            *node
}

// leg is where a stripe begins: on a member or on another volume.
type leg struct {
	on    string
	first int64 // extent
}

// legExtents is the number of extents the segment takes of each leg.
func (s segment) legExtents() int64 { return s.count / int64(max(len(s.legs), 1)) }

// Size is the volume's length in bytes.
func (v *Volume) Size() int64 { return v.size }

// volume reads the description of a volume; what is wrong with it is told when
// it is opened.
func (g *Group) volume(n *node) *Volume {
	v := &Volume{Group: g.Name, Name: n.name, ID: n.str("id"), visible: n.has("status", "VISIBLE"), g: g}
	for i := range n.list {
		if s := &n.list[i]; s.section && s.get("start_extent") != nil {
			seg, err := g.segment(s)
			if err != nil {
				v.bad = err
				break
			}
			v.segments = append(v.segments, seg)
		}
	}
	slices.SortStableFunc(v.segments, func(a, b segment) int { return int(min(max(a.start-b.start, -1), 1)) })
	end := int64(0)
	for _, s := range v.segments {
		if s.start != end && v.bad == nil {
			v.bad = damage("volume %s: no segment at extent %d", n.name, end)
		}
		end = s.start + s.count
		v.kind(s)
	}
	if end > maxSize/g.unit {
		v.bad = damage("volume %s: %d extents", n.name, end)
		end = 0
	}
	v.size = end * g.unit
	return v
}

func (v *Volume) kind(s segment) {
	kind := s.kind
	if kind == "striped" && len(s.legs) == 1 {
		kind = "linear"
	}
	if v.Kind == "" || v.Kind == "linear" {
		v.Kind = kind
	}
}

func (g *Group) segment(n *node) (s segment, err error) {
	s = segment{kind: n.str("type"), n: n}
	if s.start, err = n.within("start_extent", 0, maxSize/g.unit); err != nil {
		return s, err
	}
	if s.count, err = n.within("extent_count", 1, maxSize/g.unit-s.start); err != nil {
		return s, err
	}
	if s.kind != "striped" && s.kind != "linear" {
		return s, nil
	}
	list := n.values("stripes")
	count, err := n.within("stripe_count", 1, 128)
	if err != nil {
		return s, err
	}
	if int64(len(list)) != 2*count || s.count%count != 0 {
		return s, damage("section %.64q: %d stripes in %d values over %d extents", n.name, count, len(list), s.count)
	}
	for ; len(list) > 0; list = list[2:] {
		first := list[1].number
		if !list[0].quoted || list[1].quoted || first < 0 || first > maxSize/g.unit {
			return s, damage("section %.64q: a stripe at %.64q extent %d", n.name, list[0].text, first)
		}
		s.legs = append(s.legs, leg{list[0].text, first})
	}
	if count > 1 {
		stripe, err := n.within("stripe_size", 1, g.unit/sector)
		if err != nil {
			return s, err
		}
		s.stripe = stripe * sector
		if g.unit%s.stripe != 0 {
			return s, damage("section %.64q: stripes of %d bytes in extents of %d", n.name, s.stripe, g.unit)
		}
	}
	return s, nil
}

// Open returns the volume as a disk. The error is a *MissingError where a
// member is not there and an *UnsupportedError where the layout is not read.
func (v *Volume) Open(ctx context.Context) (disk.Disk, error) {
	v.g.mu.Lock()
	defer v.g.mu.Unlock()
	return v.open(ctx, nil)
}

// open opens v for the volumes in chain, which are made of it. The caller holds
// g.mu.
func (v *Volume) open(ctx context.Context, chain []*Volume) (disk.Disk, error) {
	if slices.Contains(chain, v) || len(chain) > maxDepth {
		return nil, errCycle
	}
	if v.opened != nil || v.failed != nil {
		return v.opened, v.failed
	}
	m, err := v.build(ctx, chain)
	if err != nil {
		// Kept, so that volumes made of many broken ones do not try each of
		// them over and over.
		if ctx.Err() == nil {
			v.failed = err
		}
		return nil, err
	}
	v.opened = m
	return m, nil
}

// build puts the volume together.
func (v *Volume) build(ctx context.Context, chain []*Volume) (*mapped, error) {
	switch {
	case v.bad != nil:
		return nil, v.bad
	case v.why != "":
		return nil, v.unsupported(v.why)
	case len(v.segments) == 0:
		return nil, damage("volume %s: it has no segments", v.Name)
	}
	m := &mapped{size: v.size}
	for _, s := range v.segments {
		p, err := v.part(ctx, s, append(chain, v))
		if err != nil {
			return nil, err
		}
		m.parts = append(m.parts, p)
		m.width = max(m.width, p.width())
	}
	if m.width > maxWidth {
		return nil, damage("volume %s: it is made of more than %d disks side by side", v.Name, maxWidth)
	}
	return m, nil
}

func (v *Volume) unsupported(why string) error {
	return &UnsupportedError{v.Group + "/" + v.Name, why}
}

// part makes the disk part that a segment describes.
func (v *Volume) part(ctx context.Context, s segment, chain []*Volume) (piece, error) {
	p := piece{start: s.start * v.g.unit, size: s.count * v.g.unit, stripe: s.stripe}
	switch s.kind {
	case "striped", "linear":
		for _, l := range s.legs {
			d, off, err := v.leg(ctx, l, s.legExtents(), chain)
			if err != nil {
				return p, err
			}
			p.legs = append(p.legs, place{d, off})
		}
	case "zero":
		p.legs = []place{{disk.Zeros(p.size), 0}}
	case "thin":
		d, err := v.thin(ctx, s, chain)
		if err != nil {
			return p, err
		}
		p.legs = []place{{d, 0}}
	case "raid1":
		d, err := v.raid1(ctx, s, chain)
		if err != nil {
			return p, err
		}
		p.legs = []place{{d, 0}}
	default:
		return p, v.unsupported(explain(s.kind))
	}
	return p, nil
}

// leg opens what a leg lies on and returns the offset at which it begins.
func (v *Volume) leg(ctx context.Context, l leg, extents int64, chain []*Volume) (disk.Disk, int64, error) {
	if m, ok := v.g.member(l.on); ok {
		if m.disk == nil {
			return nil, 0, &MissingError{v.Group + "/" + v.Name, m}
		}
		if l.first > m.count || extents > m.count-l.first {
			return nil, 0, damage("volume %s: extents %d+%d of member %s, which has %d", v.Name, l.first, extents, m.Name, m.count)
		}
		return m.disk, m.start + l.first*v.g.unit, nil
	}
	below := v.g.all[l.on]
	if below == nil {
		return nil, 0, damage("volume %s: it lies on %.64q, which is not there", v.Name, l.on)
	}
	d, err := below.open(ctx, chain)
	if err != nil {
		return nil, 0, err
	}
	if off := l.first * v.g.unit; off > d.Size() || extents*v.g.unit > d.Size()-off {
		return nil, 0, damage("volume %s: extents %d+%d of %s, which is smaller", v.Name, l.first, extents, l.on)
	}
	return d, l.first * v.g.unit, nil
}

// explain says what a type of segment is, and what to do.
func explain(kind string) string {
	what := "This volume is of the type " + kind + ", which is not read here: "
	switch kind {
	case "cache", "writecache":
		what = "This volume is cached, and its newest data may lie in the cache only: "
	case "cache-pool", "thin-pool", "vdo-pool":
		what = "This is a pool, which has no files of its own: "
	case "vdo":
		what = "This volume is deduplicated and compressed (VDO): "
	case "mirror":
		what = "This volume is mirrored in the old way, which does not say which leg is whole: "
	case "snapshot":
		what = "This is a snapshot, which holds the differences to its origin only: "
	case "error":
		what = "A part of this volume was lost in the machine: "
	case "integrity":
		what = "This volume carries checksums of its own (dm-integrity): "
	case "raid0", "raid0_meta", "raid4", "raid10", "raid5", "raid6",
		"raid5_ls", "raid5_la", "raid5_rs", "raid5_ra", "raid5_n", "raid6_zr", "raid6_nr", "raid6_nc":
		what = "This volume is spread over members as " + kind + ": "
	}
	return what + attach
}

// Placed reports whether every byte of the volume has one known place on a
// member that nothing else reads: see Places.
func (v *Volume) Placed() (bool, string) {
	switch {
	case v.g.doubt:
		return false, "the description of its LVM group is in doubt"
	case v.bad != nil || v.why != "":
		return false, "its layout is not known"
	case v.shared:
		return false, "a snapshot reads its data too"
	}
	for _, s := range v.segments {
		if s.kind != "striped" && s.kind != "linear" {
			return false, fmt.Sprintf("its layout (%s) may share data with other volumes", s.kind)
		}
		for _, l := range s.legs {
			if m, ok := v.g.member(l.on); !ok || m.disk == nil || l.first+s.legExtents() > m.count {
				return false, "it does not lie on members alone"
			}
		}
	}
	return true, ""
}

// Places yields where the n bytes at off of a volume lie for which Placed
// holds: the number of the disk that Open was given, and the extent there.
// Extents of one disk ascend within a segment.
func (v *Volume) Places(off, n int64) iter.Seq2[int, disk.Extent] {
	return func(yield func(int, disk.Extent) bool) {
		for _, s := range v.segments {
			p := piece{start: s.start * v.g.unit, size: s.count * v.g.unit, stripe: s.stripe}
			a, b := max(off, p.start)-p.start, min(off+n, p.start+p.size)-p.start
			if a >= b {
				continue
			}
			for leg, x := range p.spread(a, b, len(s.legs)) {
				m, ok := v.g.member(s.legs[leg].on)
				if !ok {
					return
				}
				x.Off += m.start + s.legs[leg].first*v.g.unit
				if !yield(m.Disk, x) {
					return
				}
			}
		}
	}
}
