package folder_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/backup"
	"vitrine/fs/disk/disktest"
	"vitrine/repo"
	"vitrine/repo/mem"
)

// restored backs the one machine of a folder up and restores it into another.
func restored(t *testing.T, dir string, o backup.RestoreOptions) string {
	t.Helper()
	r, _, err := repo.Init(t.Context(), mem.New(), repo.InitOptions{Options: repo.Options{CacheDir: t.TempDir()}, NoEncryption: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := backup.Run(t.Context(), r, open(t, dir), backup.Options{})
	if err != nil || report.Err() != nil {
		t.Fatal(err, report.Err())
	}
	o.To = t.TempDir()
	if _, err := backup.Restore(t.Context(), r, report.Machines[0].Point, o); err != nil {
		t.Fatal(err)
	}
	return o.To
}

func TestRestoredMachineIsTheSameMachine(t *testing.T) {
	dir := t.TempDir()
	export(t, dir)
	h, vm := one(t, dir)
	was := snapshot(t, h, vm).Contents()

	to := restored(t, dir, backup.RestoreOptions{})
	h, again := one(t, to)
	if again.ID != vm.ID || again.Name != vm.Name || len(again.Problems) > 0 {
		t.Errorf("got %s %s, %v", again.ID, again.Name, again.Problems)
	}
	now := snapshot(t, h, again).Contents()
	if len(now.Warnings) > 0 {
		t.Errorf("warnings: %v", now.Warnings)
	}
	compare := func(what string, want, got []backup.SourceDisk) {
		if len(got) != len(want) {
			t.Fatalf("%s has %d disks, want %d", what, len(got), len(want))
		}
		for i := range want {
			w, g := want[i].Info(), got[i].Info()
			if w.Name != g.Name || w.ID != g.ID {
				t.Errorf("%s: disk %q %s, want %q %s", what, g.Name, g.ID, w.Name, w.ID)
			}
			if !bytes.Equal(content(t, got[i]), content(t, want[i])) {
				t.Errorf("%s: %s has another content", what, g.Name)
			}
		}
	}
	compare("the machine", was.Disks, now.Disks)
	if len(now.Checkpoints) != len(was.Checkpoints) {
		t.Fatalf("%d checkpoints, want %d", len(now.Checkpoints), len(was.Checkpoints))
	}
	for i, c := range was.Checkpoints {
		got := now.Checkpoints[i]
		if got.ID != c.ID || got.Name != c.Name {
			t.Errorf("checkpoint %s %q, want %s %q", got.ID, got.Name, c.ID, c.Name)
		}
		compare(c.Name, c.Disks, got.Disks)
	}
	for _, name := range []string{
		"vm.json", "restore-point.json", "Virtual Machines/" + upper(1) + ".vmgs",
		"Virtual Machines/" + upper(1) + "/" + upper(1) + ".bin", "Snapshots/" + upper(11) + ".vmrs",
	} {
		if _, err := os.Stat(filepath.Join(to, vm.Name, filepath.FromSlash(name))); err != nil {
			t.Error(err)
		}
	}
}

func TestRestoredMachineKeepsItsKindOfDisks(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "old.vhd"), disktest.File(t, "dissect.hypervisor/dynamic.vhd.gz"))
	writeVMCX(t, filepath.Join(dir, upper(1)+".vmcx"), config("OLD", guid(1), `C:\old.vhd`))
	to := restored(t, dir, backup.RestoreOptions{})
	_, vm := one(t, to)
	if len(vm.Problems) > 0 || len(vm.Disks) != 1 || !strings.HasSuffix(vm.Disks[0].Source, "old.vhd") {
		t.Errorf("got %+v", vm)
	}
}

// Two disks of one file name could not both lie in `Virtual Hard Disks`, where
// the configuration would take one for the other.
func TestRestoredDisksThatShareANameAreNeverMistaken(t *testing.T) {
	dir := t.TempDir()
	writeVHDX(t, filepath.Join(dir, "a", "x", "disk.vhdx"), disktest.Sparse(1, 2*mib, 2), 1, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "b", "y", "disk.vhdx"), disktest.Sparse(2, 2*mib, 2), 2, 1, nil, nil)
	writeVMCX(t, filepath.Join(dir, upper(1)+".vmcx"), config("VM", guid(1), `D:\a\x\disk.vhdx`, `D:\b\y\disk.vhdx`))
	to := restored(t, dir, backup.RestoreOptions{})
	var disks int
	for _, vm := range list(t, open(t, to)) {
		if vm.Name == "VM" && len(vm.Disks) > 0 {
			t.Errorf("took %v for the disks of the machine", vm.Disks)
		}
		disks += len(vm.Disks)
	}
	if disks != 2 {
		t.Errorf("%d disks, want 2", disks)
	}
}

func TestUnfinishedRestoresAreNoMachines(t *testing.T) {
	dir := t.TempDir()
	export(t, filepath.Join(dir, "SQL01"))
	export(t, filepath.Join(dir, ".vitrine-restore-123"))
	if _, vm := one(t, dir); len(vm.Problems) > 0 {
		t.Errorf("problems: %v", vm.Problems)
	}
}
