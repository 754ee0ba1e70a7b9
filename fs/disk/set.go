package disk

import (
	"iter"
	"math"
	"slices"
	"sort"
)

// Extent is a run of Len bytes of a disk that begins at Off.
type Extent struct {
	Off, Len int64
}

// End is the offset of the first byte behind the extent.
func (e Extent) End() int64 { return e.Off + e.Len }

// Set is a sorted set of disjoint extents; extents that touch become one. The
// zero value is the empty set, and a nil *Set reads as empty. Extents are given
// and returned as start and end, as NextData and the repository do; what lies
// below 0 is ignored. Readers may share a Set, writers may not.
//
// An extent costs 16 bytes. Adding and removing take O(log n) anywhere in the
// set and O(1) behind its end.
type Set struct {
	leaves [][]span // none is empty, none is longer than maxLeaf; sorted across leaves
	bytes  int64
}

type span struct{ start, end int64 }

const maxLeaf = 512

// place is a position between the spans of a set: before leaves[leaf][i]. The
// place behind all spans is {len(leaves), 0}.
type place struct{ leaf, i int }

// Collect returns the set of all extents of seq, in any order.
func Collect(seq iter.Seq2[int64, int64]) *Set {
	s := new(Set)
	for start, end := range seq {
		s.Add(start, end)
	}
	return s
}

// Bytes is the number of bytes in the set.
func (s *Set) Bytes() int64 {
	if s == nil {
		return 0
	}
	return s.bytes
}

// Count is the number of extents in the set.
func (s *Set) Count() int {
	n := 0
	if s != nil {
		for _, leaf := range s.leaves {
			n += len(leaf)
		}
	}
	return n
}

// Add puts [start,end) into the set.
func (s *Set) Add(start, end int64) {
	start = max(start, 0)
	if start >= end {
		return
	}
	// All spans that overlap or touch [start,end) become one with it.
	from := s.seek(func(x span) bool { return x.end >= start })
	if from.leaf == len(s.leaves) {
		s.push(span{start, end})
		return
	}
	to := s.seek(func(x span) bool { return x.start > end })
	if from != to {
		last := s.before(to)
		start = min(start, s.leaves[from.leaf][from.i].start)
		end = max(end, s.leaves[last.leaf][last.i].end)
	}
	s.replace(from, to, span{start, end})
}

// Remove takes [start,end) out of the set.
func (s *Set) Remove(start, end int64) {
	start = max(start, 0)
	if start >= end {
		return
	}
	from := s.seek(func(x span) bool { return x.end > start })
	to := s.seek(func(x span) bool { return x.start >= end })
	if from == to {
		return
	}
	var rest []span
	if first := s.leaves[from.leaf][from.i]; first.start < start {
		rest = append(rest, span{first.start, start})
	}
	last := s.before(to)
	if x := s.leaves[last.leaf][last.i]; x.end > end {
		rest = append(rest, span{end, x.end})
	}
	s.replace(from, to, rest...)
}

// Next returns the first extent at or behind off, cut to begin at off at the
// earliest; ok is false when there is none.
func (s *Set) Next(off int64) (start, end int64, ok bool) {
	if s == nil {
		return 0, 0, false
	}
	at := s.seek(func(x span) bool { return x.end > off })
	if at.leaf == len(s.leaves) {
		return 0, 0, false
	}
	x := s.leaves[at.leaf][at.i]
	return max(x.start, off), x.end, true
}

// Contains reports whether every byte of [start,end) is in the set; that is so
// for no bytes.
func (s *Set) Contains(start, end int64) bool {
	if start >= end {
		return true
	}
	a, b, ok := s.Next(start)
	return ok && a == start && b >= end
}

// Overlaps reports whether any byte of [start,end) is in the set.
func (s *Set) Overlaps(start, end int64) bool {
	if start >= end {
		return false
	}
	a, _, ok := s.Next(start)
	return ok && a < end
}

// All yields the extents in order, as start and end.
func (s *Set) All() iter.Seq2[int64, int64] {
	return s.Within(0, math.MaxInt64)
}

// Within yields the parts of the extents that lie in [start,end), in order.
func (s *Set) Within(start, end int64) iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		if s == nil || start >= end {
			return
		}
		at := s.seek(func(x span) bool { return x.end > start })
		for ; at.leaf < len(s.leaves); at = (place{at.leaf + 1, 0}) {
			for _, x := range s.leaves[at.leaf][at.i:] {
				if x.start >= end || !yield(max(x.start, start), min(x.end, end)) {
					return
				}
			}
		}
	}
}

// Union returns a new set of the bytes that are in s or in t.
func (s *Set) Union(t *Set) *Set {
	u := new(Set)
	next, stop := iter.Pull2(t.All())
	defer stop()
	b0, b1, more := next()
	for a0, a1 := range s.All() {
		for ; more && b0 < a0; b0, b1, more = next() {
			u.Add(b0, b1)
		}
		u.Add(a0, a1)
	}
	for ; more; b0, b1, more = next() {
		u.Add(b0, b1)
	}
	return u
}

// Intersect returns a new set of the bytes that are in both s and t.
func (s *Set) Intersect(t *Set) *Set {
	if s.spans() > t.spans() {
		s, t = t, s
	}
	u := new(Set)
	for start, end := range s.All() {
		for a, b := range t.Within(start, end) {
			u.push(span{a, b})
		}
	}
	return u
}

// Subtract returns a new set of the bytes that are in s and not in t.
func (s *Set) Subtract(t *Set) *Set {
	u := new(Set)
	for start, end := range s.All() {
		for a, b := range t.Within(start, end) {
			u.Add(start, a)
			start = b
		}
		u.Add(start, end)
	}
	return u
}

// RoundOut returns a new set whose extents are those of s with starts rounded
// down and ends rounded up to multiples of unit.
func (s *Set) RoundOut(unit int64) *Set {
	u := new(Set)
	for start, end := range s.All() {
		if rest := end % unit; rest != 0 {
			end += min(unit-rest, math.MaxInt64-end)
		}
		u.Add(start-start%unit, end)
	}
	return u
}

// spans estimates Count in constant time.
func (s *Set) spans() int {
	if s == nil {
		return 0
	}
	return len(s.leaves)
}

// seek returns the place of the first span for which reached holds; reached
// must be false for the spans of a beginning of the set and true for the rest.
func (s *Set) seek(reached func(span) bool) place {
	leaf := sort.Search(len(s.leaves), func(i int) bool {
		return reached(s.leaves[i][len(s.leaves[i])-1])
	})
	if leaf == len(s.leaves) {
		return place{leaf, 0}
	}
	spans := s.leaves[leaf]
	return place{leaf, sort.Search(len(spans), func(i int) bool { return reached(spans[i]) })}
}

// before returns the place of the span in front of p, which must exist.
func (s *Set) before(p place) place {
	if p.i > 0 {
		return place{p.leaf, p.i - 1}
	}
	return place{p.leaf - 1, len(s.leaves[p.leaf-1]) - 1}
}

// push appends x, which begins behind every span of the set.
func (s *Set) push(x span) {
	s.bytes += x.end - x.start
	if n := len(s.leaves); n > 0 && len(s.leaves[n-1]) < maxLeaf {
		s.leaves[n-1] = append(s.leaves[n-1], x)
		return
	}
	s.leaves = append(s.leaves, []span{x})
}

// replace puts spans in the place of those from from up to to.
func (s *Set) replace(from, to place, spans ...span) {
	for at := from; at != to; {
		leaf := s.leaves[at.leaf]
		stop := len(leaf)
		if at.leaf == to.leaf {
			stop = to.i
		}
		for _, x := range leaf[at.i:stop] {
			s.bytes -= x.end - x.start
		}
		if at.leaf == to.leaf {
			break
		}
		at = place{at.leaf + 1, 0}
	}
	for _, x := range spans {
		s.bytes += x.end - x.start
	}

	if from.leaf == to.leaf {
		s.leaves[from.leaf] = slices.Replace(s.leaves[from.leaf], from.i, to.i, spans...)
		s.balance(from.leaf, from.leaf+1)
		return
	}
	s.leaves[from.leaf] = append(s.leaves[from.leaf][:from.i], spans...)
	if to.leaf < len(s.leaves) {
		s.leaves[to.leaf] = s.leaves[to.leaf][to.i:]
	}
	s.leaves = slices.Delete(s.leaves, from.leaf+1, to.leaf)
	s.balance(from.leaf, min(from.leaf+2, len(s.leaves)))
}

// balance splits, joins and drops the leaves [from,to) and the one behind, so
// that none is empty or too long and few are short.
func (s *Set) balance(from, to int) {
	for i := min(to, len(s.leaves)-1); i >= from; i-- {
		leaf := s.leaves[i]
		switch {
		case len(leaf) == 0:
			s.leaves = slices.Delete(s.leaves, i, i+1)
		case len(leaf) > maxLeaf:
			half := slices.Clone(leaf[len(leaf)/2:])
			s.leaves[i] = leaf[:len(leaf)/2]
			s.leaves = slices.Insert(s.leaves, i+1, half)
		case i+1 < len(s.leaves) && len(leaf)+len(s.leaves[i+1]) <= maxLeaf/2:
			s.leaves[i] = slices.Concat(leaf, s.leaves[i+1])
			s.leaves = slices.Delete(s.leaves, i+1, i+2)
		}
	}
}
