package repo_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"

	"vitrine/repo"
	"vitrine/repo/mem"
)

// memorySource is a source in memory whose allocation is tracked in blocks.
type memorySource struct {
	data  []byte
	block int64
	alloc []bool // nil: everything

}

func (m *memorySource) Size() int64 { return int64(len(m.data)) }

func (m *memorySource) ReadAt(p []byte, off int64) (int, error) {
	n := copy(p, m.data[min(off, m.Size()):])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (m *memorySource) NextData(off int64) (int64, int64, error) {
	if off >= m.Size() {
		return 0, 0, io.EOF
	}
	if m.alloc == nil {
		return off, m.Size(), nil
	}
	for b := off / m.block; b < int64(len(m.alloc)); b++ {
		if m.alloc[b] {
			e := b
			for e < int64(len(m.alloc)) && m.alloc[e] {
				e++
			}
			return max(off, b*m.block), min(e*m.block, m.Size()), nil
		}
	}
	return 0, 0, io.EOF
}

func pairs(p [][2]int64) iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		for _, x := range p {
			if !yield(x[0], x[1]) {
				return
			}
		}
	}
}

func newTestRepo(t testing.TB, s repo.Store, like *repo.Repo) *repo.Repo {
	t.Helper()
	r, _, err := repo.Init(context.Background(), s, repo.InitOptions{
		Options:      repo.Options{CacheDir: t.TempDir()},
		NoEncryption: like == nil || !like.Encrypted(), Like: like})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func store(t testing.TB, r *repo.Repo, src repo.Source, o repo.ImageOptions) (*repo.Image, repo.Stats) {
	t.Helper()
	ctx := context.Background()
	w, err := r.NewWriter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	ref, st, err := w.StoreImage(ctx, src, o)
	if err != nil {
		t.Fatal(err)
	}
	p := &repo.RestorePoint{Machine: "11111111-2222-3333-4444-555555555555", Name: "vm", Disks: []repo.Disk{{Name: "d.vhdx", Image: ref}}}
	if err := w.Commit(ctx, p); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	i, err := r.OpenImage(ctx, ref)
	if err != nil {
		t.Fatal(err)
	}
	return i, st
}

// expectContent reads the image whole and in random pieces.
func expectContent(t *testing.T, i *repo.Image, want []byte, rnd *rand.Rand) {
	t.Helper()
	got := make([]byte, len(want))
	if n, err := i.ReadAt(got, 0); n != len(want) || err != nil && err != io.EOF {
		t.Fatalf("read all: %d, %v", n, err)
	}
	if !bytes.Equal(got, want) {
		for k := range got {
			if got[k] != want[k] {
				t.Fatalf("content differs at %d: %#x, want %#x", k, got[k], want[k])
			}
		}
	}
	for range 20 {
		off := rnd.Int64N(int64(len(want)))
		p := make([]byte, rnd.IntN(200<<10))
		n, err := i.ReadAt(p, off)
		if end := min(int(off)+len(p), len(want)); n != end-int(off) || (n < len(p)) != (err == io.EOF) || !bytes.Equal(p[:n], want[off:end]) {
			t.Fatalf("read %d at %d: %d, %v", len(p), off, n, err)
		}
	}
	at := int64(0)
	for at < int64(len(want)) {
		s, e, err := i.NextData(at)
		if err == io.EOF {
			s, e = int64(len(want)), int64(len(want))
		} else if err != nil {
			t.Fatal(err)
		} else if s < at || e <= s || e > int64(len(want)) {
			t.Fatalf("data behind %d at [%d,%d)", at, s, e)
		}
		if len(bytes.Trim(want[at:s], "\x00")) > 0 {
			t.Fatalf("a hole [%d,%d) that is not zero", at, s)
		}
		at = e
	}
}

// TestIncrementalCutsLikeFull holds the property that everything leans on: a
// full and an incremental backup of the same bytes have the same chunks.
func TestIncrementalCutsLikeFull(t *testing.T) {
	for seed := range histories() {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			incrementalHistory(t, rnd)
		})
	}
}

func incrementalHistory(t *testing.T, rnd *rand.Rand) {
	ctx := context.Background()
	size := (int64(rnd.IntN(20))<<20 + int64(rnd.IntN(1<<20))) / 512 * 512
	if size == 0 {
		size = 512
	}
	src := &memorySource{data: make([]byte, size), block: 1 << 20}
	src.alloc = make([]bool, (size+src.block-1)/src.block)
	fill := func(s, e int64) {
		for b := s / src.block; b <= (e-1)/src.block; b++ {
			src.alloc[b] = true
		}
		switch rnd.IntN(4) {
		case 0: // zeros
			clear(src.data[s:e])
		case 1: // one byte
			for k := s; k < e; k++ {
				src.data[k] = 0xa5
			}
		case 2: // a copy from elsewhere
			from := rnd.Int64N(size) / 4096 * 4096
			copy(src.data[s:e], src.data[from:])
		default:
			for k := s; k+8 <= e; k += 8 {
				v := rnd.Uint64()
				for b := range int64(8) {
					src.data[k+b] = byte(v >> (8 * b))
				}
			}
		}
	}
	extent := func(limit int64) (int64, int64) {
		s := rnd.Int64N(size)
		return s, min(size, s+1+rnd.Int64N(limit))
	}
	for range 12 {
		fill(extent(6 << 20))
	}
	r := newTestRepo(t, mem.New(), nil)
	var left [][2]int64
	i, _ := store(t, r, src, repo.ImageOptions{LeftOut: pairs(left)})
	expectContent(t, i, src.data, rnd)
	for step := range 6 {
		var changed [][2]int64
		for range rnd.IntN(8) {
			s, e := extent([]int64{1, 4096, 70 << 10, 3 << 20}[rnd.IntN(4)])
			fill(s, e)
			changed = append(changed, [2]int64{s, e})
		}
		if rnd.IntN(3) == 0 { // a block is given back
			b := rnd.IntN(len(src.alloc))
			src.alloc[b] = false
			clear(src.data[int64(b)*src.block : min(int64(b+1)*src.block, size)])
		}
		if rnd.IntN(2) == 0 { // something else is left out
			left = nil
			for range rnd.IntN(4) {
				s, e := extent(2 << 20)
				left = append(left, [2]int64{s / 4096 * 4096, (e + 4095) / 4096 * 4096})
			}
			for k := range left {
				left[k][1] = min(left[k][1], size)
			}
		}
		slices.SortFunc(left, func(a, b [2]int64) int { return int(a[0] - b[0]) })
		slices.SortFunc(changed, func(a, b [2]int64) int { return int(a[0] - b[0]) })
		next, _ := store(t, r, src, repo.ImageOptions{Base: i, Changed: pairs(changed), LeftOut: pairs(left)})
		want := bytes.Clone(src.data)
		for _, x := range left {
			clear(want[x[0]:x[1]])
		}
		t.Logf("step %d changed %v left %v", step, changed, left)
		expectContent(t, next, want, rnd)

		other := newTestRepo(t, mem.New(), r)
		full, _ := store(t, other, src, repo.ImageOptions{LeftOut: pairs(left)})
		got, err := r.Pieces(ctx, next)
		if err != nil {
			t.Fatal(err)
		}
		wantPieces, err := other.Pieces(ctx, full)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, wantPieces) {
			for k := range got {
				if k >= len(wantPieces) || got[k] != wantPieces[k] {
					t.Fatalf("step %d: piece %d: incremental %+v, full %+v\nchanged %v\nleft %v", step, k, got[k], wantPieces[min(k, len(wantPieces)-1)], changed, left)
				}
			}
			t.Fatalf("step %d: %d pieces, want %d", step, len(got), len(wantPieces))
		}
		if a, b := next.Ref(), full.Ref(); a.Data != b.Data || a.Left != b.Left || a.Allocated != b.Allocated {
			t.Fatalf("step %d: incremental counts %d %d %d, full %d %d %d", step, a.Data, a.Left, a.Allocated, b.Data, b.Left, b.Allocated)
		}
		i = next
	}
}

// TestWhatIsLeftOutIsNotRead checks it for a full read, for an incremental one,
// and where the base has what is left out now.
func TestWhatIsLeftOutIsNotRead(t *testing.T) {
	src := &memorySource{data: make([]byte, 24<<20)}
	for k := range src.data {
		src.data[k] = byte(k>>12 | 1)
	}
	left := [][2]int64{{1 << 20, 15 << 20}, {17<<20 + 4096, 21<<20 + 8192}}
	most := int64(24-14-4)<<20 + 4<<16
	r := newTestRepo(t, mem.New(), nil)
	first, st := store(t, r, src, repo.ImageOptions{LeftOut: pairs(left)})
	if st.Read > most || st.LeftOut != 18<<20+4096 {
		t.Errorf("full: %d bytes read, %d left out", st.Read, st.LeftOut)
	}
	all, _ := store(t, r, src, repo.ImageOptions{})
	for name, base := range map[string]*repo.Image{"the same left out": first, "nothing left out": all} {
		_, st = store(t, r, src, repo.ImageOptions{Base: base, Changed: pairs(nil), LeftOut: pairs(left)})
		if st.Read > 4<<20 || st.LeftOut != 18<<20+4096 {
			t.Errorf("base with %s: %d bytes read, %d left out", name, st.Read, st.LeftOut)
		}
	}
	if _, st = store(t, r, src, repo.ImageOptions{Base: first, Changed: pairs(nil)}); st.Read < 18<<20 {
		t.Errorf("only %d bytes read of what the base had left out", st.Read)
	}
}

// TestRankAndSelect compares the block counts of the map with its extents.
func TestRankAndSelect(t *testing.T) {
	ctx := context.Background()
	rnd := rand.New(rand.NewPCG(7, 7))
	src := &memorySource{data: make([]byte, 96<<20+4096), block: 1 << 20}
	for range 40 {
		s := rnd.IntN(len(src.data) - 8192)
		for k := range 8192 {
			src.data[s+k] = byte(rnd.Uint32())
		}
	}
	for _, block := range []int64{64 << 10, 1 << 20, 2 << 20, 32 << 20, 256 << 20} {
		r := newTestRepo(t, mem.New(), nil)
		i, _ := store(t, r, src, repo.ImageOptions{Block: block})
		var n int64
		for b := int64(0); b*block < i.Size(); b++ {
			s, _, err := i.NextData(b * block)
			has := err == nil && s < (b+1)*block
			before, got, err := i.Rank(ctx, b)
			if err != nil || before != n || got != has {
				t.Fatalf("block size %d: rank of %d is %d, %v, %v; want %d, %v", block, b, before, got, err, n, has)
			}
			if has {
				if at, err := i.Select(ctx, n); err != nil || at != b {
					t.Fatalf("block size %d: select %d is %d, %v; want %d", block, n, at, err, b)
				}
				n++
			}
		}
		if n != i.Allocated() {
			t.Fatalf("block size %d: %d allocated, want %d", block, i.Allocated(), n)
		}
	}
}

// histories is how many random histories a property is tried on.
func histories() uint64 {
	if os.Getenv("VITRINE_SOAK") != "" {
		return 300
	}
	return 8
}
