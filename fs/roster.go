package fs

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vitrine/repo"
)

const (
	nameOpens   = 16 // restore points opened at the same time for names
	nameRetries = 8  // restore points of one machine tried for its name
)

// roster is the machines of a listing by the names of their folders. It never
// changes.
type roster struct {
	of      *listing
	folders []*machine // in name order
	byName  map[string]*machine
	retry   time.Time // when to look again, because some name could not be had; zero: never
}

// machine is one machine of a roster.
type machine struct {
	*history
	name   string // what its latest openable point calls it; its GUID when none opens
	folder string // name of its folder
	latest int    // that point; the newest when none opens
	size   int64  // of that point's disks
	sure   bool   // every newer point than latest failed by damage, or there is none
}

func (m *machine) latestPoint() namedPoint { return m.points[m.latest] }

// roster returns the machines of the current listing, opening the latest
// restore point of each one that changed.
func (t *Tree) roster(ctx context.Context) (*roster, error) {
	l, err := t.current(ctx)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	r := t.names
	t.mu.Unlock()
	if r != nil && r.of == l && (r.retry.IsZero() || t.o.Clock().Before(r.retry)) {
		return r, nil
	}
	return share(ctx, t, "roster", func(ctx context.Context) (*roster, error) {
		return t.newRoster(ctx, l, r)
	})
}

func (t *Tree) newRoster(ctx context.Context, l *listing, old *roster) (*roster, error) {
	known := make(map[*history]*machine)
	if old != nil {
		for _, m := range old.folders {
			if m.sure {
				known[m.history] = m
			}
		}
	}
	all := make([]*machine, len(l.machines))
	var g errgroup.Group
	g.SetLimit(nameOpens)
	for i, h := range l.machines {
		if m := known[h]; m != nil {
			c := *m
			all[i] = &c
			continue
		}
		g.Go(func() error {
			all[i] = t.identify(ctx, h)
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m *machine) bool { return !t.shows(m) })
	r := &roster{of: l, folders: all, byName: make(map[string]*machine, len(all))}
	nameFolders(all)
	slices.SortFunc(all, func(a, b *machine) int { return strings.Compare(a.folder, b.folder) })
	for _, m := range all {
		r.byName[m.folder] = m
		if !m.sure {
			r.retry = t.o.Clock().Add(retryAfter)
		}
	}
	t.mu.Lock()
	t.names = r
	t.mu.Unlock()
	return r, nil
}

// identify finds what the machine is called.
func (t *Tree) identify(ctx context.Context, h *history) *machine {
	m := &machine{history: h, name: string(h.id), latest: len(h.points) - 1, sure: true}
	for i := len(h.points) - 1; i >= 0 && i >= len(h.points)-nameRetries; i-- {
		p, err := t.point(ctx, h.points[i])
		if err != nil {
			m.sure = false
			continue
		}
		m.name, m.latest = p.rp.Name, i
		for _, d := range p.rp.Disks {
			m.size += max(0, d.Image.Size)
		}
		break
	}
	return m
}

// nameFolders gives every machine the name of its folder: its own name, and
// the start of its GUID where two names would be one on some system or the
// root needs the name for itself.
func nameFolders(all []*machine) {
	uses := map[string]int{fold(readmeName): 1, fold(statusDir): 1}
	for _, m := range all {
		m.folder = safeName(m.name)
		uses[fold(m.folder)]++
	}
	taken := names{}
	taken.keep(readmeName, statusDir)
	for _, m := range all {
		if uses[fold(m.folder)] == 1 {
			taken.keep(m.folder)
		}
	}
	for _, m := range all {
		if uses[fold(m.folder)] == 1 {
			continue
		}
		for _, id := range []string{string(m.id[:min(8, len(m.id))]), string(m.id)} {
			suffix := " (" + id + ")"
			m.folder = safeNameRoom(m.name, len(suffix)) + suffix
			if !taken[fold(m.folder)] {
				break
			}
		}
		taken.keep(m.folder)
	}
}

// mayShow reports whether the listing needs a machine: with a choice made of
// GUIDs alone the others are never opened.
func (t *Tree) mayShow(id repo.MachineID) bool {
	if len(t.o.Machines) == 0 {
		return true
	}
	for _, want := range t.o.Machines {
		guid, err := repo.ParseMachineID(want)
		if err != nil || guid == id {
			return true
		}
	}
	return false
}

// shows reports whether a machine was chosen, by its GUID or its name.
func (t *Tree) shows(m *machine) bool {
	if len(t.o.Machines) == 0 {
		return true
	}
	return slices.ContainsFunc(t.o.Machines, m.goesBy)
}

// goesBy reports whether want is the machine's GUID or name.
func (m *machine) goesBy(want string) bool {
	guid, err := repo.ParseMachineID(want)
	return err == nil && guid == m.id || fold(want) == fold(m.name) || fold(want) == fold(safeName(m.name))
}

// NoMachineError says that a tree was limited to a machine that is not in the
// repository.
type NoMachineError struct{ Name string }

func (e *NoMachineError) Error() string { return fmt.Sprintf("no machine is called %q", e.Name) }

// Hint says where the names are.
func (e *NoMachineError) Hint() string { return "vitrine list shows the machines that there are" }

// Chosen counts the restore points that the tree shows. It fails with
// *NoMachineError when one of Options.Machines is not in the repository; only
// that choice makes it open restore points.
func (t *Tree) Chosen(ctx context.Context) (points int, err error) {
	if len(t.o.Machines) == 0 {
		l, err := t.current(ctx)
		if err != nil {
			return 0, err
		}
		return l.points, nil
	}
	r, err := t.roster(ctx)
	if err != nil {
		return 0, err
	}
	for _, want := range t.o.Machines {
		if !slices.ContainsFunc(r.folders, func(m *machine) bool { return m.goesBy(want) }) {
			return 0, &NoMachineError{want}
		}
	}
	for _, m := range r.folders {
		points += len(m.points)
	}
	return points, nil
}

// find returns the machine of an id: io/fs's ErrNotExist if the roster has none.
func (r *roster) find(id repo.MachineID) (*machine, error) {
	i := slices.IndexFunc(r.folders, func(m *machine) bool { return m.id == id })
	if i < 0 {
		return nil, notExist(string(id))
	}
	return r.folders[i], nil
}
