package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"vitrine/repo"
)

// Run tests a store against the contract of repo.Store. Each test gets a new,
// empty store from open.
func Run(t *testing.T, open func(t *testing.T) repo.Store) {
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) { c.check(t, open(t)) })
	}
}

type check struct {
	name  string
	check func(testing.TB, repo.Store)
}

var checks = []check{
	{"WhatIsPutIsGot", putGet},
	{"ARangeIsReadAtEveryEdge", ranges},
	{"AMissingObjectIsErrNotExist", missing},
	{"AnObjectIsNeverOverwritten", overwrite},
	{"ADeletedObjectIsGone", deleted},
	{"BadNamesAreRefused", badNames},
	{"AnyPrefixIsListedInNameOrder", prefixes},
	{"AListingTellsSizeAndTime", listInfo},
	{"AListingStopsWhenToldTo", listStops},
	{"ACancelledContextStops", cancelled},
	{"TheCallersBufferIsItsOwn", aliasing},
	{"ManyObjectsAreListed", many},
	{"OneOfManyPutsOfANameWins", putRace},
	{"AReaderSeesAllOrNothing", putAtomic},
	{"ANewFolderIsMadeByMany", newFolderRace},
	{"AListingDuringWritesIsWhole", listDuringWrites},
	{"AReaderOutlivesDeletionOrFails", readDuringDelete},
}

// content gives n bytes that differ from those of other seeds.
func content(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		v := r.Uint64()
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return b[:n:n]
}

func mustPut(t testing.TB, s repo.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
}

func wantObject(t testing.TB, s repo.Store, name string, want []byte) {
	t.Helper()
	if got := Read(t, s, name); !bytes.Equal(got, want) {
		t.Fatalf("%s: got %d bytes that differ from the %d put", name, len(got), len(want))
	}
}

func putGet(t testing.TB, s repo.Store) {
	for i, n := range []int{0, 1, 4095, 4096, 4097, 1 << 20, 9<<20 + 1} {
		name := fmt.Sprintf("packs/%02x/%d", i, n)
		data := content(uint64(i), n)
		mustPut(t, s, name, data)
		wantObject(t, s, name, data)
	}
	mustPut(t, s, "nil", nil)
	wantObject(t, s, "nil", nil)
	deep := "points/3f2a9c1e-0000-4000-8000-000000000001/2026-11-22T22-00-05Z-00ff/a/b/c.d_e"
	mustPut(t, s, deep, []byte("deep"))
	wantObject(t, s, deep, []byte("deep"))
	mustPut(t, s, strings.Repeat("n", 200), []byte("long"))
	wantObject(t, s, strings.Repeat("n", 200), []byte("long"))
}

func ranges(t testing.TB, s repo.Store) {
	const size = 10_000
	data := content(1, size)
	mustPut(t, s, "r/object", data)
	mustPut(t, s, "r/empty", nil)
	edges := []int64{0, 1, 2, 4095, 4096, 4097, size - 1, size, size + 1, 1 << 40, math.MaxInt64 - 1, math.MaxInt64}
	for _, off := range edges {
		for _, n := range append(edges, -1, math.MinInt64) {
			end := int64(size)
			if n >= 0 && n < size-min(off, size) {
				end = off + n
			}
			want := data[min(off, size):end]
			got, err := read(t.Context(), s, "r/object", off, n)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("off %d, n %d: got %d bytes, %v; want %d", off, n, len(got), err, len(want))
			}
			if got, err := read(t.Context(), s, "r/empty", off, n); err != nil || len(got) != 0 {
				t.Fatalf("empty object, off %d, n %d: got %d bytes, %v", off, n, len(got), err)
			}
		}
	}
	for _, off := range []int64{-1, math.MinInt64} {
		if _, err := read(t.Context(), s, "r/object", off, 1); err == nil {
			t.Errorf("off %d: no error", off)
		}
	}
}

func missing(t testing.TB, s repo.Store) {
	look := func(names ...string) {
		t.Helper()
		for _, name := range names {
			for _, off := range []int64{0, 1} {
				if _, err := read(t.Context(), s, name, off, -1); !errors.Is(err, iofs.ErrNotExist) {
					t.Errorf("get %s: got %v, want ErrNotExist", name, err)
				}
			}
			if err := s.Delete(t.Context(), name); err != nil {
				t.Errorf("delete %s, which is missing: %v", name, err)
			}
		}
		if got, err := list(t.Context(), s, "none/"); err != nil || len(got) != 0 {
			t.Errorf("list of nothing: %q, %v", got, err)
		}
	}
	look("a", "a/b", "a/b/c")
	mustPut(t, s, "a/b", []byte("1"))
	look("a", "a/c", "a/b/c", "a/bb")
	wantObject(t, s, "a/b", []byte("1"))
}

func overwrite(t testing.TB, s repo.Store) {
	for _, first := range [][]byte{[]byte("first"), nil} {
		name := fmt.Sprintf("o/%d", len(first))
		mustPut(t, s, name, first)
		for _, second := range [][]byte{[]byte("second"), first, nil} {
			if err := s.Put(t.Context(), name, second); !errors.Is(err, iofs.ErrExist) {
				t.Errorf("second put: got %v, want ErrExist", err)
			}
			wantObject(t, s, name, first)
		}
	}
	if got := Names(t, s, ""); !slices.Equal(got, []string{"o/0", "o/5"}) {
		t.Errorf("refused puts left %q", got)
	}
}

func deleted(t testing.TB, s repo.Store) {
	mustPut(t, s, "d/a", []byte("a"))
	mustPut(t, s, "d/b", []byte("b"))
	for range 2 {
		if err := s.Delete(t.Context(), "d/a"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := read(t.Context(), s, "d/a", 0, -1); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("get after delete: %v", err)
	}
	if err := s.Delete(t.Context(), "d/b"); err != nil {
		t.Fatal(err)
	}
	if got := Names(t, s, ""); len(got) != 0 {
		t.Errorf("listed after delete: %q", got)
	}
	mustPut(t, s, "d/a", []byte("new"))
	wantObject(t, s, "d/a", []byte("new"))
}

func badNames(t testing.TB, s repo.Store) {
	mustPut(t, s, "a/b", []byte("x"))
	for _, name := range []string{
		"", "/", "/a/b", "a/", "a//b", "a/../a/b", "./a/b", "..", "../x", "a/..", `a\b`, "A", "a/B", "a b", "a:b", "a\x00", "é",
		".tmp-1", "a/.b", "a.", "tmp/x", "nul", "a/con.txt", "Thumbs.db", strings.Repeat("a", 256), strings.Repeat("a/", 600) + "a",
	} {
		if err := s.Put(t.Context(), name, []byte("x")); !errors.Is(err, iofs.ErrInvalid) {
			t.Errorf("put %q: got %v, want ErrInvalid", name, err)
		}
		if _, err := read(t.Context(), s, name, 0, -1); err == nil {
			t.Errorf("get %q: no error", name)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("delete %q: no error", name)
		}
	}
	for _, prefix := range []string{"/", "..", "../", "./", "a/../", "a//", `a\`, "A", "a/b/", "tmp/", "a\x00"} {
		if got, err := list(t.Context(), s, prefix); err != nil || len(got) != 0 {
			t.Errorf("list %q: got %q, %v", prefix, got, err)
		}
	}
	wantObject(t, s, "a/b", []byte("x"))
}

func prefixes(t testing.TB, s repo.Store) {
	names := []string{
		"a-b", "a.b", "a/b", "a0", "a_b", "ab", "a1/x", "a1.x", "a1-x/y", "aa/T/0Z", "aa/Z",
		"b/c/d/e", "b/c/d-", "b/c/d.e", "b/c/de", "b/c-/d", "b/c.", "b/c0", "b/d", "c", "points/x/2026-11-22T22-00-05Z-0", "points/y/1",
	}
	names = slices.DeleteFunc(names, func(n string) bool { return repo.CheckStoreName(n) != nil })
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, n := range names {
		mustPut(t, s, n, []byte(n))
	}
	tries := map[string]bool{"": true, "zz": true, "b/c/d/e/": true, "a/b/c/d": true, "d/": true, "-": true}
	for _, n := range names {
		for i := range len(n) + 1 {
			tries[n[:i]] = true
		}
		tries[n+"0"], tries[n+"/"] = true, true
	}
	for prefix := range tries {
		var want []string
		for _, n := range names {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		slices.Sort(want)
		if got := Names(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q:\n got %q\nwant %q", prefix, got, want)
		}
	}
}

func listInfo(t testing.TB, s repo.Store) {
	for _, n := range []int{0, 1, 70_000} {
		mustPut(t, s, fmt.Sprintf("i/%d", n), content(3, n))
	}
	var got []int64
	var times []time.Time
	for in, err := range s.List(t.Context(), "i/") {
		if err != nil {
			t.Fatal(err)
		}
		got, times = append(got, in.Size), append(times, in.Time)
	}
	if want := []int64{0, 1, 70_000}; !slices.Equal(got, want) {
		t.Errorf("sizes: got %v, want %v", got, want)
	}
	// The store has its own clock, which a test can only hold to a day.
	for _, at := range times {
		if d := time.Since(at); d < -24*time.Hour || d > 24*time.Hour {
			t.Errorf("time: got %v", at)
		}
	}
}

func listStops(t testing.TB, s repo.Store) {
	for i := range 5 {
		mustPut(t, s, fmt.Sprintf("s/%d/x", i), nil)
	}
	for stop := range 5 {
		n := 0
		for _, err := range s.List(t.Context(), "s") {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n > stop {
				break
			}
		}
		if n != stop+1 {
			t.Errorf("saw %d objects, stopped at %d", n, stop+1)
		}
	}
}

func cancelled(t testing.TB, s repo.Store) {
	mustPut(t, s, "c/old", []byte("old"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Put(ctx, "c/new", []byte("new")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: got %v", err)
	}
	if _, err := read(ctx, s, "c/old", 0, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("get: got %v", err)
	}
	if _, err := list(ctx, s, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("list: got %v", err)
	}
	if err := s.Delete(ctx, "c/old"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: got %v", err)
	}
	if got := Names(t, s, ""); !slices.Equal(got, []string{"c/old"}) {
		t.Errorf("cancelled operations left %q", got)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	mustPut(t, s, "c/two", nil)
	var err error
	n := 0
	for _, err = range s.List(ctx, "") {
		n++
		cancel()
	}
	if n == 2 && err == nil {
		return // both were read before the first was shown
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("list, cancelled at the first object: got %v", err)
	}
}

func aliasing(t testing.TB, s repo.Store) {
	want := content(5, 100_000)
	data := bytes.Clone(want)
	mustPut(t, s, "x/a", data)
	if !bytes.Equal(data, want) {
		t.Fatal("put changed its caller's data")
	}
	scribble(data)
	wantObject(t, s, "x/a", want)
	scribble(Read(t, s, "x/a"))
	wantObject(t, s, "x/a", want)

	r, err := s.Get(t.Context(), "x/a", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w := &scribbler{}
	if _, err := io.Copy(w, r); err != nil {
		t.Fatal(err)
	}
	if w.n != int64(len(want)) {
		t.Errorf("copied %d bytes of %d", w.n, len(want))
	}
	wantObject(t, s, "x/a", want)
}

// scribbler overwrites what it is given, as io.Writer forbids but not all heed.
type scribbler struct{ n int64 }

func (w *scribbler) Write(p []byte) (int, error) {
	w.n += int64(len(p))
	scribble(p)
	return len(p), nil
}
