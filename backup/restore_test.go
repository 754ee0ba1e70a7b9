package backup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"vitrine/backup"
	"vitrine/fs/vhd"
	"vitrine/fs/vhdx"
	"vitrine/repo"
)

// restorable is a repository with one point of a machine that has everything.
func restorable(t *testing.T) (*repo.Repo, *repo.RestorePoint, *fakeDisk) {
	t.Helper()
	r, _, _ := newRepo(t)
	d := newDisk("SQL01-os.vhdx", 9<<20+512)
	vm := newVM(sqlID, "SQL01", d, newDisk("SQL01-data.vhdx", 1<<20))
	when := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	vm.contents.Files = fstest.MapFS{"Virtual Machines/a.vmcx": {Data: []byte("configuration"), ModTime: when}, "empty": {ModTime: when}}
	vm.contents.VM = []byte(`{"name":"SQL01"}`)
	for _, id := range []string{"c1", "c2"} {
		vm.contents.Checkpoints = append(vm.contents.Checkpoints, backup.SourceCheckpoint{
			ID: id, Name: "a/b: c", Disks: []backup.SourceDisk{newDisk("SQL01-os.vhdx", 1<<20)},
		})
	}
	return r, mustRun(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{}).Machines[0].Point, d
}

func TestRestoreWritesTheWholeMachine(t *testing.T) {
	r, p, d := restorable(t)
	to := filepath.Join(t.TempDir(), "new", "folder")
	done, err := backup.Restore(t.Context(), r, p, backup.RestoreOptions{To: to})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SQL01-data.vhdx", "SQL01-os.vhdx",
		"checkpoints/a_b_ c (2)/SQL01-os.vhdx", "checkpoints/a_b_ c/SQL01-os.vhdx",
		"config/Virtual Machines/a.vmcx", "config/empty", "config/vm.json", "restore-point.json",
	}
	if got := tree(t, to); !slices.Equal(got, prefixed("SQL01/", want)) {
		t.Errorf("restored %q", got)
	}
	slices.Sort(done.Files)
	if !slices.Equal(done.Files, want) || done.Dir != filepath.Join(to, "SQL01") {
		t.Errorf("reported %s %q", done.Dir, done.Files)
	}
	b, err := os.ReadFile(filepath.Join(done.Dir, "SQL01-os.vhdx"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := vhdx.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	wantDisk(t, im, d.data)
	if got := im.DataWriteID().String(); !strings.EqualFold(got, p.Disks[0].DataID) {
		t.Errorf("data write id %s, want %s", got, p.Disks[0].DataID)
	}
	config := filepath.Join(done.Dir, "config", "Virtual Machines", "a.vmcx")
	if b, err := os.ReadFile(config); err != nil || string(b) != "configuration" {
		t.Errorf("configuration %q, %v", b, err)
	}
	if info, err := os.Stat(config); err != nil || !info.ModTime().Equal(p.Files[0].Time) {
		t.Errorf("configuration of %v, %v", info.ModTime(), err)
	}
}

func TestRestoreOfAHyperVMachineIsAnExport(t *testing.T) {
	r, _, _ := newRepo(t)
	disk, old := newDisk("os.vhdx", 1<<20), newDisk("old.vhdx", 1<<20)
	disk.info.Source, old.info.Source, old.info.Format = `D:\VMs\os_1.avhdx`, "/srv/old.VHD", "vhd"
	before := newDisk("os.vhdx", 1<<20)
	before.info.Source = `D:\VMs\os.vhdx`
	vm := newVM(sqlID, "SQL01", disk, old)
	vm.contents.Files = fstest.MapFS{"virtual machines/a.vmcx": {}, "Virtual Machines/a/a.bin": {}, "Snapshots/group.bin": {}}
	vm.contents.VM = []byte(`{}`)
	vm.contents.Checkpoints = []backup.SourceCheckpoint{{
		ID: "c1", Name: "before", Disks: []backup.SourceDisk{before}, Files: fstest.MapFS{"c1.vmcx": {}}, VM: []byte(`{}`),
	}}
	p := mustRun(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{}).Machines[0].Point
	to := t.TempDir()
	if _, err := backup.Restore(t.Context(), r, p, backup.RestoreOptions{To: to}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"Snapshots/c1.json", "Snapshots/c1.vmcx", "Snapshots/group.bin",
		"Virtual Hard Disks/old.VHD", "Virtual Hard Disks/os.vhdx", "Virtual Hard Disks/os_1.avhdx",
		"Virtual Machines/a.vmcx", "Virtual Machines/a/a.bin", "restore-point.json", "vm.json",
	}
	if got := tree(t, to); !slices.Equal(got, prefixed("SQL01/", want)) {
		t.Errorf("restored %q", got)
	}
}

func TestRestoreInOtherFormats(t *testing.T) {
	r, p, d := restorable(t)
	to := t.TempDir()
	for _, f := range []backup.Format{backup.FormatRaw, backup.FormatVHD} {
		o := backup.RestoreOptions{To: to, As: string(f), Format: f, Disks: []string{"sql01-OS"}}
		if _, err := backup.Restore(t.Context(), r, p, o); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := tree(t, to), []string{"raw/SQL01-os.raw", "vhd/SQL01-os.vhd"}; !slices.Equal(got, want) {
		t.Fatalf("restored %q, want %q", got, want)
	}
	b, err := os.ReadFile(filepath.Join(to, "raw", "SQL01-os.raw"))
	if err != nil || !bytes.Equal(b, d.data) {
		t.Errorf("raw: %d bytes, %v", len(b), err)
	}
	b, err = os.ReadFile(filepath.Join(to, "vhd", "SQL01-os.vhd"))
	if err != nil {
		t.Fatal(err)
	}
	im, err := vhd.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	wantDisk(t, im, d.data)
}

func TestRestoreRefuses(t *testing.T) {
	r, p, _ := restorable(t)
	to := t.TempDir()
	if err := os.Mkdir(filepath.Join(to, "SQL01"), 0o755); err != nil {
		t.Fatal(err)
	}
	hostile := *p
	hostile.Files = slices.Clone(p.Files)
	hostile.Files[0].Name = "../../../evil"
	huge := *p
	huge.Disks = slices.Clone(p.Disks)
	huge.Disks[0].Image.Data = 1 << 60
	for _, c := range []struct {
		name string
		p    *repo.RestorePoint
		o    backup.RestoreOptions
		is   func(error) bool
	}{
		{"to overwrite", p, backup.RestoreOptions{}, func(err error) bool { return errors.Is(err, iofs.ErrExist) }},
		{"an unknown disk", p, backup.RestoreOptions{Disks: []string{"x"}}, as[*backup.NoDiskError]},
		{"an unknown format", p, backup.RestoreOptions{Format: "vmdk"}, as[*backup.FormatError]},
		{"qcow2", p, backup.RestoreOptions{Format: backup.FormatQCOW2}, as[*backup.FormatError]},
		{"a path that leads out", &hostile, backup.RestoreOptions{As: "x"}, func(err error) bool { return err != nil }},
		{"what does not fit", &huge, backup.RestoreOptions{As: "x"}, as[*backup.SpaceError]},
	} {
		c.o.To = to
		if _, err := backup.Restore(t.Context(), r, c.p, c.o); !c.is(err) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	if got := tree(t, to); len(got) > 0 {
		t.Errorf("refusals left %q", got)
	}
}

func TestABrokenRestoreLeavesNothing(t *testing.T) {
	r, p, _ := restorable(t)
	to := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := backup.Restore(ctx, r, p, backup.RestoreOptions{To: to, Progress: onBegin(cancel)}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	list, err := os.ReadDir(to)
	if err != nil || len(list) > 0 {
		t.Errorf("left %v, %v", list, err)
	}
}

func as[E error](err error) bool {
	var e E
	return errors.As(err, &e)
}

func wantDisk(t *testing.T, d io.ReaderAt, want []byte) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := d.ReadAt(got, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the restored disk differs from the source")
	}
}

// tree lists the files below a folder.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := iofs.WalkDir(os.DirFS(dir), ".", func(name string, e iofs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			out = append(out, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func prefixed(prefix string, names []string) []string {
	var out []string
	for _, n := range names {
		out = append(out, prefix+n)
	}
	return out
}
