package backup

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"vitrine/fs/disk"
	"vitrine/repo"
)

// maxBases is how many of a machine's newest restore points are looked at for
// a base.
const maxBases = 8

// history is what the repository holds of a machine: the only place a base
// comes from.
type history struct {
	bases  []*repo.RestorePoint // points fit as a base, the last committed first
	latest repo.PointID         // the last committed point, fit or not; zero when there is none
	doubt  string               // why the latest is not among bases; "" when it is
}

// loadHistory opens the machine's newest points. The last committed is the one
// that counts highest, not the one that the latest clock made: a clock may
// have been wrong.
func loadHistory(ctx context.Context, r *repo.Repo, machine repo.MachineID) (*history, error) {
	own, err := infos(ctx, r, machine)
	if err != nil {
		return nil, err
	}
	h := &history{}
	for i, info := range slices.Backward(own) {
		if i < len(own)-maxBases {
			break
		}
		p, err := openBase(ctx, r, info)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			if i == len(own)-1 {
				h.latest, h.doubt = info.ID, err.Error()
			}
			continue
		}
		h.bases = append(h.bases, p)
	}
	slices.SortStableFunc(h.bases, func(a, b *repo.RestorePoint) int {
		switch {
		case a.Number > b.Number:
			return -1
		case a.Number < b.Number:
			return 1
		}
		return b.Time.Compare(a.Time)
	})
	if h.doubt == "" && len(h.bases) > 0 {
		h.latest = h.bases[0].ID
	}
	return h, nil
}

// openBase opens a point that may become a base: it is whole, and nobody put
// it in quarantine.
func openBase(ctx context.Context, r *repo.Repo, info repo.PointInfo) (*repo.RestorePoint, error) {
	p, err := r.OpenPoint(ctx, info)
	if err != nil {
		return nil, fmt.Errorf("restore point %.8s cannot be opened: %w", info.ID, err)
	}
	notes, err := r.Notes(ctx, info.ID)
	if err != nil {
		return nil, fmt.Errorf("the notes on restore point %.8s cannot be read: %w", info.ID, err)
	}
	for _, n := range notes {
		if n.Kind == repo.NoteQuarantine {
			return nil, fmt.Errorf("restore point %.8s is in quarantine", info.ID)
		}
	}
	return p, nil
}

// plan is how a disk is read.
type plan struct {
	base    *repo.Image             // nil: a full read
	from    repo.PointID            // the point that base belongs to
	changed iter.Seq2[int64, int64] // with base: all that may differ from it
	why     string                  // the reason of a full read
	left    *disk.Set               // left out; nil is nothing
}

func full(why string) *plan { return &plan{why: why} }

// plan decides how a disk of the machine itself is read. Every doubt ends in a
// full read, which deduplication makes cost no more than reading.
func (h *history) plan(ctx context.Context, r *repo.Repo, d SourceDisk, c *Changes) (*plan, error) {
	switch {
	case h.latest.IsZero():
		return full("first restore point of this machine"), nil
	case c != nil:
		return h.planListed(ctx, r, d, c)
	case d.Info().Tracking == "":
		return full("no change tracking"), nil
	}
	why := h.doubt
	for i, point := range h.bases {
		old, miss := match(point, d)
		switch {
		case miss != "":
		case old.Tracking == "":
			miss = fmt.Sprintf("restore point %.8s has no change tracking", point.ID)
		default:
			seq, err := d.Changed(ctx, old.Tracking)
			if err == nil {
				return h.incremental(ctx, r, d, point, old, seq)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if !errors.Is(err, ErrNoTracking) {
				return full(fmt.Sprintf("change tracking: %v", err)), nil
			}
			miss = fmt.Sprintf("the host does not track changes since restore point %.8s", point.ID)
		}
		if i == 0 && why == "" {
			why = miss
		}
	}
	return full(why), nil
}

// planListed reads what a change list names, if it is about this very disk
// since this machine's last restore point.
func (h *history) planListed(ctx context.Context, r *repo.Repo, d SourceDisk, c *Changes) (*plan, error) {
	if c.Point != h.latest {
		return full(fmt.Sprintf("the change list is relative to %.8s, the latest restore point is %.8s", c.Point, h.latest)), nil
	}
	if h.doubt != "" {
		return full(h.doubt), nil
	}
	name := d.Info().Name
	if _, ok := c.Disks[name]; !ok {
		return full("the change list does not name this disk"), nil
	}
	seq, err := c.extents(name, d.Size())
	if err != nil {
		return nil, err
	}
	point := h.bases[0]
	old, why := match(point, d)
	if why == "" && old.Name != name {
		why = fmt.Sprintf("it was called %s in restore point %.8s", old.Name, point.ID)
	}
	if why != "" {
		return full(why), nil
	}
	return h.incremental(ctx, r, d, point, old, seq)
}

// match finds a disk in a point: the same id, the same size, and no second one
// with that id.
func match(p *repo.RestorePoint, d SourceDisk) (repo.Disk, string) {
	id := d.Info().ID
	var found []repo.Disk
	for _, old := range p.Disks {
		if id != "" && strings.EqualFold(old.ID, id) {
			found = append(found, old)
		}
	}
	switch {
	case len(found) == 0:
		return repo.Disk{}, "this disk is new, or its id changed"
	case len(found) > 1:
		return repo.Disk{}, fmt.Sprintf("restore point %.8s has several disks with this id", p.ID)
	case found[0].Image.Size != d.Size():
		return repo.Disk{}, fmt.Sprintf("its size changed from %d to %d bytes", found[0].Image.Size, d.Size())
	}
	return found[0], ""
}

// incremental is a plan that takes the base's bytes for all but the changed
// extents; what the source's container no longer allocates becomes a hole all
// the same.
func (h *history) incremental(ctx context.Context, r *repo.Repo, d SourceDisk, point *repo.RestorePoint, old repo.Disk, seq iter.Seq2[int64, int64]) (*plan, error) {
	img, err := r.OpenImage(ctx, old.Image)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return full(fmt.Sprintf("restore point %.8s cannot be read: %v", point.ID, err)), nil
	}
	set, err := changedSet(seq, d.Size())
	if err != nil {
		return full(err.Error()), nil
	}
	return &plan{base: img, from: point.ID, changed: set.All()}, nil
}

const page = 4 << 10

// changedSet sorts changed extents and widens them to whole pages.
func changedSet(seq iter.Seq2[int64, int64], size int64) (*disk.Set, error) {
	set := new(disk.Set)
	for start, end := range seq {
		if start < 0 || end < start || end > size {
			return nil, fmt.Errorf("change tracking names bytes %d to %d of a disk of %d", start, end, size)
		}
		if start == end {
			continue
		}
		set.Add(start/page*page, min((end+page-1)/page*page, size))
	}
	return set, nil
}
