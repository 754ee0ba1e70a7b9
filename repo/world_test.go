package repo_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vitrine/repo"
	"vitrine/repo/storetest"
)

const page = 4096

// soak tells whether the long form of a test is wanted.
func soak() bool { return os.Getenv("VITRINE_SOAK") != "" }

// testDisk is a sparse disk: pages that are not in the map are zero.
type testDisk struct {
	size  int64
	pages map[int64][]byte
	order []int64
}

func newTestDisk(size int64) *testDisk { return &testDisk{size: size, pages: map[int64][]byte{}} }

// write puts bytes at a page boundary.
func (d *testDisk) write(off int64, b []byte) {
	for n := 0; n < len(b); n += page {
		p := make([]byte, page)
		copy(p, b[n:])
		d.pages[(off+int64(n))/page] = p
	}
	d.order = nil
}

func (d *testDisk) clone() *testDisk {
	c := newTestDisk(d.size)
	for n, p := range d.pages {
		c.pages[n] = p
	}
	return c
}

func (d *testDisk) sorted() []int64 {
	if d.order == nil {
		for n := range d.pages {
			d.order = append(d.order, n)
		}
		slices.Sort(d.order)
	}
	return d.order
}

func (d *testDisk) Size() int64 { return d.size }

func (d *testDisk) ReadAt(b []byte, off int64) (int, error) {
	for n := 0; n < len(b); {
		at := off + int64(n)
		if at >= d.size {
			return n, io.EOF
		}
		take := int(min(page-at%page, int64(len(b)-n), d.size-at))
		if p := d.pages[at/page]; p != nil {
			copy(b[n:n+take], p[at%page:])
		} else {
			clear(b[n : n+take])
		}
		n += take
	}
	return len(b), nil
}

func (d *testDisk) NextData(off int64) (int64, int64, error) {
	o := d.sorted()
	i, _ := slices.BinarySearch(o, off/page)
	if i == len(o) {
		return 0, 0, io.EOF
	}
	k := i
	for k+1 < len(o) && o[k+1] == o[k]+1 {
		k++
	}
	return max(off, o[i]*page), min((o[k]+1)*page, d.size), nil
}

// differs compares what an image holds with the disk.
func (d *testDisk) differs(i *repo.Image) error {
	if i.Size() != d.size {
		return fmt.Errorf("%d bytes, want %d", i.Size(), d.size)
	}
	covered := map[int64]bool{}
	for at := int64(0); ; {
		s, e, err := i.NextData(at)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		got, want := make([]byte, e-s), make([]byte, e-s)
		if _, err := i.ReadAt(got, s); err != nil {
			return err
		}
		if _, err := d.ReadAt(want, s); err != nil {
			return err
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("the content of [%d,%d) differs", s, e)
		}
		for p := s / page; p*page < e; p++ {
			covered[p] = true
		}
		at = e
	}
	for _, p := range d.sorted() {
		if !covered[p] && len(bytes.Trim(d.pages[p], "\x00")) > 0 {
			return fmt.Errorf("page %d is a hole", p)
		}
	}
	return nil
}

// random gives n bytes that do not compress, text n that do.
func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 99))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		v := r.Uint64()
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24), byte(v>>32), byte(v>>40), byte(v>>48), byte(v>>56))
	}
	return b[:n]
}

func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 98))
	var b []byte
	for len(b) < n {
		b = fmt.Appendf(b, "line %d of a log, number %d\n", len(b), r.IntN(1000))
	}
	return b[:n]
}

// truth is what a restore point must hold.
type truth struct {
	point  repo.RestorePoint
	images map[string]*testDisk
}

// world is a repository with a known content.
type world struct {
	store  repo.Store
	secret repo.Secret // zero without encryption
	repo   *repo.Repo
	cache  string
	now    time.Time
	points []truth
}

var cheap = repo.KDF{Time: 1, Memory: 8, Threads: 1}

func (w *world) options() repo.Options {
	o := repo.Options{CacheDir: w.cache, Host: "test", Workers: 2, Clock: func() time.Time { return w.now }}
	if w.secret.Kind != "" {
		s := w.secret
		o.Unlock = func(context.Context) (repo.Secret, error) { return s, nil }
	}
	return o
}

// newWorld makes an empty repository whose packs hold 96 KiB.
func newWorld(t testing.TB, s repo.Store, encrypted bool) *world {
	t.Helper()
	w := &world{store: s, cache: t.TempDir(), now: time.Date(2026, 11, 23, 22, 0, 0, 0, time.UTC)}
	if encrypted {
		w.secret = repo.NewSecret(repo.Password, []byte("correct horse"))
	}
	r, _, err := repo.Init(t.Context(), s, repo.InitOptions{Options: w.options(), NoEncryption: !encrypted, KDF: cheap})
	if err != nil {
		t.Fatal(err)
	}
	must(t, r.Close())
	w.use(w.mustOpen(t, storetest.Poison(s)))
	return w
}

func (w *world) use(r *repo.Repo) {
	r.SetPackSize(96 << 10)
	w.repo = r
}

// open opens the world's repository in a store, with nothing cached. Tests
// open thousands: none is kept for the end to be closed.
func (w *world) open(t testing.TB, s repo.Store) (*repo.Repo, error) {
	r, err := repo.Open(t.Context(), s, w.options())
	if err == nil {
		r.SetPackSize(96 << 10)
	}
	return r, err
}

func (w *world) mustOpen(t testing.TB, s repo.Store) *repo.Repo {
	t.Helper()
	r, err := w.open(t, s)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return r
}

const (
	machineA = repo.MachineID("aaaaaaaa-0000-0000-0000-000000000001")
	machineB = repo.MachineID("bbbbbbbb-0000-0000-0000-000000000002")
)

// job is one backup: the disks of a machine, and for each the image it starts
// from and what changed.
type job struct {
	machine repo.MachineID
	name    string
	disks   map[string]*testDisk
	base    *repo.RestorePoint
	changed map[string][][2]int64
}

// diskA, diskB are the machines' disks as they begin.
func diskA() *testDisk {
	d := newTestDisk(2<<30 + 1<<20 + 512)
	d.write(1<<20, random(1, 300<<10))
	d.write(17<<20, text(2, 150<<10))
	d.write(33<<20, bytes.Repeat([]byte{0xa5}, 320<<10))
	d.write(1<<30+5<<20, random(3, 80<<10))
	d.write(2<<30+1<<20, random(4, 512))
	return d
}

func diskB() *testDisk {
	d := newTestDisk(40 << 20)
	d.write(0, random(5, 120<<10))
	d.write(8<<20, random(1, 300<<10)[:128<<10]) // also on the other machine
	return d
}

func config(n int) *testDisk {
	b := text(uint64(n), 70_000)
	d := newTestDisk(int64(len(b)))
	d.write(0, b)
	return d
}

// run makes the backup and returns the point when it was committed.
func (j *job) run(ctx context.Context, r *repo.Repo, at time.Time) (*repo.RestorePoint, repo.Stats, error) {
	var sum repo.Stats
	w, err := r.NewWriter(ctx)
	if err != nil {
		return nil, sum, err
	}
	p := &repo.RestorePoint{Machine: j.machine, Name: j.name, Time: at}
	err = func() error {
		names := make([]string, 0, len(j.disks))
		for n := range j.disks {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			o := repo.ImageOptions{}
			if j.base != nil && j.changed[n] != nil {
				for ref, name := range j.base.Images() {
					if name != n {
						continue
					}
					if o.Base, err = r.OpenImage(ctx, *ref); err != nil {
						return err
					}
					o.Changed = pairs(j.changed[n])
				}
			}
			ref, st, err := w.StoreImage(ctx, j.disks[n], o)
			if err != nil {
				return err
			}
			sum.New += st.New
			sum.Stored += st.Stored
			sum.Read += st.Read
			if f, ok := strings.CutPrefix(n, "config/"); ok {
				p.Files = append(p.Files, repo.File{Name: f, Image: ref})
			} else {
				p.Disks = append(p.Disks, repo.Disk{Name: n, Image: ref})
			}
		}
		return w.Commit(ctx, p)
	}()
	if cerr := w.Close(); err == nil && cerr != nil {
		return p, sum, fmt.Errorf("%w: %w", errClose, cerr)
	}
	if err != nil {
		return nil, sum, err
	}
	return p, sum, nil
}

// errClose marks an error behind a commit that was reported good.
var errClose = fmt.Errorf("close after commit")

func (w *world) backup(t testing.TB, j *job) *repo.RestorePoint {
	t.Helper()
	w.now = w.now.Add(time.Hour)
	p, _, err := j.run(t.Context(), w.repo, w.now)
	if err != nil {
		t.Fatalf("backup %s: %v", j.name, err)
	}
	w.points = append(w.points, truth{*p, j.disks})
	return p
}

// fill makes three points of one machine, one full and two incremental, and
// one of another.
func (w *world) fill(t testing.TB) {
	t.Helper()
	a := diskA()
	p := w.backup(t, &job{machine: machineA, name: "web", disks: map[string]*testDisk{"os.vhdx": a, "config/web.xml": config(1)}})
	w.backup(t, &job{machine: machineB, name: "db", disks: map[string]*testDisk{"db.vhdx": diskB()}})
	for n := range 2 {
		a = a.clone()
		at := int64(1<<20 + n*(80<<10))
		a.write(at, random(uint64(10+n), 40<<10))
		p = w.backup(t, &job{machine: machineA, name: "web", base: p, disks: map[string]*testDisk{"os.vhdx": a, "config/web.xml": config(1 + n)},
			changed: map[string][][2]int64{"os.vhdx": {{at, at + 40<<10}}}})
	}
}

// info is how a listing names a point.
func (tr *truth) info() repo.PointInfo {
	return repo.PointInfo{Machine: tr.point.Machine, Time: tr.point.Time, ID: tr.point.ID,
		Object: fmt.Sprintf("points/%s/%s-%s", tr.point.Machine, tr.point.Time.Format("2006-01-02T15-04-05Z"), tr.point.ID)}
}

// restores reads a point and compares every image with the truth.
func (tr *truth) restores(ctx context.Context, r *repo.Repo) error {
	p, err := r.OpenPoint(ctx, tr.info())
	if err != nil {
		return err
	}
	n := 0
	for ref, name := range p.Images() {
		n++
		d, ok := tr.images[name]
		if !ok {
			return fmt.Errorf("%s: not expected", name)
		}
		i, err := r.OpenImage(ctx, *ref)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := d.differs(i); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if n != len(tr.images) {
		return fmt.Errorf("%d images, want %d", n, len(tr.images))
	}
	return nil
}

// holds fails the test unless all points restore and check is clean.
func (w *world) holds(t testing.TB, s repo.Store, points []truth) {
	t.Helper()
	r := w.mustOpen(t, s)
	for i := range points {
		if err := points[i].restores(t.Context(), r); err != nil {
			t.Errorf("restore point %d: %v", i, err)
		}
	}
	rep, err := r.Check(t.Context(), repo.CheckOptions{ReadData: true})
	if err != nil {
		t.Errorf("check: %v", err)
	} else if !rep.Clean() {
		t.Errorf("check: %+v", rep.Findings)
	}
}

func collectPoints(seq iter.Seq2[repo.PointInfo, error]) ([]repo.PointInfo, error) {
	var out []repo.PointInfo
	for p, err := range seq {
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func ciphers(t *testing.T, f func(t *testing.T, encrypted bool)) {
	for _, encrypted := range []bool{true, false} {
		t.Run(map[bool]string{true: "encrypted", false: "open"}[encrypted], func(t *testing.T) {
			t.Parallel()
			f(t, encrypted)
		})
	}
}
