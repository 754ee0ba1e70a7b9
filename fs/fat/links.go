package fat

import "context"

// maxLinked is the number of clusters up to which volumes are searched for
// clusters that are in two chains.
const maxLinked = 1 << 23

// links tells which clusters stand behind another one in the table, once and
// twice. It is empty for volumes of very many clusters and for exFAT, whose
// table has leftovers where files lie in a row.
type links struct {
	once, twice []uint64
}

func (l *links) has(set []uint64, c uint32) bool {
	return int(c/64) < len(set) && set[c/64]>>(c%64)&1 != 0
}

// links reads the whole table, at the first call.
func (v *FS) links(ctx context.Context) (*links, error) {
	v.scan.Lock()
	defer v.scan.Unlock()
	if v.linked != nil {
		return v.linked, nil
	}
	l := new(links)
	if v.g.last <= maxLinked && v.g.kind != exfat {
		words := v.g.last/64 + 1
		l.once, l.twice = make([]uint64, words), make([]uint64, words)
		t := &table{v: v}
		for c := uint32(2); c <= v.g.last; c++ {
			e, err := t.get(ctx, c)
			if err != nil {
				return nil, err
			}
			if !v.g.valid(e) {
				continue
			}
			bit := uint64(1) << (e % 64)
			l.twice[e/64] |= l.once[e/64] & bit
			l.once[e/64] |= bit
		}
	}
	v.linked = l
	return l, nil
}
