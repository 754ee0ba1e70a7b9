package repo

import (
	"fmt"
	"iter"
	"sort"
)

// extents are sorted, disjoint [start,end) of an image.
type extents [][2]int64

// collect reads a caller's extents, which must be in order and inside size.
func collect(seq iter.Seq2[int64, int64], size int64, what string) (extents, error) {
	var out extents
	if seq == nil {
		return nil, nil
	}
	for s, e := range seq {
		if s < 0 || e < s || e > size {
			return nil, fmt.Errorf("repo: %s extent [%d,%d) of an image of %d bytes", what, s, e, size)
		}
		if n := len(out); n > 0 && s <= out[n-1][1] {
			if s < out[n-1][0] {
				return nil, fmt.Errorf("repo: %s extents are out of order at %d", what, s)
			}
			out[n-1][1] = max(out[n-1][1], e)
			continue
		}
		if e > s {
			out = append(out, [2]int64{s, e})
		}
	}
	return out, nil
}

// add appends an extent in any order; normalize sorts and merges.
func (x *extents) add(s, e int64) {
	if e > s {
		*x = append(*x, [2]int64{s, e})
	}
}

func (x extents) normalize() extents {
	sort.Slice(x, func(i, j int) bool { return x[i][0] < x[j][0] })
	out := x[:0]
	for _, e := range x {
		if n := len(out); n > 0 && e[0] <= out[n-1][1] {
			out[n-1][1] = max(out[n-1][1], e[1])
			continue
		}
		out = append(out, e)
	}
	return out
}

// clip returns the parts inside [s,e).
func (x extents) clip(s, e int64) extents {
	i := sort.Search(len(x), func(i int) bool { return x[i][1] > s })
	j := sort.Search(len(x), func(i int) bool { return x[i][0] >= e })
	if i >= j {
		return nil
	}
	out := append(extents(nil), x[i:j]...)
	out[0][0] = max(out[0][0], s)
	out[len(out)-1][1] = min(out[len(out)-1][1], e)
	return out
}

// contains reports whether a byte lies in x.
func (x extents) contains(off int64) bool {
	i := sort.Search(len(x), func(i int) bool { return x[i][1] > off })
	return i < len(x) && x[i][0] <= off
}

// round widens every extent to whole multiples of unit.
func (x extents) round(unit int64) extents {
	out := make(extents, 0, len(x))
	for _, e := range x {
		out.add(e[0]/unit*unit, (e[1]+unit-1)/unit*unit)
	}
	return out.normalize()
}
