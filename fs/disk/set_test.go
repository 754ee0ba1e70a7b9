package disk_test

import (
	"iter"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"vitrine/fs/disk"
)

// universe is larger than what one leaf of a set holds, in extents of one byte.
const universe = 6000

type model [universe]bool

func (m *model) put(start, end int64, in bool) {
	for i := max(start, 0); i < end; i++ {
		m[i] = in
	}
}

func (m *model) extents() []disk.Extent {
	var out []disk.Extent
	for i := int64(0); i < universe; i++ {
		if !m[i] {
			continue
		}
		if n := len(out); n > 0 && out[n-1].End() == i {
			out[n-1].Len++
			continue
		}
		out = append(out, disk.Extent{Off: i, Len: 1})
	}
	return out
}

func extents(seq iter.Seq2[int64, int64]) []disk.Extent {
	var out []disk.Extent
	for start, end := range seq {
		out = append(out, disk.Extent{Off: start, Len: end - start})
	}
	return out
}

func expect(t *testing.T, what string, s *disk.Set, m *model) {
	t.Helper()
	want := m.extents()
	if got := extents(s.All()); !slices.Equal(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
	bytes := int64(0)
	for _, x := range want {
		bytes += x.Len
	}
	if s.Bytes() != bytes || s.Count() != len(want) {
		t.Fatalf("%s: got %d bytes in %d extents, want %d in %d", what, s.Bytes(), s.Count(), bytes, len(want))
	}
}

// randomSet makes a set and its model; short extents in most seeds, so that
// there are thousands of them.
func randomSet(rng *rand.Rand, ops int) (*disk.Set, *model) {
	s, m := new(disk.Set), new(model)
	longest := []int64{2, 3, 30, 900}[rng.IntN(4)]
	for range ops {
		start := rng.Int64N(universe) - 3
		end := min(start+rng.Int64N(longest+1), universe)
		if rng.IntN(3) == 0 {
			s.Remove(start, end)
			m.put(start, end, false)
			continue
		}
		s.Add(start, end)
		m.put(start, end, true)
	}
	return s, m
}

func TestSetAgreesWithModelAfterEveryOperation(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		s, m := new(disk.Set), new(model)
		for range 60 {
			start, n := rng.Int64N(universe), rng.Int64N(500)
			end := min(start+n, universe)
			in := rng.IntN(3) > 0
			if in {
				s.Add(start, end)
			} else {
				s.Remove(start, end)
			}
			m.put(start, end, in)
			expect(t, "after one operation", s, m)
		}
	}
}

func TestSetAgreesWithModelWithManyExtents(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		s, m := randomSet(rng, 9000)
		expect(t, "built at random", s, m)
		for range 20 {
			start := rng.Int64N(universe)
			end := min(start+rng.Int64N(3000), universe)
			s.Remove(start, end)
			m.put(start, end, false)
			expect(t, "after a long remove", s, m)
			for range 300 {
				at := rng.Int64N(universe-1) + 1
				s.Add(at-1, at)
				m.put(at-1, at, true)
			}
			expect(t, "after short adds", s, m)
		}
	}
}

func TestSetQueriesAgreeWithModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 30 {
		s, m := randomSet(rng, rng.IntN(4000))
		for range 200 {
			start := rng.Int64N(universe)
			end := min(start+rng.Int64N(12), universe)
			part := m[start:end]
			if got, want := s.Contains(start, end), !slices.Contains(part, false); got != want {
				t.Fatalf("Contains(%d,%d): got %v, want %v", start, end, got, want)
			}
			if got, want := s.Overlaps(start, end), slices.Contains(part, true); got != want {
				t.Fatalf("Overlaps(%d,%d): got %v, want %v", start, end, got, want)
			}
			cut := new(model)
			copy(cut[start:end], part)
			if got, want := extents(s.Within(start, end)), cut.extents(); !slices.Equal(got, want) {
				t.Fatalf("Within(%d,%d): got %v, want %v", start, end, got, want)
			}
			a, b, ok := s.Next(start)
			i := slices.Index(m[start:], true)
			if ok != (i >= 0) {
				t.Fatalf("Next(%d): got %v", start, ok)
			}
			if ok && (a != start+int64(i) || b <= a || slices.Contains(m[a:b], false) || b < universe && m[b]) {
				t.Fatalf("Next(%d): got [%d,%d)", start, a, b)
			}
		}
	}
}

func TestSetAlgebraAgreesWithModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for range 80 {
		a, ma := randomSet(rng, rng.IntN(5000))
		b, mb := randomSet(rng, rng.IntN(5000))
		both, either, only, round := new(model), new(model), new(model), new(model)
		unit := int64(1) << rng.IntN(6)
		for i := range ma {
			either[i], both[i], only[i] = ma[i] || mb[i], ma[i] && mb[i], ma[i] && !mb[i]
			if ma[i] {
				start := int64(i) / unit * unit
				round.put(start, min(start+unit, universe), true)
			}
		}
		expect(t, "union", a.Union(b), either)
		expect(t, "intersection", a.Intersect(b), both)
		expect(t, "difference", a.Subtract(b), only)
		if universe%unit == 0 {
			expect(t, "rounded", a.RoundOut(unit), round)
		}
		expect(t, "the first operand", a, ma)
		expect(t, "the second operand", b, mb)
	}
}

func TestSetNilReadsAsEmpty(t *testing.T) {
	var s *disk.Set
	full := disk.Collect(func(yield func(int64, int64) bool) { yield(0, math.MaxInt64) })
	if s.Bytes() != 0 || s.Count() != 0 || s.Overlaps(0, math.MaxInt64) || s.Contains(0, 1) || !s.Contains(3, 3) {
		t.Error("a nil set has something in it")
	}
	for name, got := range map[string]int64{
		"union":        s.Union(full).Bytes() - math.MaxInt64,
		"intersection": full.Intersect(s).Bytes(),
		"difference":   full.Subtract(s).Bytes() - math.MaxInt64,
		"rounded":      s.RoundOut(4096).Bytes(),
	} {
		if got != 0 {
			t.Errorf("%s with a nil set is off by %d", name, got)
		}
	}
}

func TestSetHoldsTheLastByteOfAll(t *testing.T) {
	s := new(disk.Set)
	s.Add(math.MaxInt64-1, math.MaxInt64)
	s.Add(math.MinInt64, 1)
	want := []disk.Extent{{0, 1}, {math.MaxInt64 - 1, 1}}
	if got := extents(s.All()); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	want = []disk.Extent{{0, 4096}, {math.MaxInt64 &^ 4095, 4095}}
	if got := extents(s.RoundOut(4096).All()); !slices.Equal(got, want) {
		t.Errorf("rounded: got %v, want %v", got, want)
	}
}

func TestSetYieldStops(t *testing.T) {
	s := new(disk.Set)
	s.Add(0, 1)
	s.Add(2, 3)
	for range s.All() {
		break
	}
}

func BenchmarkSetMillionExtentsInOrder(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s := new(disk.Set)
		for i := range int64(1e6) {
			s.Add(i*8192, i*8192+4096)
		}
	}
}

func BenchmarkSetMillionExtentsAtRandom(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		rng := rand.New(rand.NewPCG(1, 1))
		s := new(disk.Set)
		for range int64(1e6) {
			at := rng.Int64N(1<<30) * 4096
			s.Add(at, at+4096)
		}
	}
}
