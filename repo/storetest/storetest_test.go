package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vitrine/repo"
	"vitrine/repo/mem"
)

// recorder takes what a check says in place of the test.
type recorder struct {
	testing.TB
	ctx context.Context

	mu  sync.Mutex
	got []string
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Errorf(f string, a ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, fmt.Sprintf(f, a...))
}
func (r *recorder) Error(a ...any)            { r.Errorf("%s", fmt.Sprint(a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.Errorf(f, a...); runtime.Goexit() }
func (r *recorder) Fatal(a ...any)            { r.Fatalf("%s", fmt.Sprint(a...)) }

// failures runs the checks named and returns those that found something.
func failures(t *testing.T, s func() repo.Store, names ...string) []string {
	var out []string
	for _, c := range checks {
		if !slices.Contains(names, c.name) {
			continue
		}
		r := &recorder{TB: t, ctx: t.Context()}
		var wg sync.WaitGroup
		wg.Go(func() { c.check(r, s()) })
		wg.Wait()
		if len(r.got) > 0 {
			out = append(out, c.name)
		}
	}
	return out
}

// broken is a store in memory with one method replaced.
type broken struct {
	repo.Store
	put func(s repo.Store, ctx context.Context, name string, data []byte) error
	get func(s repo.Store, ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	lst func(s repo.Store, ctx context.Context, prefix string) iter.Seq2[repo.Info, error]
	del func(s repo.Store, ctx context.Context, name string) error
}

func (b *broken) Put(ctx context.Context, name string, data []byte) error {
	if b.put != nil {
		return b.put(b.Store, ctx, name, data)
	}
	return b.Store.Put(ctx, name, data)
}

func (b *broken) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if b.get != nil {
		return b.get(b.Store, ctx, name, off, n)
	}
	return b.Store.Get(ctx, name, off, n)
}

func (b *broken) List(ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
	if b.lst != nil {
		return b.lst(b.Store, ctx, prefix)
	}
	return b.Store.List(ctx, prefix)
}

func (b *broken) Delete(ctx context.Context, name string) error {
	if b.del != nil {
		return b.del(b.Store, ctx, name)
	}
	return b.Store.Delete(ctx, name)
}

// brokenStores: each of these breaks the contract in one way; the checks named must
// find it.
var brokenStores = []struct {
	name  string
	store broken
	found []string
}{
	{"overwrites", broken{put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		if err := s.Delete(ctx, name); err != nil {
			return err
		}
		return s.Put(ctx, name, data)
	}}, []string{"AnObjectIsNeverOverwritten", "OneOfManyPutsOfANameWins"}},
	{"says nothing of what exists", broken{put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		if err := s.Put(ctx, name, data); !errors.Is(err, iofs.ErrExist) {
			return err
		}
		return nil
	}}, []string{"AnObjectIsNeverOverwritten", "OneOfManyPutsOfANameWins"}},
	{"changes its caller's data", broken{put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		err := s.Put(ctx, name, data)
		if len(data) > 0 {
			data[0]++
		}
		return err
	}}, []string{"TheCallersBufferIsItsOwn"}},
	{"loses empty objects", broken{put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		if len(data) == 0 {
			return nil
		}
		return s.Put(ctx, name, data)
	}}, []string{"WhatIsPutIsGot"}},
	{"shows a part first", broken{put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		if err := s.Put(ctx, name, data[:len(data)/2]); err != nil {
			return err
		}
		time.Sleep(2 * time.Millisecond)
		if err := s.Delete(ctx, name); err != nil {
			return err
		}
		return s.Put(ctx, name, data)
	}}, []string{"AReaderSeesAllOrNothing"}},
	{"takes a bad name", broken{put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		return s.Put(ctx, strings.TrimPrefix(name, "/"), data)
	}}, []string{"BadNamesAreRefused"}},
	{"reads one byte off", broken{get: func(s repo.Store, ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
		if n == 1 {
			n = 2
		}
		return s.Get(ctx, name, off, n)
	}}, []string{"ARangeIsReadAtEveryEdge"}},
	{"fails past the end", broken{get: func(s repo.Store, ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
		if off > 10_000 {
			return nil, io.ErrUnexpectedEOF
		}
		return s.Get(ctx, name, off, n)
	}}, []string{"ARangeIsReadAtEveryEdge"}},
	{"does not know ErrNotExist", broken{get: func(s repo.Store, ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
		r, err := s.Get(ctx, name, off, n)
		if err != nil {
			err = fmt.Errorf("no: %v", err)
		}
		return r, err
	}}, []string{"AMissingObjectIsErrNotExist", "ADeletedObjectIsGone"}},
	{"ignores contexts", broken{
		get: func(s repo.Store, ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
			return s.Get(context.WithoutCancel(ctx), name, off, n)
		},
	}, []string{"ACancelledContextStops"}},
	{"lists folder by folder", broken{lst: func(s repo.Store, ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
		return sorted(s.List(ctx, prefix), func(a, b string) int {
			return slices.Compare(strings.Split(a, "/"), strings.Split(b, "/"))
		})
	}}, []string{"AnyPrefixIsListedInNameOrder", "AListingDuringWritesIsWhole"}},
	{"takes only folders for prefixes", broken{lst: func(s repo.Store, ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
		return s.List(ctx, prefix[:strings.LastIndexByte(prefix, '/')+1])
	}}, []string{"AnyPrefixIsListedInNameOrder"}},
	{"lists no sizes", broken{lst: func(s repo.Store, ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
		return func(yield func(repo.Info, error) bool) {
			for in, err := range s.List(ctx, prefix) {
				if !yield(repo.Info{Name: in.Name}, err) {
					return
				}
			}
		}
	}}, []string{"AListingTellsSizeAndTime"}},
	{"lists 100 at most", broken{lst: func(s repo.Store, ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
		return func(yield func(repo.Info, error) bool) {
			n := 0
			for in, err := range s.List(ctx, prefix) {
				if n++; n > 100 || !yield(in, err) {
					return
				}
			}
		}
	}}, []string{"ManyObjectsAreListed"}},
	{"minds deleting nothing", broken{del: func(s repo.Store, ctx context.Context, name string) error {
		r, err := s.Get(ctx, name, 0, -1)
		if err != nil {
			return err
		}
		r.Close()
		return s.Delete(ctx, name)
	}}, []string{"AMissingObjectIsErrNotExist", "ADeletedObjectIsGone"}},
	{"does not delete", broken{del: func(s repo.Store, ctx context.Context, name string) error {
		return ctx.Err()
	}}, []string{"ADeletedObjectIsGone"}},
}

func sorted(seq iter.Seq2[repo.Info, error], less func(a, b string) int) iter.Seq2[repo.Info, error] {
	return func(yield func(repo.Info, error) bool) {
		var all []repo.Info
		for in, err := range seq {
			if err != nil {
				yield(in, err)
				return
			}
			all = append(all, in)
		}
		slices.SortFunc(all, func(a, b repo.Info) int { return less(a.Name, b.Name) })
		for _, in := range all {
			if !yield(in, nil) {
				return
			}
		}
	}
}

func TestTheSuiteFindsBrokenStores(t *testing.T) {
	for _, b := range brokenStores {
		t.Run(b.name, func(t *testing.T) {
			open := func() repo.Store {
				s := b.store
				s.Store = mem.New()
				return &s
			}
			if got := failures(t, open, b.found...); !slices.Equal(got, b.found) {
				t.Errorf("found by %q, want %q", got, b.found)
			}
		})
	}
}

// keeper keeps the caller's slice, as no store may.
type keeper struct {
	repo.Store
	mu   sync.Mutex
	kept map[string][]byte
}

func (k *keeper) Put(ctx context.Context, name string, data []byte) error {
	if err := k.Store.Put(ctx, name, data); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[name] = data
	return nil
}

func (k *keeper) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return io.NopCloser(bytes.NewReader(k.kept[name])), nil
}

func TestTheSuiteFindsAKeptBuffer(t *testing.T) {
	open := func() repo.Store { return &keeper{Store: mem.New(), kept: make(map[string][]byte)} }
	if got := failures(t, open, "TheCallersBufferIsItsOwn"); len(got) != 1 {
		t.Error("not found")
	}
}

func TestTheWrappersAreStores(t *testing.T) {
	Run(t, func(t *testing.T) repo.Store { return NewFaulty(mem.New()) })
	Run(t, func(t *testing.T) repo.Store { return NewCounting(mem.New()) })
	Run(t, func(t *testing.T) repo.Store { return NewCrash(t, mem.New(), nil) })
}

func filled(t *testing.T) *mem.Store {
	s := mem.New()
	for _, n := range []string{"a/1", "a/2", "b/1"} {
		mustPut(t, s, n, []byte("0123456789"))
	}
	return s
}

func TestFaultsHappenAsPlanned(t *testing.T) {
	ctx := t.Context()
	own := errors.New("own")
	put := func(s repo.Store) (string, error) { return "", s.Put(ctx, "a/3", []byte("0123456789")) }
	get := func(s repo.Store) (string, error) { b, err := read(ctx, s, "a/1", 0, -1); return string(b), err }
	del := func(s repo.Store) (string, error) { return "", s.Delete(ctx, "a/1") }
	lst := func(s repo.Store) (string, error) { l, err := list(ctx, s, "a/"); return strings.Join(l, " "), err }
	for _, c := range []struct {
		fault Fault
		do    func(repo.Store) (string, error)
		says  string
		err   error
		left  string // what the store below holds afterwards
	}{
		{Fault{Op: OpPut}, put, "", ErrInjected, "a/1 a/2 b/1"},
		{Fault{Op: OpPut, Err: ErrNoSpace}, put, "", ErrNoSpace, "a/1 a/2 b/1"},
		{Fault{Op: OpPut, Mode: FailAfter, Err: own}, put, "", own, "a/1 a/2 a/3 b/1"},
		{Fault{Op: OpPut, Mode: Lose}, put, "", nil, "a/1 a/2 b/1"},
		{Fault{Op: OpPut, Mode: Truncate, At: 4}, put, "", nil, "a/1 a/2 a/3:4 b/1"},
		{Fault{Op: OpDelete}, del, "", ErrInjected, "a/1 a/2 b/1"},
		{Fault{Op: OpDelete, Mode: FailAfter}, del, "", ErrInjected, "a/2 b/1"},
		{Fault{Op: OpDelete, Mode: Lose}, del, "", nil, "a/1 a/2 b/1"},
		{Fault{Op: OpGet}, get, "", ErrInjected, "a/1 a/2 b/1"},
		{Fault{Op: OpGet, Mode: FailAfter}, get, "0123456789", ErrInjected, "a/1 a/2 b/1"},
		{Fault{Op: OpGet, Mode: Short, At: 4}, get, "0123", nil, "a/1 a/2 b/1"},
		{Fault{Op: OpGet, Mode: Short, At: 0, Err: own}, get, "", own, "a/1 a/2 b/1"},
		{Fault{Op: OpGet, Mode: Flip, At: 8}, get, "0023456789", nil, "a/1 a/2 b/1"},
		{Fault{Op: OpList}, lst, "", ErrInjected, "a/1 a/2 b/1"},
		{Fault{Op: OpList, Mode: FailAfter}, lst, "a/1 a/2", ErrInjected, "a/1 a/2 b/1"},
		{Fault{Op: OpList, Mode: Short, At: 1}, lst, "a/1", nil, "a/1 a/2 b/1"},
		{Fault{Op: OpList, Mode: Short, At: 1, Err: own}, lst, "a/1", own, "a/1 a/2 b/1"},
		{Fault{Op: OpList, Mode: Lose, At: 0}, lst, "a/2", nil, "a/1 a/2 b/1"},
		{Fault{Prefix: "a"}, del, "", ErrInjected, "a/1 a/2 b/1"},
	} {
		below := filled(t)
		f := NewFaulty(below, c.fault)
		says, err := c.do(f)
		if says != c.says || !errors.Is(err, c.err) {
			t.Errorf("%+v: got %q, %v; want %q, %v", c.fault, says, err, c.says, c.err)
		}
		var left []string
		for in := range below.List(ctx, "") {
			n := in.Name
			if in.Size != 10 {
				n = fmt.Sprintf("%s:%d", n, in.Size)
			}
			left = append(left, n)
		}
		if got := strings.Join(left, " "); got != c.left {
			t.Errorf("%+v: left %q, want %q", c.fault, got, c.left)
		}
		f.VerifyHit(t)
		if _, err := get(NewFaulty(filled(t), c.fault)); c.fault.Op != OpGet && c.fault.Op != AnyOp && err != nil {
			t.Errorf("%+v hit a get: %v", c.fault, err)
		}
	}
}

func TestFaultsAreCounted(t *testing.T) {
	f := NewFaulty(filled(t), Fault{Op: OpGet, Prefix: "a/", N: 2}, Fault{N: 5, Forever: true}, Fault{Op: OpGet, Mode: Flip, At: 1000})
	var got []bool
	for _, name := range []string{"a/1", "b/1", "a/2", "a/1", "a/1", "b/1"} {
		_, err := read(t.Context(), f, name, 0, -1)
		got = append(got, err == nil)
	}
	if want := []bool{true, true, false, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if f.Ops() != 6 || f.Calls()[2] != (Call{OpGet, "a/2"}) {
		t.Errorf("calls: %v", f.Calls())
	}
	r := &recorder{TB: t}
	f.VerifyHit(r)
	if len(r.got) != 1 || f.Hit() || !strings.Contains(r.got[0], "At:1000") {
		t.Errorf("not hit: %q", r.got)
	}
	f.Heal()
	if _, err := read(t.Context(), f, "a/1", 0, -1); err != nil || !f.Hit() {
		t.Errorf("healed: %v", err)
	}
}

func TestACrashCloneIsTheStoreOfThatMoment(t *testing.T) {
	ctx := t.Context()
	f := NewFaulty(filled(t), Fault{Op: OpPut, Prefix: "bad"})
	c := NewCrash(t, f, nil)
	mustPut(t, c, "c", []byte("1"))
	if err := c.Delete(ctx, "a/1"); err != nil {
		t.Fatal(err)
	}
	if err := c.Put(ctx, "bad", nil); err == nil {
		t.Fatal("no error")
	}
	mustPut(t, c, "a/1", []byte("new"))
	if c.Len() != 4 || c.Change(1) != (Call{OpDelete, "a/1"}) {
		t.Fatalf("%d changes, the second %v", c.Len(), c.Change(1))
	}
	for n, want := range []string{"a/1 a/2 b/1", "a/1 a/2 b/1 c", "a/2 b/1 c", "a/2 b/1 c", "a/1 a/2 b/1 c"} {
		if got := strings.Join(Names(t, c.At(n), ""), " "); got != want {
			t.Errorf("before %d: got %q, want %q", n, got, want)
		}
	}
	for n, want := range []string{"a/1 a/2 b/1 c", "a/2 b/1 c", "a/2 b/1 c", "a/1 a/2 b/1 c"} {
		if got := strings.Join(Names(t, c.During(n, nil), ""), " "); got != want {
			t.Errorf("during %d: got %q, want %q", n, got, want)
		}
	}
	seen := make(map[int]bool)
	for seed := range uint64(20) {
		seen[len(Names(t, c.During(0, rand.New(rand.NewPCG(seed, 0))), ""))] = true
	}
	if !seen[3] || !seen[4] {
		t.Errorf("during 0: only %v", seen)
	}
	wantObject(t, c.At(2), "a/2", []byte("0123456789"))
	wantObject(t, c.At(4), "a/1", []byte("new"))
	mustPut(t, c.At(0), "c", nil) // a clone is a store of its own
	if _, err := read(ctx, c.At(0), "c", 0, -1); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("clones share objects: %v", err)
	}
}

// A change that is under way when another begins is there or not.
func TestACrashDuringSeveralChanges(t *testing.T) {
	gate, begun := make(chan struct{}), make(chan struct{})
	slow := &broken{Store: mem.New(), put: func(s repo.Store, ctx context.Context, name string, data []byte) error {
		if name == "slow" {
			close(begun)
			<-gate
		}
		return s.Put(ctx, name, data)
	}}
	c := NewCrash(t, slow, nil)
	var wg sync.WaitGroup
	wg.Go(func() { mustPut(t, c, "slow", nil) })
	<-begun
	mustPut(t, c, "quick", nil)
	mustPut(t, c, "last", nil)
	check := func() {
		t.Helper()
		if got := strings.Join(Names(t, c.At(2), ""), " "); got != "quick" {
			t.Errorf("at: got %q", got)
		}
		if got := strings.Join(Names(t, c.During(2, nil), ""), " "); got != "last quick slow" {
			t.Errorf("during: got %q", got)
		}
	}
	check()
	close(gate)
	wg.Wait()
	check()
}

func TestCrashClonesKeepTimes(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	s := mem.New()
	s.Clock = clock
	mustPut(t, s, "a", nil)
	c := NewCrash(t, s, clock)
	now = now.Add(time.Hour)
	mustPut(t, c, "b", nil)
	now = now.Add(time.Hour)
	clone := c.At(1)
	mustPut(t, clone, "c", nil)
	var got []int
	for in := range clone.List(t.Context(), "") {
		got = append(got, in.Time.Hour())
	}
	if want := []int{0, 1, 2}; !slices.Equal(got, want) {
		t.Errorf("hours: got %v, want %v", got, want)
	}
}

func TestCountingCounts(t *testing.T) {
	c := NewCounting(filled(t))
	mustPut(t, c, "a/3", make([]byte, 7))
	if _, err := read(t.Context(), c, "a/1", 2, 3); err != nil {
		t.Fatal(err)
	}
	Read(t, c, "b/1")
	Names(t, c, "a/")
	if err := c.Delete(t.Context(), "a/3"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		op     Op
		prefix string
		tally  Tally
	}{
		{OpPut, "", Tally{1, 7}}, {OpPut, "b", Tally{}}, {OpGet, "", Tally{2, 13}}, {OpGet, "a/", Tally{1, 3}},
		{OpList, "", Tally{1, 3}}, {OpDelete, "a", Tally{1, 0}}, {AnyOp, "", Tally{5, 23}},
	} {
		if got := c.Count(want.op, want.prefix); got != want.tally {
			t.Errorf("%s %q: got %+v, want %+v", want.op, want.prefix, got, want.tally)
		}
	}
	c.Reset()
	if got := c.Count(AnyOp, ""); got != (Tally{}) {
		t.Errorf("after Reset: %+v", got)
	}
}

func TestPoisonOverwritesWhatWasPut(t *testing.T) {
	s := mem.New()
	data := []byte("data")
	if err := Poison(s).Put(t.Context(), "a", data); err != nil || string(data) == "data" {
		t.Errorf("data %q, %v", data, err)
	}
	wantObject(t, s, "a", []byte("data"))
}
