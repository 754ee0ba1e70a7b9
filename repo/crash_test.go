package repo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"vitrine/repo"
	"vitrine/repo/mem"
	"vitrine/repo/storetest"
)

// small is a machine whose backup takes a few packs, and what it is a day later.
func small() (first, second *testDisk, changed [][2]int64) {
	d := newTestDisk(6<<20 + 512)
	d.write(1<<20, random(21, 300<<10))
	d.write(4<<20, make([]byte, 1)) // a page of zeros that is allocated
	d.write(5<<20, random(22, 20<<10))
	next := d.clone()
	next.write(1<<20+100<<10, random(23, 150<<10))
	return d, next, [][2]int64{{1<<20 + 100<<10, 1<<20 + 250<<10}}
}

func (w *world) smallJobs() (first, second *job) {
	a, b, changed := small()
	first = &job{machine: machineA, name: "web", disks: map[string]*testDisk{"os.vhdx": a, "config/web.xml": config(1)}}
	second = &job{machine: machineA, name: "web", disks: map[string]*testDisk{"os.vhdx": b, "config/web.xml": config(2)},
		changed: map[string][][2]int64{"os.vhdx": changed}}
	return first, second
}

// cacheCopies keeps what the cache file was when each change began.
type cacheCopies struct {
	*storetest.Crash
	file string
	mu   sync.Mutex
	at   map[int][]byte
}

func (c *cacheCopies) keep() {
	b, err := os.ReadFile(c.file)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		c.at[c.Len()] = b
	}
}

func (c *cacheCopies) Put(ctx context.Context, name string, b []byte) error {
	c.keep()
	return c.Crash.Put(ctx, name, b)
}

func (c *cacheCopies) Delete(ctx context.Context, name string) error {
	c.keep()
	return c.Crash.Delete(ctx, name)
}

// TestACrashLosesNothing stops two backups before and during every change of
// the store: what was committed restores, check is clean, and the next backup
// stores no chunk again that had arrived, with a new cache and with the one
// that the crash left.
func TestACrashLosesNothing(t *testing.T) {
	ciphers(t, func(t *testing.T, encrypted bool) {
		if !encrypted && !soak() {
			return
		}
		w := newWorld(t, mem.New(), encrypted)
		crash := storetest.NewCrash(t, w.store, nil)
		copies := &cacheCopies{Crash: crash, file: filepath.Join(w.cache, w.repo.ID().String(), "index.db"), at: map[int][]byte{}}
		w.repo = w.mustOpen(t, copies)
		first, second := w.smallJobs()
		w.backup(t, first)
		done := []int{crash.Len()}
		second.base = &w.points[0].point
		w.backup(t, second)
		done = append(done, crash.Len())
		if packs := storetest.Names(t, w.store, "packs/"); len(packs) < 6 || crash.Len() < 15 {
			t.Fatalf("%d packs and %d changes are not enough", len(packs), crash.Len())
		}
		copies.keep()
		rnd := rand.New(rand.NewPCG(1, 1))
		for n := range crash.Len() + 1 {
			states := []*mem.Store{crash.At(n)}
			if n < crash.Len() {
				states = append(states, crash.During(n, nil))
				for range map[bool]int{true: 8}[soak()] {
					states = append(states, crash.During(n, rnd))
				}
			}
			for k, m := range states {
				what := "the end"
				if n < crash.Len() {
					what = fmt.Sprintf("change %d %v state %d", n, crash.Change(n), k)
				}
				var committed []truth
				for i := range done {
					if done[i] <= n {
						committed = append(committed, w.points[i])
					}
				}
				if err := w.survives(t, m, committed, first, second, copies.at[n]); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
		}
	})
}

// survives checks a store after a crash and goes on with it.
func (w *world) survives(t *testing.T, m *mem.Store, committed []truth, first, second *job, cache []byte) error {
	ctx := t.Context()
	after := &world{store: m, secret: w.secret, now: w.now.Add(1e9), cache: t.TempDir()}
	r := after.mustOpen(t, m)
	defer r.Close()
	infos, err := collectPoints(r.Points(ctx))
	if err != nil {
		return err
	}
	for _, tr := range committed {
		if err := tr.restores(ctx, r); err != nil {
			return fmt.Errorf("a committed point: %w", err)
		}
	}
	for _, in := range infos { // a point that nobody was told of is whole too
		p, err := r.OpenPoint(ctx, in)
		if err != nil {
			return err
		}
		tr := truth{*p, first.disks}
		if p.Number == 2 {
			tr.images = second.disks
		}
		if err := tr.restores(ctx, r); err != nil {
			return fmt.Errorf("point %d of %d: %w", p.Number, len(infos), err)
		}
	}
	rep, err := r.Check(ctx, repo.CheckOptions{ReadData: true})
	if err != nil || !rep.Clean() {
		return fmt.Errorf("check: %v %+v", err, rep)
	}
	arrived := map[repo.Hash]bool{}
	old := map[string]bool{}
	for _, name := range storetest.Names(t, m, "packs/") {
		old[name] = true
		hashes, err := r.DataHashes(ctx, packID(t, name))
		if err != nil {
			return err
		}
		for _, h := range hashes {
			arrived[h] = true
		}
	}
	for _, stale := range []bool{true, false} {
		s := mem.New()
		storetest.Copy(t, s, m)
		again := &world{store: s, secret: w.secret, now: w.now.Add(2e9), cache: t.TempDir()}
		r := again.mustOpen(t, s)
		defer r.Close()
		if stale && cache != nil {
			dir := filepath.Join(again.cache, r.ID().String())
			must(t, os.MkdirAll(dir, 0o700))
			must(t, os.WriteFile(filepath.Join(dir, "index.db"), cache, 0o600))
		}
		j := *second
		j.base, j.changed = nil, nil
		p, st, err := j.run(ctx, r, again.now)
		if err != nil {
			return fmt.Errorf("the next backup: %w", err)
		}
		tr := truth{*p, j.disks}
		if err := tr.restores(ctx, again.mustOpen(t, s)); err != nil {
			return fmt.Errorf("the next backup: %w", err)
		}
		for _, name := range storetest.Names(t, s, "packs/") {
			if old[name] {
				continue
			}
			hashes, err := r.DataHashes(ctx, packID(t, name))
			if err != nil {
				return err
			}
			for _, h := range hashes {
				if arrived[h] {
					return fmt.Errorf("the next backup (stale cache: %v) stored a chunk again, new %d", stale, st.New)
				}
			}
		}
		rep, err := r.Check(ctx, repo.CheckOptions{})
		if err != nil || !rep.Clean() {
			return fmt.Errorf("check after the next backup: %v %+v", err, rep)
		}
	}
	return nil
}

// faults lists what may go wrong with one operation.
func faults(op storetest.Op) []storetest.Fault {
	f := []storetest.Fault{{Mode: storetest.FailBefore}, {Mode: storetest.FailAfter}, {Mode: storetest.FailBefore, Err: storetest.ErrNoSpace}}
	switch op {
	case storetest.OpPut:
		f = append(f, storetest.Fault{Mode: storetest.Lose}, storetest.Fault{Mode: storetest.Truncate, At: 0}, storetest.Fault{Mode: storetest.Truncate, At: 300})
	case storetest.OpGet:
		f = append(f, storetest.Fault{Mode: storetest.Short, At: 100}, storetest.Fault{Mode: storetest.Short, At: 60, Err: io.ErrUnexpectedEOF},
			storetest.Fault{Mode: storetest.Flip, At: 0}, storetest.Fault{Mode: storetest.Flip, At: 8*70 + 3})
	case storetest.OpList:
		f = append(f, storetest.Fault{Mode: storetest.Short, At: 1}, storetest.Fault{Mode: storetest.Short, At: 0}, storetest.Fault{Mode: storetest.Lose, At: 0})
	case storetest.OpDelete:
		f = append(f, storetest.Fault{Mode: storetest.Lose})
	}
	for i := range f {
		f[i].Op = op
	}
	return f
}

func lies(f storetest.Fault) bool {
	return f.Op == storetest.OpPut && (f.Mode == storetest.Lose || f.Mode == storetest.Truncate)
}

// TestAFaultLosesNothing makes every operation of two backups go wrong in
// every way.
func TestAFaultLosesNothing(t *testing.T) {
	for _, second := range []bool{false, true} {
		t.Run(map[bool]string{false: "first", true: "second"}[second], func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, mem.New(), true)
			one, two := w.smallJobs()
			j := one
			if second {
				two.base = w.backup(t, one)
				j = two
			}
			hits := map[string]int{}
			for _, op := range []storetest.Op{storetest.OpPut, storetest.OpGet, storetest.OpList, storetest.OpDelete} {
				for at, f := range faults(op) {
					tried := 0
					for n := 1; ; n++ {
						if !soak() && op == storetest.OpGet && (n+at)%3 != 0 && n > 2 {
							if n > 200 {
								t.Fatal("it never ends")
							}
							if n > tried+3 {
								break
							}
							continue
						}
						f.N = n
						seen, hit, err := w.endures(t, j, f)
						if err != nil {
							t.Errorf("%+v: %v", f, err)
						}
						if !seen {
							break
						}
						tried = n
						if hit {
							hits[fmt.Sprintf("%s %d", op, at)]++
						} else if f.Mode == storetest.FailBefore || op == storetest.OpDelete || f.Mode == storetest.Lose && op == storetest.OpPut {
							t.Errorf("%+v: never hit", f)
						}
					}
				}
			}
			for _, op := range []storetest.Op{storetest.OpPut, storetest.OpGet, storetest.OpList, storetest.OpDelete} {
				if op == storetest.OpGet && !second {
					continue // but for the point read back, nothing is read
				}
				for at := range faults(op) {
					if hits[fmt.Sprintf("%s %d", op, at)] == 0 {
						t.Errorf("%s %d was never hit", op, at)
					}
				}
			}
			t.Logf("hits: %v", hits)
		})
	}
}

// endures runs a backup with one fault, on a copy of the world.
func (w *world) endures(t *testing.T, j *job, f storetest.Fault) (seen, hit bool, err error) {
	ctx := t.Context()
	m := mem.New()
	storetest.Copy(t, m, w.store)
	faulty := storetest.NewFaulty(m)
	x := &world{store: m, secret: w.secret, now: w.now.Add(3e9), cache: t.TempDir()}
	r := x.mustOpen(t, faulty)
	defer r.Close()
	before := len(faulty.Calls())
	faulty.Add(f)
	p, _, rerr := j.run(ctx, r, x.now)
	n := 0
	for _, c := range faulty.Calls()[before:] {
		if c.Op == f.Op {
			n++
		}
	}
	seen, hit = n >= f.N, faulty.Hit()
	if !hit && rerr != nil {
		return seen, hit, fmt.Errorf("without a fault: %w", rerr)
	}
	faulty.Heal()
	fresh := x.mustOpen(t, m)
	defer fresh.Close()
	for i := range w.points {
		if err := w.points[i].restores(ctx, fresh); err != nil {
			return seen, hit, fmt.Errorf("a committed point is lost: %w", err)
		}
	}
	if rerr == nil || errors.Is(rerr, errClose) {
		tr := truth{*p, j.disks}
		if err := tr.restores(ctx, fresh); err != nil {
			return seen, hit, fmt.Errorf("committed, but: %w", err)
		}
	}
	rep, err := fresh.Check(ctx, repo.CheckOptions{ReadData: true})
	if err != nil {
		return seen, hit, fmt.Errorf("check: %w", err)
	}
	if !rep.Clean() && !(lies(f) && hit) {
		return seen, hit, fmt.Errorf("check: %+v", rep.Findings)
	}
	if !hit {
		return seen, hit, nil
	}
	next := *j
	x.now = x.now.Add(1e9)
	p, _, err = next.run(ctx, fresh, x.now)
	if err != nil {
		return seen, hit, fmt.Errorf("the next run after %v: %w", rerr, err)
	}
	again := x.mustOpen(t, m)
	defer again.Close()
	tr := truth{*p, j.disks}
	if err := tr.restores(ctx, again); err != nil {
		return seen, hit, fmt.Errorf("the next run after %v: %w", rerr, err)
	}
	return seen, hit, nil
}

// TestReadsUnderFaults makes every read of a restore and of a check go wrong:
// no byte is wrong, and no check is clean that could not read.
func TestReadsUnderFaults(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, mem.New(), true)
	one, two := w.smallJobs()
	two.base = w.backup(t, one)
	w.backup(t, two)
	hits := map[int]int{}
	for at, f := range faults(storetest.OpGet) {
		for n := 1; ; n++ {
			f.N = n
			faulty := storetest.NewFaulty(w.store)
			r := w.mustOpen(t, faulty)
			before := faulty.Ops()
			faulty.Add(f)
			rep, err := r.Check(ctx, repo.CheckOptions{ReadData: true})
			if faulty.Hit() {
				hits[at]++
				if err == nil && rep.Clean() {
					t.Errorf("check with %+v: clean, call %v", f, faulty.Calls()[before:])
				}
			}
			over := n > faulty.Ops()-before
			r.Close()

			faulty = storetest.NewFaulty(w.store)
			r = w.mustOpen(t, faulty)
			faulty.Add(f)
			for _, tr := range w.points {
				p, err := r.OpenPoint(ctx, tr.info())
				if err != nil {
					continue
				}
				for ref, name := range p.Images() {
					i, err := r.OpenImage(ctx, *ref)
					must(t, err)
					got, want := make([]byte, 64<<10), make([]byte, 64<<10)
					for off := int64(0); off < i.Size(); off += 64 << 10 {
						k, _ := i.ReadAt(got, off)
						tr.images[name].ReadAt(want, off)
						if string(got[:k]) != string(want[:k]) {
							t.Fatalf("%+v: %s at %d: WRONG DATA", f, name, off)
						}
					}
				}
			}
			faulty.Heal()
			for _, tr := range w.points { // nothing of the fault is kept
				if err := tr.restores(ctx, r); err != nil {
					t.Errorf("%+v: after it: %v", f, err)
				}
			}
			r.Close()
			if over {
				break
			}
			if !soak() {
				n += 2
			}
		}
	}
	for at, f := range faults(storetest.OpGet) {
		if hits[at] == 0 {
			t.Errorf("%+v was never hit", f)
		}
	}
}
