package repo_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"sync"
	"testing"

	"vitrine/repo"
	"vitrine/repo/mem"
)

// TestManyReadersOfASmallCache reads from many goroutines, some of which give
// up, with a cache that holds next to nothing.
func TestManyReadersOfASmallCache(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, mem.New(), true)
	w.fill(t)
	o := w.options()
	o.Cache = 200 << 10
	r, err := repo.Open(ctx, w.store, o)
	must(t, err)
	defer r.Close()
	d := w.points[3].images["os.vhdx"]
	i, err := r.OpenImage(ctx, w.points[3].point.Disks[0].Image)
	must(t, err)
	pages := d.sorted()
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 5))
			for range 150 {
				off := pages[rnd.IntN(len(pages))]*page + rnd.Int64N(page)
				got := make([]byte, 1+rnd.IntN(150<<10))
				want := make([]byte, len(got))
				k, _ := d.ReadAt(want, off)
				rctx, cancel := context.WithCancel(ctx)
				switch rnd.IntN(4) {
				case 0:
					go cancel()
				case 1:
					i.Prefetch(off, int64(len(got)))
				}
				n, err := i.ReadAtContext(rctx, got, off)
				if cancelled := rctx.Err() != nil; n < k && !cancelled || !bytes.Equal(got[:n], want[:n]) {
					t.Errorf("read %d at %d: %d, %v", len(got), off, n, err)
				}
				cancel()
			}
		})
	}
	all.Wait()
	if s := r.CacheStats(); s.Size > s.Limit+(256<<10)+256 {
		t.Errorf("the cache holds %d of %d bytes", s.Size, s.Limit)
	}
}
