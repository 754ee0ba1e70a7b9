package backup_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"vitrine/backup"
	"vitrine/repo"
)

func TestBackupStoresDisksFilesAndCheckpoints(t *testing.T) {
	r, _, _ := newRepo(t)
	os, data := newDisk("SQL01-os.vhdx", 3<<20), newDisk("SQL01-data.vhdx", 1<<20)
	older := newDisk("SQL01-os.vhdx", 3<<20)
	noise(older.data[:100], "before the update")
	vm := newVM(sqlID, "SQL01", os, data)
	when := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	vm.contents.Files = fstest.MapFS{
		"Virtual Machines/a.vmcx": {Data: []byte("configuration"), ModTime: when},
		"empty":                   {Data: nil, ModTime: when},
	}
	vm.contents.Checkpoints = []backup.SourceCheckpoint{{ID: "c1", Name: "before update", Time: when, Disks: []backup.SourceDisk{older}}}
	vm.contents.VM = []byte(`{"name":"SQL01"}`)
	vm.contents.Warnings = []repo.Warning{{Object: "E.vhdx", Code: "disk-absent", Text: "E.vhdx is absent"}}

	report := mustRun(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{Tags: []string{"nightly"}, Software: "test"})

	m := report.Machines[0]
	if got, want := strings.Join(vm.log, ", "), "snapshot folder, verify, commit, close"; got != want {
		t.Errorf("the session saw %s, want %s", got, want)
	}
	p, err := backup.Find(t.Context(), r, "SQL01")
	if err != nil {
		t.Fatal(err)
	}
	if p.ID != m.Point.ID || p.Machine != sqlID || p.Read != backup.ReadFull || p.Tags[0] != "nightly" || p.Number != 1 {
		t.Errorf("restore point is %+v", p)
	}
	if !report.Warned() || len(p.Warnings) != 1 || p.Warnings[0].Code != "disk-absent" {
		t.Errorf("warnings are %+v", p.Warnings)
	}
	wantContent(t, r, p.Disks[0].Image, os.data)
	wantContent(t, r, p.Disks[1].Image, data.data)
	wantContent(t, r, p.Checkpoints[0].Disks[0].Image, older.data)
	if got := p.Files[0].Name; got != "Virtual Machines/a.vmcx" || !p.Files[0].Time.Equal(when) {
		t.Errorf("first file is %s of %s", got, p.Files[0].Time)
	}
	wantContent(t, r, p.Files[0].Image, []byte("configuration"))
	wantContent(t, r, p.Files[1].Image, nil)
	for _, d := range []*fakeDisk{os, data, older} {
		if d.open.Load() > 0 {
			t.Errorf("%s was left open", d.info.Name)
		}
	}
	if p.Disks[0].FileID == p.Disks[0].DataID || p.Disks[0].FileID == p.Disks[1].FileID {
		t.Error("GUIDs of presented files repeat")
	}
	if s := m.Stats; s.Size != 7<<20+13 || s.Read == 0 || s.New == 0 || s.Stored == 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestSecondBackupOfTheSameBytesStoresNothingNew(t *testing.T) {
	r, _, _ := newRepo(t)
	h := &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", newDisk("a.vhdx", 6<<20))}}
	mustRun(t, r, h, backup.Options{})
	m := mustRun(t, r, h, backup.Options{}).Machines[0]
	if m.Stats.New != 0 {
		t.Errorf("%d bytes were new", m.Stats.New)
	}
	if m.Point.Number != 2 || m.Disks[0].Why == "" || m.Disks[0].Read != backup.ReadFull {
		t.Errorf("point %d, read %s: %s", m.Point.Number, m.Disks[0].Read, m.Disks[0].Why)
	}
}

func TestOneMachinesFailureDoesNotStopTheOthers(t *testing.T) {
	broken := newDisk("a.vhdx", 1<<20)
	broken.fail = errors.New("bad sector")
	r, _, _ := newRepo(t)
	h := &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", broken), newVM(webID, "WEB01", newDisk("b.vhdx", 1<<20))}}
	report := run(t, r, h, backup.Options{})
	first, second := report.Machines[0], report.Machines[1]
	if first.Point != nil || first.Err == nil || !strings.Contains(first.Err.Error(), "SQL01: disk a.vhdx") {
		t.Errorf("SQL01: point %v, error %v", first.Point, first.Err)
	}
	if second.Point == nil || second.Err != nil {
		t.Errorf("WEB01: point %v, error %v", second.Point, second.Err)
	}
	if got := h.vms[0].log; !slices.Equal(got, []string{"snapshot folder", "close"}) {
		t.Errorf("the session of SQL01 saw %v", got)
	}
	if got := points(t, r); got != 1 {
		t.Errorf("%d restore points", got)
	}
}

func TestASourceThatChangedLeavesNoRestorePoint(t *testing.T) {
	r, _, _ := newRepo(t)
	vm := newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<20))
	vm.verify = backup.ErrSourceChanged
	m := run(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{}).Machines[0]
	if !errors.Is(m.Err, backup.ErrSourceChanged) || points(t, r) != 0 {
		t.Errorf("error %v, %d restore points", m.Err, points(t, r))
	}
	if got := vm.log; !slices.Equal(got, []string{"snapshot folder", "verify", "close"}) {
		t.Errorf("the session saw %v", got)
	}
}

func TestAPointIsKeptWhenTheHostCannotTakeNote(t *testing.T) {
	r, _, _ := newRepo(t)
	vm := newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<20))
	vm.commit, vm.closing = errors.New("host is busy"), errors.New("checkpoint is stuck")
	report := run(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{})
	m := report.Machines[0]
	if m.Point == nil || points(t, r) != 1 || !report.Warned() {
		t.Errorf("point %v, warnings %v", m.Point, m.Warnings)
	}
	if m.Err == nil || !strings.Contains(m.Err.Error(), "checkpoint is stuck") {
		t.Errorf("error %v", m.Err)
	}
}

func TestACancelledRunGivesTheMachineBack(t *testing.T) {
	r, _, _ := newRepo(t)
	vm := newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<20))
	other := newVM(webID, "WEB01", newDisk("b.vhdx", 1<<20))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	report, err := backup.Run(ctx, r, &fakeHost{[]*fakeVM{vm, other}}, backup.Options{Progress: onBegin(cancel), Clock: clock()})
	if !errors.Is(err, context.Canceled) || report == nil || report.Machines[0].Point != nil {
		t.Fatalf("report %+v, error %v", report, err)
	}
	if got := vm.log; !slices.Equal(got, []string{"snapshot folder", "close"}) {
		t.Errorf("the session saw %v", got)
	}
	if len(other.log) > 0 || points(t, r) != 0 {
		t.Errorf("the run went on: %v", other.log)
	}
}

// onBegin is a Progress that calls f when the first item begins.
type onBegin func()

func (f onBegin) Begin(string, string, int64) backup.Meter { f(); return f }
func (onBegin) Add(int64)                                  {}
func (onBegin) End(error)                                  {}

func TestTheFirstMethodThatWorksIsUsed(t *testing.T) {
	r, _, _ := newRepo(t)
	vm := newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<20))
	vm.vm.Methods = []backup.Method{backup.MethodChildSnapshot, backup.MethodSavedState}
	vm.unmet = map[backup.Method]bool{backup.MethodChildSnapshot: true}
	h := &fakeHost{[]*fakeVM{vm}}
	if m := mustRun(t, r, h, backup.Options{}).Machines[0]; m.Method != backup.MethodSavedState || m.Point.Method != "saved-state" {
		t.Errorf("method %s", m.Method)
	}
	var unmet *backup.PreflightError
	m := run(t, r, h, backup.Options{Method: backup.MethodChildSnapshot}).Machines[0]
	if !errors.As(m.Err, &unmet) || unmet.Hint() != "switch it on" || m.Point != nil {
		t.Errorf("error %v", m.Err)
	}
}

func TestSelect(t *testing.T) {
	vms := []backup.VM{{ID: sqlID, Name: "SQL01"}, {ID: webID, Name: "WEB01"}, {ID: "x", Name: "web-test"}}
	for _, c := range []struct {
		patterns, exclude []string
		want              string
	}{
		{nil, nil, "SQL01 WEB01 web-test"},
		{[]string{"sql01"}, nil, "SQL01"},
		{[]string{"WEB*"}, nil, "WEB01 web-test"},
		{[]string{"{" + strings.ToUpper(string(webID)) + "}", "SQL*"}, nil, "SQL01 WEB01"},
		{[]string{"web01 (3f2a9c1e)"}, nil, "WEB01"},
		{nil, []string{"*-TEST"}, "SQL01 WEB01"},
		{[]string{"WEB*"}, []string{"WEB01"}, "web-test"},
	} {
		got, err := backup.Select(vms, c.patterns, c.exclude)
		var names []string
		for _, vm := range got {
			names = append(names, vm.Name)
		}
		if err != nil || strings.Join(names, " ") != c.want {
			t.Errorf("Select(%v, %v) = %v, %v; want %s", c.patterns, c.exclude, names, err, c.want)
		}
	}
	for _, c := range [][2][]string{{{"SQL02"}, nil}, {nil, {"SQL02"}}, {{"[", "SQL01"}, nil}} {
		if got, err := backup.Select(vms, c[0], c[1]); err == nil {
			t.Errorf("Select(%v, %v) = %v, want an error", c[0], c[1], got)
		}
	}
}

func TestMachinesOfOneIDAreRefused(t *testing.T) {
	r, _, _ := newRepo(t)
	h := &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<20)), newVM(sqlID, "copy", newDisk("a.vhdx", 1<<20))}}
	var twin *backup.TwinError
	for _, m := range run(t, r, h, backup.Options{}).Machines {
		if !errors.As(m.Err, &twin) {
			t.Errorf("%s: %v", m.VM.Name, m.Err)
		}
	}
	m := mustRun(t, r, h, backup.Options{Machines: []string{"copy"}, As: "SQL01-copy"}).Machines[0]
	if m.Point.Machine == sqlID || m.Point.Name != "SQL01-copy" {
		t.Errorf("kept as %s %s", m.Point.Name, m.Point.Machine)
	}
	again := mustRun(t, r, h, backup.Options{Machines: []string{"copy"}, As: "SQL01-copy"}).Machines[0]
	if again.Point.Machine != m.Point.Machine || again.Point.Number != 2 {
		t.Errorf("the second time it is %s, number %d", again.Point.Machine, again.Point.Number)
	}
}

func TestNamesThatCollideAreRefused(t *testing.T) {
	for _, names := range [][]string{{"a.vhdx", "A.vhdx"}, {"../a.vhdx"}, {"a"}, {""}} {
		r, _, _ := newRepo(t)
		var disks []*fakeDisk
		for _, n := range names {
			disks = append(disks, newDisk(n, 1<<16))
		}
		if m := run(t, r, &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", disks...)}}, backup.Options{}).Machines[0]; m.Err == nil {
			t.Errorf("disks called %q were taken", names)
		}
	}
}

func TestFindUnderstandsEveryFormOfAPoint(t *testing.T) {
	r, _, _ := newRepo(t)
	vm := newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<16))
	h := &fakeHost{[]*fakeVM{vm}}
	var made []*repo.RestorePoint
	for _, day := range []int{20, 22, 22} {
		vm.contents.Time = time.Date(2026, 11, day, 22, 0, len(made), 0, time.UTC)
		made = append(made, mustRun(t, r, h, backup.Options{}).Machines[0].Point)
	}
	h.vms = []*fakeVM{newVM(webID, "WEB01", newDisk("b.vhdx", 1<<16))}
	mustRun(t, r, h, backup.Options{})
	for spec, want := range map[string]*repo.RestorePoint{
		"SQL01": made[2], "sql01@latest": made[2], string(sqlID): made[2], "SQL01 (3f2a9c1e)": made[2],
		"SQL01@2026-11-20": made[0], "SQL01@2026-11": made[2], "SQL01@2026-11-22T22-00-01Z": made[1], "SQL01@2026-11-22T22:00:01Z": made[1],
		made[1].ID.String()[:12]: made[1],
	} {
		got, err := backup.Find(t.Context(), r, spec)
		if err != nil || got.ID != want.ID {
			t.Errorf("Find(%q) = %v, %v; want %s", spec, got, err, want.ID)
		}
	}
	for _, spec := range []string{"", "SQL02", "SQL01@2026-11-21", "SQL01@yesterday", "SQL01@", "@latest", "zzzz", "SQL01@2026-13"} {
		if got, err := backup.Find(t.Context(), r, spec); err == nil {
			t.Errorf("Find(%q) = %s, want an error", spec, got.ID)
		}
	}
}

func TestListKeepsPointsThatCannotBeOpened(t *testing.T) {
	r, s, _ := newRepo(t)
	h := &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", newDisk("a.vhdx", 1<<16))}}
	mustRun(t, r, h, backup.Options{})
	mustRun(t, r, h, backup.Options{})
	damageLatest(t, r, s)
	all, err := backup.List(t.Context(), r, "SQL*")
	if err != nil || len(all) != 2 || all[0].Err != nil || all[1].Err == nil {
		t.Errorf("List = %+v, %v", all, err)
	}
}
