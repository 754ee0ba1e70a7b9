package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vitrine/repo"
	"vitrine/repo/mem"
	"vitrine/repo/storetest"
)

// TestTwoWritersAndReadersAtOnce runs backups from several handles, with one
// cache and with two, while others read and check.
func TestTwoWritersAndReadersAtOnce(t *testing.T) {
	for _, shared := range []bool{true, false} {
		t.Run(map[bool]string{true: "one cache", false: "two caches"}[shared], func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			w := newWorld(t, mem.New(), true)
			var mu sync.Mutex
			var points []truth
			var writers, readers sync.WaitGroup
			stop := make(chan struct{})
			for k := range 2 {
				other := &world{store: w.store, secret: w.secret, now: w.now, cache: w.cache}
				if !shared {
					other.cache = t.TempDir()
				}
				r := other.mustOpen(t, storetest.Poison(w.store))
				writers.Go(func() {
					d := newTestDisk(6 << 20)
					d.write(0, random(1, 400<<10)) // the same on both
					var base *repo.RestorePoint
					for n := range 3 {
						d = d.clone()
						at := int64(n) * 64 << 10
						d.write(at, random(uint64(100*k+n), 48<<10))
						j := &job{machine: repo.MachineID(fmt.Sprintf("aaaaaaaa-0000-0000-0000-00000000000%d", k)), name: fmt.Sprint("vm", k), base: base,
							disks: map[string]*testDisk{"os.vhdx": d}, changed: map[string][][2]int64{"os.vhdx": {{at, at + 48<<10}}}}
						p, _, err := j.run(ctx, r, other.now.Add(time.Duration(n)*time.Hour))
						if err != nil {
							t.Errorf("writer %d: %v", k, err)
							return
						}
						base = p
						mu.Lock()
						points = append(points, truth{*p, j.disks})
						mu.Unlock()
					}
				})
			}
			for range 2 {
				r := w.mustOpen(t, w.store)
				readers.Go(func() {
					for {
						mu.Lock()
						now := points
						mu.Unlock()
						for i := range now {
							if err := now[i].restores(ctx, r); err != nil {
								t.Errorf("reader: %v", err)
							}
						}
						rep, err := r.Check(ctx, repo.CheckOptions{})
						if err != nil || !rep.Clean() {
							t.Errorf("check while writing: %v %+v", err, rep)
						}
						select {
						case <-stop:
							return
						default:
						}
					}
				})
			}
			writers.Wait()
			close(stop)
			readers.Wait()
			w.holds(t, w.store, points)
		})
	}
}

// TestImagesAtOnce stores several images with one writer at a time, one of
// which fails: what the others share with it is there.
func TestImagesAtOnce(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, mem.New(), true)
	broken := &failingDisk{testDisk: diskA(), at: 1<<30 + 5<<20}
	wr, err := w.repo.NewWriter(ctx)
	must(t, err)
	if _, _, err := wr.StoreImage(ctx, broken, repo.ImageOptions{}); !errors.Is(err, errSource) {
		t.Fatalf("store of a broken disk: %v", err)
	}
	disks := map[string]*testDisk{}
	p := &repo.RestorePoint{Machine: machineA, Name: "web", Time: w.now}
	var mu sync.Mutex
	var all sync.WaitGroup
	for n := range 3 {
		d := diskA()
		d.write(int64(n)<<20*40, random(uint64(n), 100<<10))
		name := fmt.Sprintf("%d.vhdx", n)
		disks[name] = d
		all.Go(func() {
			ref, _, err := wr.StoreImage(ctx, d, repo.ImageOptions{})
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			p.Disks = append(p.Disks, repo.Disk{Name: name, Image: ref})
		})
	}
	all.Wait()
	must(t, wr.Commit(ctx, p))
	must(t, wr.Close())
	w.holds(t, w.store, []truth{{*p, disks}})
}

var errSource = errors.New("the source is broken")

type failingDisk struct {
	*testDisk
	at int64
}

func (d *failingDisk) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > d.at {
		return 0, errSource
	}
	return d.testDisk.ReadAt(b, off)
}

// TestARevokedWriterCommitsNothing revokes a lease before the commit, and
// while the restore point is being put.
func TestARevokedWriterCommitsNothing(t *testing.T) {
	for _, late := range []bool{false, true} {
		ctx := t.Context()
		m := mem.New()
		w := newWorld(t, m, true)
		hook := &hookStore{Store: m}
		r := w.mustOpen(t, hook)
		wr, err := r.NewWriter(ctx)
		must(t, err)
		if late {
			hook.put = func(name string) {
				if strings.HasPrefix(name, "points/") {
					must(t, m.Put(ctx, "leases/"+wr.Lease().String()+"/revoked", nil))
				}
			}
		}
		ref, _, err := wr.StoreImage(ctx, diskB(), repo.ImageOptions{})
		must(t, err)
		if !late {
			must(t, wr.Revoke(ctx))
		}
		p := &repo.RestorePoint{Machine: machineB, Name: "db", Disks: []repo.Disk{{Name: "db.vhdx", Image: ref}}}
		if err := wr.Commit(ctx, p); !errors.Is(err, repo.ErrLocked) {
			t.Errorf("late %v: commit: %v", late, err)
		}
		must(t, wr.Close())
		if names := storetest.Names(t, m, "points/"); len(names) != 0 {
			t.Errorf("late %v: %v", late, names)
		}
		w.holds(t, m, nil)
	}
}

// hookStore tells of every Put before it is made.
type hookStore struct {
	repo.Store
	put func(name string)
}

func (h *hookStore) Put(ctx context.Context, name string, b []byte) error {
	if h.put != nil {
		h.put(name)
	}
	return h.Store.Put(ctx, name, b)
}

// TestCondemnedPacksAreNotNamed condemns all packs: neither deduplication nor
// a base makes a new map name one, and one condemned in between stops the
// commit.
func TestCondemnedPacksAreNotNamed(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, mem.New(), true)
	one, two := w.smallJobs()
	two.base = w.backup(t, one)
	condemned := map[repo.PackID]bool{}
	var ids []repo.PackID
	for _, name := range storetest.Names(t, w.store, "packs/") {
		id := packID(t, name)
		condemned[id] = true
		ids = append(ids, id)
	}
	r := w.mustOpen(t, w.store)

	// In between: the commit refuses.
	wr, err := w.repo.NewWriter(ctx)
	must(t, err)
	ref, _, err := wr.StoreImage(ctx, one.disks["os.vhdx"], repo.ImageOptions{})
	must(t, err)
	must(t, r.Condemn(ctx, "list", ids...))
	p := &repo.RestorePoint{Machine: machineA, Name: "web", Disks: []repo.Disk{{Name: "os.vhdx", Image: ref}}}
	if err := wr.Commit(ctx, p); err == nil || !strings.Contains(err.Error(), "condemned") {
		t.Errorf("commit of a map that names a condemned pack: %v", err)
	}
	must(t, wr.Close())

	w.backup(t, two)
	for _, name := range storetest.Names(t, w.store, "packs/") {
		if id := packID(t, name); condemned[id] {
			must(t, w.store.Delete(ctx, name)) // as prune goes on
		}
	}
	r = w.mustOpen(t, w.store)
	if err := w.points[1].restores(ctx, r); err != nil {
		t.Errorf("after the condemned packs are gone: %v", err)
	}
}

// TestMovedRecords follows records of packs that are gone, for readers that
// come and for readers that were there before, and ignores and mistrusts
// others.
func TestMovedRecords(t *testing.T) {
	ciphers(t, func(t *testing.T, encrypted bool) {
		ctx := t.Context()
		s := mem.New()
		w := newWorld(t, s, encrypted)
		w.backup(t, &job{machine: machineB, name: "db", disks: map[string]*testDisk{"db.vhdx": diskB()}})
		tr := &w.points[0]
		tight := w.options()
		tight.Cache = 1 // forgets every chunk and keeps maps and directories
		old, err := repo.Open(ctx, s, tight)
		must(t, err)
		defer old.Close()
		must(t, tr.restores(ctx, old))
		r := w.mustOpen(t, s)
		type pack struct {
			id, to repo.PackID
			slots  uint32
		}
		var packs []pack
		for _, name := range storetest.Names(t, s, "packs/") {
			places, err := r.Places(ctx, packID(t, name))
			must(t, err)
			to, err := r.Rewrite(ctx, packID(t, name))
			must(t, err)
			packs = append(packs, pack{packID(t, name), to, uint32(len(places) - 2)})
		}
		if len(packs) < 3 {
			t.Fatalf("%d packs", len(packs))
		}
		img := w.points[0].point.Disks[0].Image
		read := func(r *repo.Repo) error {
			i, err := r.OpenImage(ctx, img)
			must(t, err)
			got, want := make([]byte, page), make([]byte, page)
			d := tr.images["db.vhdx"]
			var first error
			for _, n := range d.sorted() {
				if _, err := i.ReadAt(got, n*page); err != nil {
					first = errors.Join(first, err)
					continue
				}
				d.ReadAt(want, n*page)
				if !bytes.Equal(got, want) {
					t.Fatalf("page %d: WRONG DATA", n)
				}
			}
			return first
		}
		// A forged record beside a pack that is there is not looked at.
		forged := mem.New()
		storetest.Copy(t, forged, s)
		f := w.mustOpen(t, forged)
		for k, p := range packs {
			q := packs[(k+1)%len(packs)]
			must(t, f.PutMoved(ctx, p.id, q.slots, repo.MovedRun{N: q.slots, Pack: q.to}))
		}
		must(t, read(w.mustOpen(t, forged)))
		rep, err := w.mustOpen(t, forged).Check(ctx, repo.CheckOptions{})
		if err != nil || !rep.Clean() {
			t.Errorf("check: %v %+v", err, rep.Findings)
		}
		// Where the pack is gone it makes reads fail, and passes nothing wrong,
		// not even for a reader that has read the right one before.
		warm, err := repo.Open(ctx, forged, tight)
		must(t, err)
		defer warm.Close()
		must(t, read(warm))
		for _, p := range packs {
			must(t, forged.Delete(ctx, "packs/"+p.id.String()))
		}
		if read(w.mustOpen(t, forged)) == nil || read(warm) == nil {
			t.Error("forged records were followed")
		}
		if rep, err := w.mustOpen(t, forged).Check(ctx, repo.CheckOptions{}); err != nil || rep.Clean() {
			t.Errorf("check of forged records: %v, clean", err)
		}

		// The right records are followed.
		for _, p := range packs {
			half := p.slots / 2
			runs := []repo.MovedRun{{From: half, N: p.slots - half, Pack: p.to, Slot: half}}
			if half > 0 {
				runs = append(runs, repo.MovedRun{N: half, Pack: p.to})
			}
			must(t, r.PutMoved(ctx, p.id, p.slots, runs...))
			must(t, s.Delete(ctx, "packs/"+p.id.String()))
		}
		must(t, read(w.mustOpen(t, s)))
		must(t, read(old)) // the packs went after it had read their directories
		w.holds(t, s, w.points)
		// A pack whose record names slots that are not there.
		for _, run := range []repo.MovedRun{{N: 1 << 31, Pack: packs[0].to}, {From: 1 << 31, N: 1, Pack: packs[0].to}, {N: 1, Pack: packs[0].to, Slot: 1<<32 - 1}} {
			must(t, s.Delete(ctx, "moved/"+packs[0].id.String()))
			must(t, r.PutMoved(ctx, packs[0].id, packs[0].slots, run))
			if read(w.mustOpen(t, s)) == nil {
				t.Errorf("a record with %+v was followed", run)
			}
		}
	})
}

// TestASwappedMovedRecord forges a record that swaps two chunks of one length,
// for a reader that has found the map good before.
func TestASwappedMovedRecord(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	w := newWorld(t, s, false)
	w.repo.SetPackSize(2 << 20)
	d := newTestDisk(8 << 20)
	d.write(0, random(77, 1<<20))
	w.backup(t, &job{machine: machineB, name: "db", disks: map[string]*testDisk{"db.vhdx": d}})
	o := w.options()
	o.Cache = 1
	warm, err := repo.Open(ctx, s, o)
	must(t, err)
	defer warm.Close()
	late, err := repo.Open(ctx, s, o)
	must(t, err)
	defer late.Close()
	tr := w.points[0]
	must(t, tr.restores(ctx, warm))
	must(t, tr.restores(ctx, late))
	r := w.mustOpen(t, s)
	r.SetPackSize(2 << 20)
	for _, name := range storetest.Names(t, s, "packs/") {
		id := packID(t, name)
		places, err := r.Places(ctx, id)
		must(t, err)
		slots := places[2:]
		for a := range slots {
			for b := a + 1; b < len(slots); b++ {
				if slots[a].What != "data" || slots[a].Raw != slots[b].Raw || slots[b].What != "data" {
					continue
				}
				to, err := r.Rewrite(ctx, id)
				must(t, err)
				var runs []repo.MovedRun
				for k := range slots {
					from := k
					switch k {
					case a:
						from = b
					case b:
						from = a
					}
					runs = append(runs, repo.MovedRun{From: uint32(k), N: 1, Pack: to, Slot: uint32(from)})
				}
				must(t, r.PutMoved(ctx, id, uint32(len(slots)), runs...))
				must(t, s.Delete(ctx, name))
				warm.ForgetDirectories()
				for what, x := range map[string]*repo.Repo{"warm": warm, "late": late, "new": w.mustOpen(t, s)} {
					if err := tr.restores(ctx, x); err == nil || strings.Contains(err.Error(), "differs") {
						t.Errorf("%s reader: %v", what, err)
					}
				}
				return
			}
		}
	}
	t.Fatal("no two chunks of one length")
}

// TestADamagedBaseIsReadAgain makes an incremental backup over a base whose
// map is damaged, or whose packs are.
func TestADamagedBaseIsReadAgain(t *testing.T) {
	for _, what := range []string{"segment", "table", "directory", "missing"} {
		t.Run(what, func(t *testing.T) {
			ctx := t.Context()
			m := mem.New()
			w := newWorld(t, m, true)
			one, two := w.smallJobs()
			two.base = w.backup(t, one)
			r := w.mustOpen(t, m)
			n := 0
			for _, name := range storetest.Names(t, m, "packs/") {
				places, err := r.Places(ctx, packID(t, name))
				must(t, err)
				maps := slices.ContainsFunc(places, func(p repo.Place) bool { return p.What == "segment" })
				for _, p := range places {
					if what == "directory" && maps {
						continue // only packs of data
					}
					if what == "missing" && p.What == "data" {
						must(t, m.Delete(ctx, name))
						n++
						break
					}
					if p.What == what {
						b := storetest.Read(t, m, name)
						b[p.Off+p.Len/2] ^= 1
						replace(t, m, name, b)
						n++
					}
				}
			}
			if n == 0 {
				t.Fatal("nothing was damaged")
			}
			w.use(w.mustOpen(t, m))
			w.backup(t, two)
			if what == "directory" {
				return // the backup went on; what lay in the packs is lost until it is stored anew
			}
			if err := w.points[1].restores(ctx, w.mustOpen(t, m)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestBrokenCachesAreThrownAway puts files of all kinds where the cache is.
func TestBrokenCachesAreThrownAway(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, mem.New(), true)
	one, two := w.smallJobs()
	w.backup(t, one)
	file := filepath.Join(w.cache, w.repo.ID().String(), "index.db")
	clean, err := os.ReadFile(file)
	must(t, err)
	other := newWorld(t, mem.New(), true)
	other.backup(t, two)
	foreign, err := os.ReadFile(filepath.Join(other.cache, other.repo.ID().String(), "index.db"))
	must(t, err)
	wr, err := w.repo.NewWriter(ctx)
	must(t, err)
	dirty, err := os.ReadFile(file)
	must(t, err)
	must(t, wr.Close())
	files := map[string][]byte{
		"empty": {}, "garbage": random(1, 64<<10), "text": []byte("not a database"), "foreign": foreign, "dirty": dirty, "clean": clean,
		"cut to half": clean[:len(clean)/2], "cut to a page": clean[:4096], "cut to three pages": clean[:3*4096], "zero tail": append(bytes.Clone(clean[:len(clean)/2]), make([]byte, len(clean)/2)...),
	}
	for p := 2 * 4096; p < len(clean); p += 4096 {
		b := bytes.Clone(clean)
		copy(b[p:p+4096], random(uint64(p), 4096))
		files[fmt.Sprintf("page %d overwritten", p/4096)] = b
		c := bytes.Clone(clean)
		c[p+10] ^= 0xff
		files[fmt.Sprintf("page %d flipped", p/4096)] = c
	}
	for what, b := range files {
		s := mem.New()
		storetest.Copy(t, s, w.store)
		x := &world{store: s, secret: w.secret, now: w.now.Add(time.Hour), cache: t.TempDir()}
		at := filepath.Join(x.cache, w.repo.ID().String(), "index.db")
		must(t, os.MkdirAll(filepath.Dir(at), 0o700))
		must(t, os.WriteFile(at, b, 0o600))
		ok := 0
		for range 2 {
			r := x.mustOpen(t, s)
			x.now = x.now.Add(time.Hour)
			j := *one
			p, _, err := j.run(ctx, r, x.now)
			if err != nil {
				t.Logf("%s: %v", what, err)
				continue
			}
			ok++
			tr := truth{*p, j.disks}
			if err := tr.restores(ctx, x.mustOpen(t, s)); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
		if ok == 0 || ok == 1 && !strings.HasPrefix(what, "page") {
			t.Errorf("%s: %d of two backups succeeded", what, ok)
		}
		if got, err := os.ReadFile(at); err != nil || len(got) < 3*4096 {
			t.Errorf("%s: there is no new cache: %v", what, err)
		}
	}
}

// TestACacheOfWhatIsGone uses a cache that knows packs that were deleted: no
// map names one.
func TestACacheOfWhatIsGone(t *testing.T) {
	ctx := t.Context()
	w := newWorld(t, mem.New(), true)
	one, _ := w.smallJobs()
	w.backup(t, one)
	w.points = nil
	for _, name := range storetest.Names(t, w.store, "") {
		if strings.HasPrefix(name, "packs/") || strings.HasPrefix(name, "points/") || strings.HasPrefix(name, "notes/") || strings.HasPrefix(name, "index/") {
			must(t, w.store.Delete(ctx, name))
		}
	}
	w.backup(t, one)
	w.holds(t, w.store, w.points)
	// A pack that is there, but cut short, is not used either.
	s := mem.New()
	storetest.Copy(t, s, w.store)
	for _, name := range storetest.Names(t, s, "packs/") {
		b := storetest.Read(t, s, name)
		replace(t, s, name, b[:len(b)-1])
	}
	for _, cache := range []string{w.cache, t.TempDir()} {
		x := &world{store: s, secret: w.secret, now: w.now.Add(time.Hour), cache: cache}
		x.use(x.mustOpen(t, s))
		x.backup(t, one)
		if err := x.points[0].restores(ctx, x.mustOpen(t, s)); err != nil {
			t.Errorf("over packs cut short: %v", err)
		}
		x.now = x.now.Add(time.Hour)
	}
}

// TestASecondWriterHasACacheOfItsOwn opens two writers at a time.
func TestASecondWriterHasACacheOfItsOwn(t *testing.T) {
	ctx := t.Context()
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	w := newWorld(t, mem.New(), false)
	a, err := w.repo.NewWriter(ctx)
	must(t, err)
	b, err := w.mustOpen(t, w.store).NewWriter(ctx)
	must(t, err)
	private, err := filepath.Glob(filepath.Join(tmp, "vitrine-index-*"))
	if err != nil || len(private) != 1 {
		t.Errorf("private caches: %v, %v", private, err)
	}
	must(t, b.Close())
	must(t, a.Close())
	if private, _ = filepath.Glob(filepath.Join(tmp, "vitrine-index-*")); len(private) != 0 {
		t.Errorf("left behind: %v", private)
	}
}

// TestCheckDoesNotBelieveACache damages packs that the repository handle has
// read before.
func TestCheckDoesNotBelieveACache(t *testing.T) {
	ctx := t.Context()
	m := mem.New()
	w := newWorld(t, m, true)
	w.backup(t, &job{machine: machineB, name: "db", disks: map[string]*testDisk{"db.vhdx": diskB()}})
	must(t, w.points[0].restores(ctx, w.repo))
	for _, name := range storetest.Names(t, m, "packs/") {
		must(t, m.Delete(ctx, name))
	}
	rep, err := w.repo.Check(ctx, repo.CheckOptions{})
	must(t, err)
	n := 0
	for _, f := range rep.Findings {
		n += len(f.Affected)
	}
	if n == 0 {
		t.Errorf("nobody is affected: %+v", rep.Findings)
	}
}
