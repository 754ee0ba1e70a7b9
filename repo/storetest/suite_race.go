package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"vitrine/repo"
)

// each runs f(0) to f(n-1) at once and waits for all.
func each(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

func many(t testing.TB, s repo.Store) {
	const writers, perWriter = 8, 50
	var want []string
	for i := range writers * perWriter {
		want = append(want, fmt.Sprintf("m/%02x/%04d", i%7, i))
	}
	each(writers, func(w int) {
		for i := w; i < len(want); i += writers {
			if err := s.Put(t.Context(), want[i], []byte(want[i])); err != nil {
				t.Errorf("put: %v", err)
				return
			}
		}
	})
	slices.Sort(want)
	if got := Names(t, s, ""); !slices.Equal(got, want) {
		t.Errorf("listed %d of %d", len(got), len(want))
	}
	if got := Names(t, s, "m/03/"); len(got) != 57 {
		t.Errorf("listed %d objects of m/03/, want 57", len(got))
	}
}

func putRace(t testing.TB, s repo.Store) {
	const rounds, writers = 12, 8
	for round := range rounds {
		name := fmt.Sprintf("race/%d/x", round)
		var won atomic.Int64
		won.Store(-1)
		each(writers, func(i int) {
			err := s.Put(t.Context(), name, content(uint64(i), 3000+i))
			if err == nil && !won.CompareAndSwap(-1, int64(i)) {
				t.Errorf("two puts of %s succeeded", name)
			}
			if err != nil && !errors.Is(err, iofs.ErrExist) {
				t.Errorf("put: got %v, want ErrExist", err)
			}
		})
		i := won.Load()
		if i < 0 {
			t.Fatalf("no put of %s succeeded", name)
		}
		wantObject(t, s, name, content(uint64(i), 3000+int(i)))
	}
}

func putAtomic(t testing.TB, s repo.Store) {
	data := content(9, 300_000)
	for round := range 4 {
		name := fmt.Sprintf("atomic/%d", round)
		done := make(chan struct{})
		each(4, func(i int) {
			if i == 0 {
				defer close(done)
				if err := s.Put(t.Context(), name, data); err != nil {
					t.Errorf("put: %v", err)
				}
				return
			}
			for last := false; !last; {
				select {
				case <-done:
					last = true
				default:
				}
				b, err := read(t.Context(), s, name, 0, -1)
				if err != nil && (last || !errors.Is(err, iofs.ErrNotExist)) {
					t.Errorf("get: %v", err)
					return
				}
				if err == nil && !bytes.Equal(b, data) {
					t.Errorf("a reader saw a part: %d of %d bytes", len(b), len(data))
					return
				}
				for in, err := range s.List(t.Context(), "atomic/") {
					if err != nil || in.Size != int64(len(data)) {
						t.Errorf("listed %+v, %v", in, err)
						return
					}
				}
			}
		})
	}
}

func newFolderRace(t testing.TB, s repo.Store) {
	for round := range 5 {
		each(6, func(i int) {
			name := fmt.Sprintf("f/%d/g/h/%d", round, i)
			if err := s.Put(t.Context(), name, []byte(name)); err != nil {
				t.Errorf("put: %v", err)
			}
		})
	}
	if got := Names(t, s, "f/"); len(got) != 30 {
		t.Errorf("listed %d of 30", len(got))
	}
}

// listDuringWrites holds a listing to what it must show: all that was there
// before and stays, once and in order.
func listDuringWrites(t testing.TB, s repo.Store) {
	var stay []string
	for i := range 20 {
		stay = append(stay, fmt.Sprintf("l/%02d/stay", i), fmt.Sprintf("l/%02d-stay", i))
	}
	slices.Sort(stay)
	for _, n := range stay {
		mustPut(t, s, n, nil)
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(stop)
	for w := range 2 {
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				name := fmt.Sprintf("l/%02d/go-%d-%d", i%23, w, i)
				err := s.Put(t.Context(), name, nil)
				if err == nil && i%2 == 0 {
					err = s.Delete(t.Context(), name)
				}
				if err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	for range 20 {
		got := Names(t, s, "l/")
		for i := 1; i < len(got); i++ {
			if got[i-1] >= got[i] {
				t.Fatalf("listed %s after %s", got[i], got[i-1])
			}
		}
		for _, n := range stay {
			if _, ok := slices.BinarySearch(got, n); !ok {
				t.Fatalf("%s was there all the time and not listed", n)
			}
		}
	}
}

// readDuringDelete accepts an error, but no wrong data and no early end.
func readDuringDelete(t testing.TB, s repo.Store) {
	data := content(11, 3<<20)
	mustPut(t, s, "rd/x", data)
	r, err := s.Get(t.Context(), "rd/x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), "rd/x"); err != nil {
		t.Fatalf("delete while it is read: %v", err)
	}
	rest, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(append(head, rest...), data) {
		t.Errorf("read %d bytes, which are not the object", len(head)+len(rest))
	}
	if err != nil && !bytes.HasPrefix(data, append(head, rest...)) {
		t.Errorf("wrong data before the error %v", err)
	}
}
