package fs

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"vitrine/repo"
)

// listing is what the repository had when it was last asked. It never changes.
type listing struct {
	machines []*history // in the repository's order
	points   int
	newest   time.Time
}

// history is the restore points of one machine, oldest first.
type history struct {
	id     repo.MachineID
	points []namedPoint
	byName map[string]int // into points
}

// namedPoint is a restore point and the name of its folder.
type namedPoint struct {
	repo.PointInfo
	name string
}

func (h *history) newest() time.Time { return h.points[len(h.points)-1].Time }

// current returns a listing that is not older than Options.Refresh. When the
// store takes long, whoever has an older listing is not kept waiting.
func (t *Tree) current(ctx context.Context) (*listing, error) {
	t.mu.Lock()
	old, age := t.list, t.o.Clock().Sub(t.listed)
	t.mu.Unlock()
	if old != nil && age >= 0 && age < t.o.Refresh {
		return old, nil
	}
	wait := ctx
	if old != nil {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	fresh, err := share(wait, t, "list", t.relist)
	switch {
	case err == nil:
		return fresh, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case old != nil && t.ctx.Err() == nil:
		return old, nil // the failure is in the status
	}
	return nil, err
}

// relist asks the repository. A listing that tells nothing new is dropped for
// the one before, so that what hangs on that stays valid.
func (t *Tree) relist(ctx context.Context) (*listing, error) {
	fresh, err := t.readListing(ctx)
	t.mu.Lock()
	old := t.list
	t.listed = t.o.Clock()
	if err == nil && old != nil {
		reuse(fresh, old)
		if slices.Equal(fresh.machines, old.machines) {
			fresh = old
		}
	}
	if err == nil {
		t.list = fresh
	}
	watchers := t.watchers
	t.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("fs: list restore points: %w", err)
		t.failed(ctx, "/", err)
		return nil, err
	}
	if old != nil && fresh != old && len(watchers) > 0 && t.begin() {
		// Not from here: a watcher may wait for the kernel, which waits for
		// this listing.
		go func() {
			defer t.work.Done()
			for _, c := range changes(old, fresh) {
				for _, f := range watchers {
					f(c)
				}
			}
		}()
	}
	return fresh, nil
}

func (t *Tree) readListing(ctx context.Context) (*listing, error) {
	byID := make(map[repo.MachineID][]repo.PointInfo)
	l := &listing{}
	for p, err := range t.repo.Points(ctx) {
		if err != nil {
			return nil, err
		}
		if !t.mayShow(p.Machine) {
			continue
		}
		byID[p.Machine] = append(byID[p.Machine], p)
		l.points++
		if p.Time.After(l.newest) {
			l.newest = p.Time
		}
	}
	for id, points := range byID {
		l.machines = append(l.machines, newHistory(id, points))
	}
	slices.SortFunc(l.machines, func(a, b *history) int { return cmp.Compare(a.id, b.id) })
	return l, nil
}

// newHistory orders the points and names them. Points of the same second all
// carry the start of their ids.
func newHistory(id repo.MachineID, points []repo.PointInfo) *history {
	slices.SortFunc(points, func(a, b repo.PointInfo) int {
		return cmp.Or(a.Time.Compare(b.Time), slices.Compare(a.ID[:], b.ID[:]))
	})
	uses := make(map[string]int, len(points))
	for _, p := range points {
		uses[timeName(p.Time)]++
	}
	h := &history{id: id, points: make([]namedPoint, len(points)), byName: make(map[string]int, len(points))}
	for i, p := range points {
		name := timeName(p.Time)
		if uses[name] > 1 {
			short := name + " (" + p.ID.String()[:8] + ")"
			if _, taken := h.byName[short]; taken {
				short = name + " (" + p.ID.String() + ")"
			}
			name = short
		}
		h.points[i] = namedPoint{p, name}
		h.byName[name] = i
	}
	return h
}

// reuse puts the histories of old that tell the same into fresh.
func reuse(fresh, old *listing) {
	before := make(map[repo.MachineID]*history, len(old.machines))
	for _, h := range old.machines {
		before[h.id] = h
	}
	for i, h := range fresh.machines {
		if b := before[h.id]; b != nil && slices.EqualFunc(h.points, b.points, samePoint) {
			fresh.machines[i] = b
		}
	}
}

func samePoint(a, b namedPoint) bool {
	return a.ID == b.ID && a.Object == b.Object && a.Time.Equal(b.Time)
}

// find returns the history of a machine, nil if the listing has none.
func (l *listing) find(id repo.MachineID) *history {
	i, ok := slices.BinarySearchFunc(l.machines, id, func(h *history, id repo.MachineID) int { return cmp.Compare(h.id, id) })
	if !ok {
		return nil
	}
	return l.machines[i]
}

// changes tells what differs between two listings.
func changes(old, fresh *listing) []Change {
	var list []Change
	for _, h := range fresh.machines {
		b := old.find(h.id)
		if b == h {
			continue
		}
		c := Change{Ino: machineIno(h.id)}
		if b != nil {
			c.Gone = missing(b, h)
			c.New = missing(h, b)
		} else {
			c.New = missing(h, &history{})
		}
		list = append(list, c)
	}
	for _, b := range old.machines {
		if fresh.find(b.id) == nil {
			list = append(list, Change{Ino: machineIno(b.id), Gone: missing(b, &history{})})
		}
	}
	return list
}

// missing gives the folder names of a that b has not.
func missing(a, b *history) []string {
	var list []string
	for _, p := range a.points {
		if _, ok := b.byName[p.name]; !ok {
			list = append(list, p.name)
		}
	}
	return list
}
