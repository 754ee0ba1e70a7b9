package lvm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vitrine/fs/disk"
)

const (
	maxSize    = 1 << 60 // of a volume
	maxMembers = 1024
)

// Open finds the groups on disks: whole disks and partitions, each given once.
// Those that are no member of any group are passed over.
func Open(ctx context.Context, disks []disk.Disk) (*Found, error) {
	found := &Found{}
	members := map[string][]int{} // by identity: numbers of disks
	why := make([]string, len(disks))
	best := map[string]*draft{}
	var order []string
	for i, d := range disks {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		l, bad, err := readLabel(ctx, d)
		if err != nil {
			return nil, err
		}
		if l == nil {
			if bad != "" {
				found.Loose = append(found.Loose, Loose{i, "This is a member of an LVM group whose label is damaged (" + bad + ")."})
			}
			continue
		}
		members[l.id] = append(members[l.id], i)
		why[i] = "This is a member of an LVM group, but none of the disks says of which."
		for _, a := range l.areas {
			t, err := readText(ctx, d, a)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				why[i] = "This is a member of an LVM group whose description is damaged (" + err.Error() + ")."
				continue
			}
			if t == nil {
				continue
			}
			old := best[t.id]
			if old == nil {
				order = append(order, t.id)
			}
			if old == nil || t.seq > old.seq {
				best[t.id] = t
			}
		}
	}
	for _, id := range order {
		g, err := best[id].group(disks, members)
		if err != nil {
			for _, list := range members {
				for _, i := range list {
					why[i] = "This may be a member of the LVM group " + best[id].name + ", whose description is damaged (" + err.Error() + ")."
				}
			}
			continue
		}
		found.Groups = append(found.Groups, g)
		for _, m := range g.Members {
			for _, i := range members[m.ID] {
				why[i] = ""
			}
		}
	}
	for i, w := range why {
		if w != "" {
			found.Loose = append(found.Loose, Loose{i, w})
		}
	}
	return found, nil
}

// draft is a group's description as read from one area.
type draft struct {
	name, id string
	seq      int64
	top      *node
}

// readText reads an area; nil where it describes no group.
func readText(ctx context.Context, d disk.Disk, a area) (*draft, error) {
	text, err := readArea(ctx, d, a)
	if err != nil || text == "" {
		return nil, err
	}
	top, err := parse(text)
	if err != nil {
		return nil, err
	}
	for i := range top.list {
		n := &top.list[i]
		if !n.section {
			continue
		}
		seq, ok := n.num("seqno")
		id := n.str("id")
		if !ok || id == "" {
			return nil, damage("metadata: group %.64q has no identity", n.name)
		}
		return &draft{n.name, id, seq, n}, nil
	}
	return nil, damage("metadata: it describes no group")
}

// group makes the group that a description is of.
func (t *draft) group(disks []disk.Disk, members map[string][]int) (*Group, error) {
	g := &Group{Name: t.name, ID: t.id, all: map[string]*Volume{}, pools: map[string]*pool{}, byName: map[string]int{}}
	unit, err := t.top.within("extent_size", 1, 1<<31)
	if err != nil {
		return nil, err
	}
	g.unit = unit * sector
	if f := t.top.str("format"); f != "" && f != "lvm2" {
		return nil, damage("metadata: group %.64q has format %.64q", t.name, f)
	}
	if list := t.top.get("physical_volumes"); list != nil {
		for i := range list.list {
			if err := g.addMember(&list.list[i], disks, members); err != nil {
				return nil, err
			}
		}
	}
	if list := t.top.get("logical_volumes"); list != nil {
		for i := range list.list {
			if n := &list.list[i]; n.section && g.all[n.name] == nil {
				v := g.volume(n)
				g.all[n.name] = v
				if v.visible {
					g.Volumes = append(g.Volumes, v)
				}
			}
		}
	}
	g.relate()
	g.findOverlaps()
	return g, nil
}

func (g *Group) addMember(n *node, disks []disk.Disk, members map[string][]int) error {
	m := Member{Name: n.name, ID: n.str("id"), Device: n.str("device"), Disk: -1}
	start, err := n.within("pe_start", 0, maxSize/sector)
	if err != nil {
		return err
	}
	m.start = start * sector
	if m.count, err = n.within("pe_count", 0, (maxSize-m.start)/g.unit); err != nil {
		return err
	}
	if len(g.Members) == maxMembers {
		return damage("metadata: more than %d members", maxMembers)
	}
	if slices.ContainsFunc(g.Members, func(o Member) bool { return o.ID == m.ID || o.Name == m.Name }) {
		return damage("metadata: member %.64q stands there twice", m.Name)
	}
	list := members[m.ID]
	switch {
	case len(list) == 0:
		g.Notes = append(g.Notes, fmt.Sprintf("member %s (%s, last seen as %s) is missing", m.Name, m.ID, m.Device))
	case len(list) > 1:
		g.Notes = append(g.Notes, fmt.Sprintf("%d disks say to be member %s (%s); the first is used", len(list), m.Name, m.ID))
		g.doubt = true
	}
	if len(list) > 0 {
		m.Disk, m.disk = list[0], disks[list[0]]
		if end := m.start + m.count*g.unit; end > m.disk.Size() {
			g.Notes = append(g.Notes, fmt.Sprintf("member %s should have %d bytes and has %d", m.Name, end, m.disk.Size()))
			g.doubt = true
		}
	}
	g.byName[m.Name] = len(g.Members)
	g.Members = append(g.Members, m)
	return nil
}

// member returns the member of that name.
func (g *Group) member(name string) (Member, bool) {
	i, ok := g.byName[name]
	if !ok {
		return Member{}, false
	}
	return g.Members[i], true
}

// relate marks what snapshots make of the volumes they name.
func (g *Group) relate() {
	for _, v := range g.all {
		for i := range v.segments {
			n := v.segments[i].n
			if n.str("type") != "snapshot" {
				continue
			}
			if o := g.all[n.str("origin")]; o != nil {
				o.shared = true
				if n.str("merging_store") != "" {
					o.why = "A snapshot is being merged into this volume, so that its data lies in two places: " + attach
				}
			}
			for _, key := range []string{"cow_store", "merging_store"} {
				if c := g.all[n.str(key)]; c != nil {
					c.why = "This is a snapshot of the volume " + n.str("origin") + " and holds the differences only: open that volume, or for the snapshot " + attach
				}
			}
		}
	}
}

// findOverlaps notes when two segments claim the same extents of a member.
func (g *Group) findOverlaps() {
	type claim struct {
		member     string
		start, end int64
		volume     string
	}
	var claims []claim
	for _, v := range g.all {
		for _, s := range v.segments {
			for _, l := range s.legs {
				if _, ok := g.member(l.on); ok {
					claims = append(claims, claim{l.on, l.first, l.first + s.legExtents(), v.Name})
				}
			}
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(strings.Compare(a.member, b.member), cmp.Compare(a.start, b.start), strings.Compare(a.volume, b.volume))
	})
	for i := 1; i < len(claims); i++ {
		a, b := claims[i-1], claims[i]
		if a.member == b.member && b.start < a.end {
			g.doubt = true
			g.Notes = append(g.Notes, fmt.Sprintf("volumes %s and %s lie over each other on member %s", a.volume, b.volume, a.member))
			return
		}
	}
}

var errCycle = errors.New("lvm: damaged metadata: a volume is made of itself")
