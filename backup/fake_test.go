package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vitrine/backup"
	"vitrine/repo"
	"vitrine/repo/mem"
)

const (
	sqlID = repo.MachineID("3f2a9c1e-0000-4000-8000-000000000001")
	webID = repo.MachineID("3f2a9c1e-0000-4000-8000-000000000002")
)

// newRepo makes a repository in memory whose clock moves on by a minute with
// every look at it.
func newRepo(t *testing.T) (*repo.Repo, *mem.Store, repo.Options) {
	t.Helper()
	s := mem.New()
	o := repo.Options{CacheDir: t.TempDir(), Clock: clock()}
	r, _, err := repo.Init(t.Context(), s, repo.InitOptions{Options: o, NoEncryption: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r, s, o
}

func clock() func() time.Time {
	var mu sync.Mutex
	now := time.Date(2026, 11, 22, 22, 0, 0, 0, time.UTC)
	return func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(time.Second)
		return now
	}
}

// fakeDisk is a disk in memory; NextData knows its 64 KiB units of zeros.
type fakeDisk struct {
	info  backup.DiskInfo
	data  []byte
	read  atomic.Int64 // bytes read from it
	open  atomic.Int64
	track map[string][][2]int64 // by tracking id: what changed since
	fail  error                 // of reads
	trap  atomic.Bool           // the next read panics
}

func (d *fakeDisk) Size() int64           { return int64(len(d.data)) }
func (d *fakeDisk) Info() backup.DiskInfo { return d.info }
func (d *fakeDisk) Close() error          { d.open.Add(-1); return nil }

func (d *fakeDisk) ReadAt(p []byte, off int64) (int, error) {
	if d.fail != nil {
		return 0, d.fail
	}
	if d.trap.Swap(false) {
		panic("a bug in a decoder")
	}
	n, err := bytes.NewReader(d.data).ReadAt(p, off)
	d.read.Add(int64(n))
	return n, err
}

func (d *fakeDisk) NextData(off int64) (int64, int64, error) {
	const unit = 64 << 10
	hole := func(at int64) bool {
		end := min(at+unit, d.Size())
		return bytes.Count(d.data[at:end], []byte{0}) == int(end-at)
	}
	at := max(off, 0) / unit * unit
	for at < d.Size() && hole(at) {
		at += unit
	}
	end := at
	for end < d.Size() && !hole(end) {
		end += unit
	}
	if at >= d.Size() || off >= d.Size() {
		return 0, 0, io.EOF
	}
	return max(at, off), min(end, d.Size()), nil
}

func (d *fakeDisk) Changed(_ context.Context, since string) (iter.Seq2[int64, int64], error) {
	list, ok := d.track[since]
	if !ok {
		return nil, backup.ErrNoTracking
	}
	return func(yield func(int64, int64) bool) {
		for _, x := range list {
			if !yield(x[0], x[1]) {
				return
			}
		}
	}, nil
}

// fakeVM is a machine of the fake host, and its session.
type fakeVM struct {
	vm       backup.VM
	contents backup.Contents
	unmet    map[backup.Method]bool
	verify   error
	commit   error
	closing  error
	log      []string // what the engine did with the session
}

func (v *fakeVM) Contents() *backup.Contents { return &v.contents }

func (v *fakeVM) Verify(context.Context) error {
	v.log = append(v.log, "verify")
	return v.verify
}

func (v *fakeVM) Commit(ctx context.Context) error {
	v.log = append(v.log, "commit")
	return errors.Join(ctx.Err(), v.commit)
}

func (v *fakeVM) Close() error {
	v.log = append(v.log, "close")
	return v.closing
}

type fakeHost struct{ vms []*fakeVM }

var _ backup.Host = (*fakeHost)(nil)

func (h *fakeHost) VMs(context.Context) ([]backup.VM, error) {
	var out []backup.VM
	for _, v := range h.vms {
		out = append(out, v.vm)
	}
	return out, nil
}

func (h *fakeHost) find(vm backup.VM) *fakeVM {
	for _, v := range h.vms {
		if v.vm.Source == vm.Source && v.vm.ID == vm.ID {
			return v
		}
	}
	return nil
}

func (h *fakeHost) Check(_ context.Context, vm backup.VM, m backup.Method) error {
	if h.find(vm).unmet[m] {
		return &backup.PreflightError{VM: vm.Name, Method: m, Unmet: []backup.Condition{{Code: "no", Text: string(m) + " is off", Fix: "switch it on"}}}
	}
	return nil
}

func (h *fakeHost) Snapshot(_ context.Context, vm backup.VM, m backup.Method) (backup.Session, error) {
	v := h.find(vm)
	v.log = append(v.log, "snapshot "+string(m))
	for _, d := range v.contents.Disks {
		d.(*fakeDisk).open.Store(1)
	}
	return v, nil
}

func newVM(id repo.MachineID, name string, disks ...*fakeDisk) *fakeVM {
	v := &fakeVM{vm: backup.VM{ID: id, Name: name, Source: "/vms/" + name, Methods: []backup.Method{backup.MethodFolder}}}
	v.contents.Consistency = backup.ConsistencyOffline
	for _, d := range disks {
		v.contents.Disks = append(v.contents.Disks, d)
	}
	return v
}

// newDisk makes a disk of n bytes: noise, and a hole in its middle third.
func newDisk(name string, n int) *fakeDisk {
	d := &fakeDisk{
		info: backup.DiskInfo{Name: name, ID: "id of " + name, Format: "vhdx", BlockSize: 1 << 20, LogicalSector: 512, PhysicalSector: 4096},
		data: make([]byte, n),
	}
	noise(d.data[:n/3], name)
	noise(d.data[2*n/3:], name+"+")
	return d
}

func noise(p []byte, seed string) {
	x := uint64(14695981039346656037)
	for _, c := range []byte(seed) {
		x = (x ^ uint64(c)) * 1099511628211
	}
	for i := range p {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		p[i] = byte(x)
	}
}

func run(t *testing.T, r *repo.Repo, h backup.Host, o backup.Options) *backup.Report {
	t.Helper()
	if o.Clock == nil {
		o.Clock = clock()
	}
	report, err := backup.Run(t.Context(), r, h, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// mustRun is run that expects one good point of each machine.
func mustRun(t *testing.T, r *repo.Repo, h backup.Host, o backup.Options) *backup.Report {
	t.Helper()
	report := run(t, r, h, o)
	if err := report.Err(); err != nil {
		t.Fatal(err)
	}
	return report
}

// wantContent reads a stored disk back.
func wantContent(t *testing.T, r *repo.Repo, ref repo.ImageRef, want []byte) {
	t.Helper()
	img, err := r.OpenImage(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, img.Size())
	if _, err := img.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		at := 0
		for at < min(len(got), len(want)) && got[at] == want[at] {
			at++
		}
		t.Fatalf("the stored disk of %d bytes differs from the source's %d at %d", len(got), len(want), at)
	}
}

func points(t *testing.T, r *repo.Repo) int {
	t.Helper()
	n := 0
	for _, err := range r.Points(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	return n
}
