package backup_test

import (
	"io"
	"strings"
	"testing"

	"vitrine/backup"
	"vitrine/fs/disk"
	"vitrine/repo"
	"vitrine/repo/mem"
)

// tracked is a machine with one disk of 12 MiB whose host tracks changes, and
// its first restore point.
func tracked(t *testing.T) (*repo.Repo, *mem.Store, *fakeHost, *fakeDisk, *repo.RestorePoint) {
	t.Helper()
	r, s, _ := newRepo(t)
	d := newDisk("a.vhdx", 12<<20)
	d.info.Tracking = "t1"
	h := &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", d)}}
	p := mustRun(t, r, h, backup.Options{}).Machines[0].Point
	d.read.Store(0)
	return r, s, h, d, p
}

// change writes at off and lets the host's tracking say so.
func (d *fakeDisk) change(off, n int64) {
	noise(d.data[off:off+n], "changed")
	d.track = map[string][][2]int64{d.info.Tracking: {{off, off + n}}}
	d.info.Tracking = "t2"
}

func list(p repo.PointID, disks map[string][]disk.Extent) *backup.Changes {
	return &backup.Changes{Point: p, Disks: disks}
}

func TestTrackingReadsOnlyWhatChanged(t *testing.T) {
	r, _, h, d, first := tracked(t)
	d.change(1<<20+100, 5000)
	m := mustRun(t, r, h, backup.Options{}).Machines[0]
	if got := m.Disks[0]; got.Read != backup.ReadIncremental || got.Base != first.ID {
		t.Fatalf("read %s from %s: %s", got.Read, got.Base, got.Why)
	}
	if got := d.read.Load(); got > 2<<20 {
		t.Errorf("%d bytes were read", got)
	}
	wantContent(t, r, m.Point.Disks[0].Image, d.data)
}

func TestAChangeListReadsOnlyWhatItNames(t *testing.T) {
	r, _, h, d, first := tracked(t)
	d.info.Tracking = ""
	noise(d.data[1<<20:1<<20+5000], "changed")
	noise(d.data[7<<20:7<<20+10], "was a hole... or not")
	c := list(first.ID, map[string][]disk.Extent{"a.vhdx": {{Off: 7 << 20, Len: 10}, {Off: 1 << 20, Len: 5000}, {Off: 3, Len: 0}}})
	m := mustRun(t, r, h, backup.Options{Changed: c}).Machines[0]
	if got := m.Disks[0]; got.Read != backup.ReadIncremental || m.Point.Read != backup.ReadIncremental {
		t.Fatalf("read %s: %s", got.Read, got.Why)
	}
	if got := d.read.Load(); got > 4<<20 {
		t.Errorf("%d bytes were read", got)
	}
	wantContent(t, r, m.Point.Disks[0].Image, d.data)
}

func TestWhatTheContainerFreedBecomesAHole(t *testing.T) {
	r, _, h, d, first := tracked(t)
	clear(d.data[1<<20 : 2<<20])
	m := mustRun(t, r, h, backup.Options{Changed: list(first.ID, map[string][]disk.Extent{"a.vhdx": nil})}).Machines[0]
	wantContent(t, r, m.Point.Disks[0].Image, d.data)
	if m.Disks[0].Read != backup.ReadIncremental || m.Point.Disks[0].Image.Data >= first.Disks[0].Image.Data {
		t.Errorf("read %s, %d bytes of data, before %d", m.Disks[0].Read, m.Point.Disks[0].Image.Data, first.Disks[0].Image.Data)
	}
}

// TestDoubtMeansReadingEverything changes the disk behind the tracking's back:
// whoever trusts it in spite of the doubt stores the wrong bytes.
func TestDoubtMeansReadingEverything(t *testing.T) {
	type world struct {
		r     *repo.Repo
		s     *mem.Store
		h     *fakeHost
		d     *fakeDisk
		first *repo.RestorePoint
		o     *backup.Options
	}
	nothing := map[string][]disk.Extent{"a.vhdx": nil}
	for _, c := range []struct {
		name string
		set  func(t *testing.T, w world)
		why  string
	}{
		{"the host forgot", func(_ *testing.T, w world) { w.d.track = nil }, "does not track"},
		{"the disk's id changed", func(_ *testing.T, w world) { w.d.info.ID = "another" }, "id changed"},
		{"the disk grew", func(_ *testing.T, w world) { w.d.data = append(w.d.data, make([]byte, 1<<20)...) }, "size changed"},
		{"another machine", func(_ *testing.T, w world) { w.h.vms[0].vm.ID = webID }, "first restore point"},
		{"tracking names bytes behind the end", func(_ *testing.T, w world) {
			w.d.track = map[string][][2]int64{"t1": {{0, w.d.Size() + 1}}}
		}, "change tracking names"},
		{"two disks of one id", func(_ *testing.T, w world) {
			twin := newDisk("b.vhdx", len(w.d.data))
			twin.info.ID = w.d.info.ID
			w.h.vms[0].contents.Disks = append(w.h.vms[0].contents.Disks, twin)
		}, "same id"},
		{"the point is damaged", func(t *testing.T, w world) { damageLatest(t, w.r, w.s) }, "cannot be opened"},
		{"the point is in quarantine", func(t *testing.T, w world) {
			if err := w.r.AddNote(t.Context(), repo.Note{Point: w.first.ID, Machine: sqlID, Kind: repo.NoteQuarantine}); err != nil {
				t.Fatal(err)
			}
		}, "quarantine"},
		{"the list is about another point", func(_ *testing.T, w world) {
			w.o.Changed = list(repo.PointID{1}, nothing)
		}, "relative to 01000000"},
		{"the list does not name the disk", func(_ *testing.T, w world) {
			w.o.Changed = list(w.first.ID, map[string][]disk.Extent{})
		}, "does not name"},
		{"the disk had another name", func(_ *testing.T, w world) {
			w.d.info.Name = "renamed.vhdx"
			w.o.Changed = list(w.first.ID, map[string][]disk.Extent{"renamed.vhdx": nil})
		}, "it was called"},
		{"the list is about a damaged point", func(t *testing.T, w world) {
			damageLatest(t, w.r, w.s)
			w.o.Changed = list(w.first.ID, nothing)
		}, "cannot be opened"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, s, h, d, first := tracked(t)
			d.track = map[string][][2]int64{"t1": nil}
			noise(d.data[1<<20:1<<20+5000], "behind its back")
			o := backup.Options{}
			c.set(t, world{r, s, h, d, first, &o})
			m := mustRun(t, r, h, o).Machines[0]
			got := m.Disks[0]
			if got.Read != backup.ReadFull || !strings.Contains(got.Why, c.why) || m.Point.Read != backup.ReadFull {
				t.Errorf("read %s: %q, want full: …%s…", got.Read, got.Why, c.why)
			}
			wantContent(t, r, m.Point.Disks[0].Image, d.data)
		})
	}
}

func TestAFailedRunIsNeverABase(t *testing.T) {
	r, _, h, d, first := tracked(t)
	d.change(1<<20, 5000)
	h.vms[0].verify = backup.ErrSourceChanged
	if m := run(t, r, h, backup.Options{}).Machines[0]; m.Point != nil {
		t.Fatal("a point was made")
	}
	h.vms[0].verify = nil
	m := mustRun(t, r, h, backup.Options{}).Machines[0]
	if m.Disks[0].Base != first.ID {
		t.Errorf("base is %s, want %s", m.Disks[0].Base, first.ID)
	}
	wantContent(t, r, m.Point.Disks[0].Image, d.data)
}

func TestChangeListsThatCannotBe(t *testing.T) {
	r, _, h, _, first := tracked(t)
	for why, disks := range map[string]map[string][]disk.Extent{
		"ends at":       {"a.vhdx": {{Off: 12<<20 - 10, Len: 11}}},
		"does not have": {"a.vhdx": nil, "b.vhdx": nil},
	} {
		m := run(t, r, h, backup.Options{Changed: list(first.ID, disks)}).Machines[0]
		if m.Err == nil || m.Point != nil || !strings.Contains(m.Err.Error(), why) {
			t.Errorf("error %v, want …%s…", m.Err, why)
		}
	}
	id := strings.Repeat("ab", 16)
	for _, text := range []string{
		"", "null", "[]", "{}", `{"restorePoint":"ab"}`, `{"restorePoint":"` + id + `"} x`,
		`{"restorePoint":"` + id + `","disks":{"a":[[1]]}}`, `{"restorePoint":"` + id + `","disks":{"a":[[1,2,3]]}}`,
		`{"restorePoint":"` + id + `","disks":{"a":[[-1,2]]}}`, `{"restorePoint":"` + id + `","disks":{"a":[[1,-2]]}}`,
		`{"restorePoint":"` + id + `","disks":{"a":[[9223372036854775807,1]]}}`, `{"restorePoint":"` + id + `","disks":{"a":[[0.5,1]]}}`,
		`{"restorePoint":"` + id + `","disk":{}}`,
	} {
		if c, err := backup.ReadChanges(strings.NewReader(text)); err == nil {
			t.Errorf("ReadChanges(%s) = %+v, want an error", text, c)
		}
	}
	c, err := backup.ReadChanges(strings.NewReader(`{"restorePoint":"` + id + `","disks":{"a.vhdx":[[0,4096],[8192,1]],"b.vhdx":[]}}`))
	if err != nil || c.Point.String() != id || len(c.Disks) != 2 || c.Disks["a.vhdx"][1] != (disk.Extent{Off: 8192, Len: 1}) {
		t.Errorf("ReadChanges = %+v, %v", c, err)
	}
}

// damageLatest cuts the last restore point's object short.
func damageLatest(t *testing.T, r *repo.Repo, s *mem.Store) {
	t.Helper()
	var last repo.PointInfo
	for info, err := range r.Points(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		last = info
	}
	rd, err := s.Get(t.Context(), last.Object, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(rd)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), last.Object); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), last.Object, b[:len(b)-1]); err != nil {
		t.Fatal(err)
	}
}
