package fs

import (
	"context"
	iofs "io/fs"
	"iter"
	"time"

	"vitrine/repo"
)

func machineIno(id repo.MachineID) uint64 { return inode("machine", string(id)) }

// rootDir is the root: machines, README.txt and .vitrine.
type rootDir struct{ t *Tree }

func (d rootDir) Stat(ctx context.Context) (Info, error) {
	i := Info{Ino: rootIno, Mode: dirMode, Links: 3, Time: d.t.start, Volatile: true}
	l, err := d.t.current(ctx)
	if err != nil {
		return Info{}, err
	}
	i.Links += uint32(len(l.machines))
	if len(l.machines) > 0 {
		i.Time = l.newest
	}
	return i, nil
}

func (d rootDir) Lookup(ctx context.Context, name string) (Node, error) {
	switch name {
	case readmeName:
		return d.t.readmeFile(), nil
	case statusDir:
		return d.t.statusFolder(), nil
	}
	r, err := d.t.roster(ctx)
	if err != nil {
		return nil, err
	}
	m, ok := r.byName[name]
	if !ok {
		return nil, notExist(name)
	}
	return machineDir{d.t, m.id}, nil
}

func (d rootDir) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	r, err := d.t.roster(ctx)
	if err != nil {
		return entriesError(err)
	}
	// Through a folder, for the order.
	f := newFolder(rootIno, time.Time{})
	f.put(statusDir, statusIno(""), dirMode, nil)
	f.put(readmeName, readmeIno(), fileMode, nil)
	list := make([]Entry, 0, len(r.folders)+len(f.list))
	rest := f.list
	for _, m := range r.folders {
		for len(rest) > 0 && rest[0].Name < m.folder {
			list, rest = append(list, rest[0]), rest[1:]
		}
		list = append(list, Entry{Name: m.folder, Ino: machineIno(m.id), Mode: iofs.ModeDir})
	}
	return entries(append(list, rest...))
}

func readmeIno() uint64 { return inode("tree", readmeName) }

func (t *Tree) readmeFile() Node {
	return newText(readmeIno(), t.start, func() []byte { return []byte(readme) })
}

// machineDir is the folder of a machine: its restore points and `latest`.
type machineDir struct {
	t  *Tree
	id repo.MachineID
}

const latestName = "latest"

func (d machineDir) history(ctx context.Context) (*history, error) {
	l, err := d.t.current(ctx)
	if err != nil {
		return nil, err
	}
	h := l.find(d.id)
	if h == nil {
		return nil, notExist(string(d.id))
	}
	return h, nil
}

func (d machineDir) Stat(ctx context.Context) (Info, error) {
	h, err := d.history(ctx)
	if err != nil {
		return Info{}, err
	}
	i := Info{Ino: machineIno(d.id), Mode: dirMode, Links: 2 + uint32(len(h.points)), Time: h.newest(), Volatile: true}
	if d.t.o.RealLatest {
		i.Links++
	}
	return i, nil
}

func (d machineDir) latest() Node {
	if d.t.o.RealLatest {
		return latestDir{d}
	}
	return latestLink{d}
}

func (d machineDir) latestIno() uint64 { return inode("machine", string(d.id)+"/"+latestName) }

func (d machineDir) Lookup(ctx context.Context, name string) (Node, error) {
	h, err := d.history(ctx)
	if err != nil {
		return nil, err
	}
	if name == latestName {
		return d.latest(), nil
	}
	i, ok := h.byName[name]
	if !ok {
		return nil, notExist(name)
	}
	return pointDir{d.t, h.points[i]}, nil
}

func (d machineDir) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	h, err := d.history(ctx)
	if err != nil {
		return entriesError(err)
	}
	kind := linkMode.Type()
	if d.t.o.RealLatest {
		kind = iofs.ModeDir
	}
	return func(yield func(Entry, error) bool) {
		// Digits come before letters, and time is the order of names.
		for _, p := range h.points {
			if !yield(Entry{Name: p.name, Ino: pointIno(p.PointInfo), Mode: iofs.ModeDir}, nil) {
				return
			}
		}
		yield(Entry{Name: latestName, Ino: d.latestIno(), Mode: kind}, nil)
	}
}

// newest is the machine's latest restore point that opens, or its latest.
func (d machineDir) newest(ctx context.Context) (namedPoint, error) {
	r, err := d.t.roster(ctx)
	if err != nil {
		return namedPoint{}, err
	}
	m, err := r.find(d.id)
	if err != nil {
		return namedPoint{}, err
	}
	return m.latestPoint(), nil
}

// latestLink points to the latest restore point.
type latestLink struct{ d machineDir }

func (l latestLink) Stat(ctx context.Context) (Info, error) {
	p, err := l.d.newest(ctx)
	if err != nil {
		return Info{}, err
	}
	return Info{Ino: l.d.latestIno(), Mode: linkMode, Size: int64(len(p.name)), Links: 1, Time: p.Time, Volatile: true}, nil
}

func (l latestLink) Target(ctx context.Context) (string, error) {
	p, err := l.d.newest(ctx)
	return p.name, err
}

// latestDir is the latest restore point as a folder of its own, for systems
// without links.
type latestDir struct{ d machineDir }

func (l latestDir) Stat(ctx context.Context) (Info, error) {
	p, err := l.d.newest(ctx)
	if err != nil {
		return Info{}, err
	}
	i, err := l.d.t.pointFolder(ctx, p, true).Stat(ctx)
	i.Ino, i.Volatile = l.d.latestIno(), true
	return i, err
}

func (l latestDir) Lookup(ctx context.Context, name string) (Node, error) {
	p, err := l.d.newest(ctx)
	if err != nil {
		return nil, err
	}
	return l.d.t.pointFolder(ctx, p, true).Lookup(ctx, name)
}

func (l latestDir) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	p, err := l.d.newest(ctx)
	if err != nil {
		return entriesError(err)
	}
	return l.d.t.pointFolder(ctx, p, true).Entries(ctx)
}

// pointDir is the folder of a restore point, opened when it is entered.
type pointDir struct {
	t *Tree
	p namedPoint
}

func pointIno(p repo.PointInfo) uint64 { return inode(p.ID.String(), "") }

// Stat does not open the restore point: it need not be known what is in it.
func (d pointDir) Stat(context.Context) (Info, error) {
	return Info{Ino: pointIno(d.p.PointInfo), Mode: dirMode, Links: 1, Time: d.p.Time}, nil
}

func (d pointDir) Lookup(ctx context.Context, name string) (Node, error) {
	return d.t.pointFolder(ctx, d.p, false).Lookup(ctx, name)
}

func (d pointDir) Entries(ctx context.Context) iter.Seq2[Entry, error] {
	return d.t.pointFolder(ctx, d.p, false).Entries(ctx)
}

// pointFolder returns what is in a restore point. Where it does not open, that
// is a folder with the reason.
func (t *Tree) pointFolder(ctx context.Context, p namedPoint, alias bool) Dir {
	o, err := t.point(ctx, p)
	switch {
	case err == nil && alias:
		return o.alias()
	case err == nil:
		return o.folder()
	case ctx.Err() != nil || t.ctx.Err() != nil:
		return brokenDir{err}
	}
	return t.errorFolder(p, err, alias)
}

const errorName = "ERROR.txt"

// errorFolder stands in for a restore point that does not open.
func (t *Tree) errorFolder(p namedPoint, cause error, alias bool) *folder {
	scope := p.ID.String()
	if alias {
		scope = aliasScope + scope
	}
	f := newFolder(inode(scope, ""), p.Time)
	ino := inode(scope, errorName)
	f.put(errorName, ino, fileMode, newVolatile(ino, t.o.Clock, func() []byte {
		return []byte("This restore point cannot be opened:\n\n    " + cause.Error() +
			"\n\nIt is tried again every " + retryAfter.String() + ". `vitrine check` tells what is damaged and\n`vitrine repair` what can be healed. Other restore points are not affected.\n")
	}))
	return f
}

// brokenDir stands in for a folder that nobody waited for.
type brokenDir struct{ err error }

func (d brokenDir) Stat(context.Context) (Info, error)              { return Info{}, d.err }
func (d brokenDir) Lookup(context.Context, string) (Node, error)    { return nil, d.err }
func (d brokenDir) Entries(context.Context) iter.Seq2[Entry, error] { return entriesError(d.err) }
