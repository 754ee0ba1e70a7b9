package fat

import (
	"context"
	"hash/maphash"

	iofs "io/fs"
)

const (
	maxIndexes = 32
	maxIndexed = 1 << 19 // entries in all indexes
	ambiguous  = -1
)

// index finds names in a directory: the hash of a name in upper case leads to
// where its entry begins, in bytes from the directory's beginning.
type index struct {
	names map[uint64]int64
	whole bool // the directory has no damage: what is not here is nowhere
}

// indexes keeps the indexes of the directories that were searched last.
type indexes struct {
	seed  maphash.Seed
	byDir map[uint64]*index
	order []uint64 // by age
	count int      // entries in all of them
}

func (x *indexes) hash(folded string) uint64 { return maphash.String(x.seed, folded) }

// put keeps an index and drops the oldest ones.
func (x *indexes) put(dir uint64, i *index) {
	if len(i.names) > maxIndexed || x.byDir[dir] != nil {
		return
	}
	x.byDir[dir] = i
	x.order = append(x.order, dir)
	for x.count += len(i.names); x.count > maxIndexed || len(x.order) > maxIndexes; {
		old := x.order[0]
		x.order = x.order[1:]
		x.count -= len(x.byDir[old].names)
		delete(x.byDir, old)
	}
}

// lookup finds a name in any case; one in the very case wins.
func (v *FS) lookup(ctx context.Context, dir node, name string) (node, error) {
	v.finding.Lock()
	i := v.indexes.byDir[dir.id]
	v.finding.Unlock()
	folded := v.fold(name)
	if i == nil {
		return v.scanFor(ctx, dir, name, folded)
	}
	at, ok := i.names[v.indexes.hash(folded)]
	switch {
	case !ok && i.whole:
		return node{}, iofs.ErrNotExist
	case ok && at != ambiguous:
		c := v.cursor(dir)
		c.s.off = at
		if n, err := c.next(ctx); err == nil && v.answers(n, folded) {
			return n, nil
		}
	}
	return v.scanFor(ctx, dir, name, folded)
}

// answers reports whether a node has a name in upper case.
func (v *FS) answers(n node, folded string) bool {
	return n.name != "" && v.fold(n.name) == folded || n.short != "" && v.fold(n.short) == folded
}

// scanFor finds a name by reading the directory, and makes its index.
func (v *FS) scanFor(ctx context.Context, dir node, name, folded string) (node, error) {
	i := &index{names: make(map[uint64]int64)}
	var found, exact node
	var first error
	add := func(s string, at int64) {
		h := v.indexes.hash(v.fold(s))
		if _, ok := i.names[h]; ok {
			at = ambiguous
		}
		i.names[h] = at
	}
	for c := v.cursor(dir); !c.done; {
		n, err := c.next(ctx)
		first = keep(first, err)
		if n.name == "" {
			continue
		}
		if len(i.names) <= maxIndexed {
			add(n.name, c.begin)
			if n.short != "" && v.fold(n.short) != v.fold(n.name) {
				add(n.short, c.begin)
			}
		}
		if n.name == name && exact.name == "" {
			exact = n
		}
		if found.name == "" && v.answers(n, folded) {
			found = n
		}
	}
	i.whole = first == nil
	v.finding.Lock()
	v.indexes.put(dir.id, i)
	v.finding.Unlock()
	switch {
	case exact.name != "":
		return exact, nil
	case found.name != "":
		return found, nil
	case first != nil:
		return node{}, first
	}
	return node{}, iofs.ErrNotExist
}
