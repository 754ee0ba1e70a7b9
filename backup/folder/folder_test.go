package folder_test

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vitrine/backup"
	"vitrine/backup/folder"
	"vitrine/backup/hosttest"
	"vitrine/backup/vmconfig"
	"vitrine/backup/vmconfig/vmconfigtest"
	"vitrine/fs/disk/disktest"
	"vitrine/repo"
)

func TestExportedMachineIsAHost(t *testing.T) {
	hosttest.Run(t, func(t *testing.T) hosttest.Fixture {
		dir := t.TempDir()
		disks := export(t, dir)
		return hosttest.Fixture{
			Host: open(t, dir), VM: "SQL01", Method: backup.MethodFolder, Disks: disks, Checkpoints: 2,
			Files: []string{upper(1) + ".vmcx", upper(1) + ".VMRS", upper(1) + ".vmgs", upper(1) + "/" + upper(1) + ".bin"},
			Change: func(t *testing.T) {
				poke(t, filepath.Join(dir, "Virtual Hard Disks", "os.vhdx"), 4*mib)
			},
		}
	})
}

func TestBareDiskIsAHost(t *testing.T) {
	hosttest.Run(t, func(t *testing.T) hosttest.Fixture {
		dir := t.TempDir()
		b := disktest.Sparse(1, 3*mib, 2)
		write(t, filepath.Join(dir, "web.img"), b)
		write(t, filepath.Join(dir, "other.raw"), b)
		return hosttest.Fixture{
			Host: open(t, dir), VM: "web", Method: backup.MethodFolder, Disks: [][]byte{b},
			Change: func(t *testing.T) { poke(t, filepath.Join(dir, "web.img"), 2*mib) },
		}
	})
}

// poke changes one byte of a file.
func poke(t *testing.T, name string, off int64) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	b[0]++
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpointsShowTheDisksOfTheirTime(t *testing.T) {
	dir := t.TempDir()
	now := export(t, dir)
	h, vm := one(t, dir)
	c := snapshot(t, h, vm).Contents()
	if len(c.Warnings) != 0 {
		t.Errorf("warnings: %v", c.Warnings)
	}
	before, after := c.Checkpoints[0], c.Checkpoints[1]
	if before.Name != "before update" || after.Name != "after update" || before.ID != guid(10) || before.Parent != "" || after.Parent != guid(10) {
		t.Errorf("got %s %q after %q, then %s %q after %q", before.ID, before.Name, before.Parent, after.ID, after.Name, after.Parent)
	}
	first := disktest.Sparse(1, 8*mib, 3)
	if !bytes.Equal(content(t, before.Disks[0]), first) {
		t.Error("the first checkpoint shows something else than the parent")
	}
	second := bytes.Clone(first)
	disktest.Fill(second[2*mib:4*mib], 2)
	if !bytes.Equal(content(t, after.Disks[0]), second) {
		t.Error("the second checkpoint shows something else than its disk")
	}
	if !bytes.Equal(content(t, c.Disks[0]), now[0]) {
		t.Error("the machine shows something else than its disk")
	}
	// One disk through all its checkpoints: one name, one id.
	for _, d := range []backup.SourceDisk{before.Disks[0], after.Disks[0], c.Disks[0]} {
		if i := d.Info(); i.Name != "os.vhdx" || i.ID != c.Disks[0].Info().ID {
			t.Errorf("disk %q has id %q", i.Name, i.ID)
		}
	}
	if _, err := iofs.Stat(after.Files, upper(11)+".vmrs"); err != nil {
		t.Errorf("state of the checkpoint: %v", err)
	}
}

func TestDataFolderWithManyMachines(t *testing.T) {
	dir := t.TempDir()
	export(t, filepath.Join(dir, "Exports", "SQL01"))
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "virtual hard disks", "WEB.VHDX"), b, 20, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "virtual hard disks", "dc.vhdx"), b, 21, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "loose", "golden.vhdx"), b, 22, 1, nil, nil)
	web := config("web", guid(3), `C:\Hyper-V\Virtual Hard Disks\web.vhdx`)
	writeVMCX(t, filepath.Join(dir, "virtual machines", upper(3)+".VMCX"), web)
	write(t, filepath.Join(dir, "virtual machines", upper(4)+".xml"),
		vmconfigtest.XML(vmconfigtest.Tree(config("dc", guid(4), `C:\Hyper-V\Virtual Hard Disks\dc.vhdx`))))
	writeVMCX(t, filepath.Join(dir, "Virtual Machines Cache", upper(3)+".vmcx"), web)
	write(t, filepath.Join(dir, "notes.xml"), []byte("<notes/>"))

	var got []string
	for _, vm := range list(t, open(t, dir)) {
		got = append(got, vm.Name+" "+string(vm.ID[len(vm.ID)-4:]))
		if len(vm.Problems) > 0 {
			t.Errorf("%s: %v", vm.Name, vm.Problems)
		}
	}
	want := []string{"dc 0004", "golden 1616", "SQL01 0001", "web 0003"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestOneMachineByItsFiles(t *testing.T) {
	dir := t.TempDir()
	disks := export(t, dir)
	for name, want := range map[string]string{
		".":                                      "SQL01",
		"Virtual Machines":                       "SQL01",
		"Virtual Machines/" + upper(1) + ".vmcx": "SQL01",
		"Virtual Hard Disks/data.vhdx":           "data",
		"Virtual Hard Disks/os_" + upper(0xa2)[0:36] + ".avhdx": "os_" + upper(0xa2),
	} {
		h, vm := one(t, filepath.Join(dir, name))
		if vm.Name != want {
			t.Errorf("%s: got %q, want %q", name, vm.Name, want)
		}
		c := snapshot(t, h, vm).Contents()
		i := 0
		if want == "data" {
			i = 1
		}
		if !bytes.Equal(content(t, c.Disks[0]), disks[i]) {
			t.Errorf("%s: other content than expected", name)
		}
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.txt"), nil)
	_, err := folder.Open(filepath.Join(dir, "a.txt"))
	if _, ok := errors.AsType[*folder.FormatError](err); !ok {
		t.Errorf("got %v, want a FormatError", err)
	}
	if _, err := folder.Open(filepath.Join(dir, "none")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("got %v, want %v", err, iofs.ErrNotExist)
	}
}

// codes are the codes of warnings, sorted.
func codes(list []repo.Warning) string {
	var s []string
	for _, w := range list {
		s = append(s, w.Code)
	}
	slices.Sort(s)
	return strings.Join(s, " ")
}

func TestWhatCannotBeReadIsNamed(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 4*mib, 2)
	disks := filepath.Join(dir, "Virtual Hard Disks")
	writeVHDX(t, filepath.Join(disks, "ok.vhdx"), b, 1, 1, nil, nil)
	writeVHDX(t, filepath.Join(disks, "shared.vhdx"), b, 2, 1, nil, nil)
	writeVHDX(t, filepath.Join(disks, "orphan.avhdx"), b, 3, 2, child(3, 1, "gone.vhdx"), nil)
	writeVHDX(t, filepath.Join(disks, "base.vhdx"), b, 4, 9, nil, nil) // changed since the child was made
	writeVHDX(t, filepath.Join(disks, "wrong.avhdx"), b, 4, 2, child(4, 1, "base.vhdx"), nil)
	write(t, filepath.Join(disks, "damaged.vhdx"), []byte("vhdxfile and nothing more"))
	write(t, filepath.Join(disks, "set.vhds"), make([]byte, 4096))
	if err := os.Symlink("/etc/passwd", filepath.Join(disks, "link.vhdx")); err != nil {
		t.Logf("no links here: %v", err)
		write(t, filepath.Join(disks, "link.vhdx"), nil)
	}
	c := config("VM", guid(1), `D:\ok.vhdx`, `D:\orphan.avhdx`, `D:\wrong.avhdx`, `D:\damaged.vhdx`, `D:\absent.vhdx`,
		`D:\set.vhds`, `\\server\share\..\link.vhdx`, `D:\shared.vhdx`, `\\.\PHYSICALDRIVE3`, `D:\disk.vmdk`)
	c.Disks[5].Kind = vmconfig.KindShared
	c.Disks[7].Kind = vmconfig.KindShared
	c.Disks[8].Kind = vmconfig.KindPassThrough
	writeVMCX(t, filepath.Join(dir, "Virtual Machines", upper(1)+".vmcx"), c)

	h := open(t, dir)
	vms := list(t, h)
	vm := vms[slices.IndexFunc(vms, func(vm backup.VM) bool { return vm.Name == "VM" })]
	s := snapshot(t, h, vm)
	got := s.Contents()
	want := "disk-absent disk-absent disk-absent disk-damaged disk-pass-through disk-shared disk-vhd-set parent-missing parent-wrong"
	if codes(got.Warnings) != want {
		t.Errorf("got %s\nwant %s\n%v", codes(got.Warnings), want, got.Warnings)
	}
	if codes(vm.Problems) != want {
		t.Errorf("listed with %s\nwant %s", codes(vm.Problems), want)
	}
	for _, w := range got.Warnings {
		if !strings.Contains(w.Text, "SCSI 0:") {
			t.Errorf("%q does not say which disk", w.Text)
		}
	}
	if n := len(got.Disks); n != 2 {
		t.Errorf("got %d disks, want the two that can be read", n)
	}
	for _, name := range []string{"gone.vhdx", "base.vhdx", "absent.vhdx"} {
		if !slices.ContainsFunc(got.Warnings, func(w repo.Warning) bool { return strings.Contains(w.Text, name) }) {
			t.Errorf("no warning names %s", name)
		}
	}
}

func TestMachineWithoutAnyReadableDiskIsRefused(t *testing.T) {
	dir := t.TempDir()
	writeVMCX(t, filepath.Join(dir, upper(1)+".vmcx"), config("VM", guid(1), `D:\a.vhdx`, `D:\b.vhdx`))
	h, vm := one(t, dir)
	_, err := h.Snapshot(t.Context(), vm, backup.MethodFolder)
	e, ok := errors.AsType[*backup.PreflightError](err)
	if !ok || len(e.Unmet) != 2 || e.Hint() == "" {
		t.Errorf("got %v, want a PreflightError with two conditions", err)
	}
}

func TestDamagedConfigurationLeavesItsDisksAsMachines(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 4*mib, 2)
	writeVHDX(t, filepath.Join(dir, "os.vhdx"), b, 1, 1, nil, nil)
	vmcx := vmconfigtest.VMCX(vmconfigtest.Tree(config("VM", guid(1), `D:\os.vhdx`)))
	write(t, filepath.Join(dir, upper(1)+".vmcx"), vmcx[:5000])
	h := open(t, dir)
	vms := list(t, h)
	if len(vms) != 2 || string(vms[0].ID) != guid(1) || codes(vms[0].Problems) != "configuration-damaged" || vms[1].Name != "os" {
		t.Fatalf("got %+v", vms)
	}
	if err := h.Check(t.Context(), vms[0], backup.MethodFolder); err == nil {
		t.Error("a machine without a readable configuration can be backed up")
	}
}

func TestIdentityDoesNotDependOnThePlace(t *testing.T) {
	var ids [2]repo.MachineID
	var disks [2]string
	for i := range ids {
		dir := filepath.Join(t.TempDir(), "renamed", strings.Repeat("x", i+1))
		export(t, dir)
		h, vm := one(t, dir)
		ids[i] = vm.ID
		disks[i] = snapshot(t, h, vm).Contents().Disks[0].Info().ID
	}
	if ids[0] != ids[1] || disks[0] != disks[1] {
		t.Errorf("got ids %v, disks %v", ids, disks)
	}
}

func TestBareDisksAreKnownByTheirDiskID(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 4*mib, 2)
	writeVHDX(t, filepath.Join(dir, "a.vhdx"), b, 7, 1, nil, nil)
	_, before := one(t, dir)
	if err := os.Rename(filepath.Join(dir, "a.vhdx"), filepath.Join(dir, "b.vhdx")); err != nil {
		t.Fatal(err)
	}
	_, after := one(t, dir)
	if before.ID != after.ID || after.Name != "b" {
		t.Errorf("got %s, then %s %q", before.ID, after.ID, after.Name)
	}
	write(t, filepath.Join(dir, "c.raw"), b)
	c := list(t, open(t, dir))[1]
	if err := os.Rename(filepath.Join(dir, "c.raw"), filepath.Join(dir, "d.raw")); err != nil {
		t.Fatal(err)
	}
	if d := list(t, open(t, dir))[1]; c.ID == d.ID {
		t.Error("two raw disks in two places have one id")
	}
}

func TestLinkedClonesAreMachinesOfTheirOwn(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 4*mib, 2)
	c := bytes.Clone(b)
	disktest.Fill(c[:2*mib], 10)
	writeVHDX(t, filepath.Join(dir, "golden.vhdx"), b, 7, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "x.vhdx"), c, 7, 2, child(7, 1, "golden.vhdx"), b)
	writeVHDX(t, filepath.Join(dir, "y.vhdx"), b, 7, 3, child(7, 1, "golden.vhdx"), b)
	vms := list(t, open(t, dir))
	if len(vms) != 2 || vms[0].Name != "x" || vms[1].Name != "y" || vms[0].ID == vms[1].ID {
		t.Fatalf("got %+v, want x and y", vms)
	}
}

func TestCollisionsAreReported(t *testing.T) {
	dir := t.TempDir()
	export(t, filepath.Join(dir, "monday"))
	export(t, filepath.Join(dir, "tuesday"))
	h := open(t, dir)
	vms := list(t, h)
	if len(vms) != 2 || vms[0].Source == vms[1].Source {
		t.Fatalf("got %+v", vms)
	}
	for _, vm := range vms {
		if codes(vm.Problems) != "id-collision" {
			t.Errorf("%s: got %v", vm.Source, vm.Problems)
		}
		c := snapshot(t, h, vm).Contents()
		if codes(c.Warnings) != "id-collision" {
			t.Errorf("%s: got %v", vm.Source, c.Warnings)
		}
		if day := filepath.Base(filepath.Dir(filepath.Dir(vm.Source))); !strings.Contains(c.Disks[0].Info().Source, day) {
			t.Errorf("machine of %s has the disk %s", day, c.Disks[0].Info().Source)
		}
	}
}

func TestDiskOfAnotherMachineIsNeverTaken(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 4*mib, 2)
	writeVHDX(t, filepath.Join(dir, "A", "Virtual Hard Disks", "disk.vhdx"), b, 7, 1, nil, nil)
	writeVMCX(t, filepath.Join(dir, "A", "Virtual Machines", upper(1)+".vmcx"), config("A", guid(1), `D:\VMs\A\Virtual Hard Disks\disk.vhdx`))
	writeVMCX(t, filepath.Join(dir, "B", "Virtual Machines", upper(2)+".vmcx"), config("B", guid(2), `D:\VMs\B\Virtual Hard Disks\disk.vhdx`))
	vms := list(t, open(t, dir))
	if len(vms) != 2 || len(vms[0].Disks) != 1 || len(vms[1].Disks) != 0 || codes(vms[1].Problems) != "disk-absent" {
		t.Errorf("got %+v", vms)
	}
}

func TestFormatIsNeverGuessedFromTheContent(t *testing.T) {
	dir := t.TempDir()
	inner := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(t.TempDir(), "x.vhdx"), inner, 7, 1, nil, nil)
	b := make([]byte, 4*mib)
	copy(b, "vhdxfile")
	copy(b[len(b)-512:], "conectix")
	write(t, filepath.Join(dir, "guest.raw"), b)
	h, vm := one(t, dir)
	d := snapshot(t, h, vm).Contents().Disks[0]
	if d.Info().Format != "raw" || !bytes.Equal(content(t, d), b) {
		t.Errorf("a raw disk reads as %s", d.Info().Format)
	}
}

func TestDisksBelowTheFolderOfTheDriveAreFound(t *testing.T) {
	dir := t.TempDir() // a copy of drive E:
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "Disks", "fast", "a.vhdx"), b, 7, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "other", "a.vhdx"), b, 8, 1, nil, nil)
	writeVMCX(t, filepath.Join(dir, "vm", "Virtual Machines", upper(1)+".vmcx"), config("VM", guid(1), `E:\disks\FAST\a.vhdx`))
	vms := list(t, open(t, dir))
	if len(vms) != 2 || len(vms[1].Disks) != 1 || !strings.Contains(vms[1].Disks[0].Source, "fast") {
		t.Errorf("got %+v", vms)
	}
}

func TestChangesOfEveryKindAreFound(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, dir string){
		"a parent": func(t *testing.T, dir string) { poke(t, filepath.Join(dir, "Virtual Hard Disks", "os.vhdx"), 3*mib) },
		"a parent, time set back": func(t *testing.T, dir string) {
			name := filepath.Join(dir, "Virtual Hard Disks", "os.vhdx")
			info, err := os.Stat(name)
			if err != nil {
				t.Fatal(err)
			}
			poke(t, name, 64<<10+8) // the sequence number of the header
			if err := os.Chtimes(name, info.ModTime(), info.ModTime()); err != nil {
				t.Fatal(err)
			}
		},
		"a configuration": func(t *testing.T, dir string) { poke(t, filepath.Join(dir, "Virtual Machines", upper(1)+".vmgs"), 3) },
		"a disk replaced": func(t *testing.T, dir string) {
			name := filepath.Join(dir, "Virtual Hard Disks", "data.vhdx")
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name+".new", b)
			if err := os.Rename(name+".new", name); err != nil {
				t.Fatal(err)
			}
		},
		"a disk grown": func(t *testing.T, dir string) {
			if err := os.Truncate(filepath.Join(dir, "Virtual Hard Disks", "data.vhdx"), 64*mib); err != nil {
				t.Fatal(err)
			}
		},
		"a checkpoint deleted": func(t *testing.T, dir string) {
			if err := os.Remove(filepath.Join(dir, "Snapshots", upper(10)+".vmcx")); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			export(t, dir)
			h, vm := one(t, dir)
			s := snapshot(t, h, vm)
			if err := s.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			change(t, dir)
			err := s.Verify(t.Context())
			if !errors.Is(err, backup.ErrSourceChanged) {
				t.Errorf("got %v, want %v", err, backup.ErrSourceChanged)
			}
			if name == "a disk replaced" && !strings.Contains(err.Error(), "took its place") {
				t.Errorf("got %q, which does not say that another file took its place", err)
			}
		})
	}
}

// A machine that got a checkpoint between listing and snapshot is taken as it
// is then.
func TestSnapshotSeesWhatChangedSinceTheListing(t *testing.T) {
	dir := t.TempDir()
	export(t, dir)
	h, vm := one(t, dir)
	c := config("SQL01", guid(1), `D:\data.vhdx`)
	writeVMCX(t, filepath.Join(dir, "Virtual Machines", upper(1)+".vmcx"), c)
	if got := snapshot(t, h, vm).Contents(); len(got.Disks) != 1 {
		t.Errorf("got %d disks, want 1", len(got.Disks))
	}
}

func TestFoldersThatAreTooDeepAreRefused(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, strings.Repeat("d/", 20), "a.raw"), []byte("x"))
	_, err := open(t, dir).VMs(t.Context())
	if _, ok := errors.AsType[*folder.TooLargeError](err); !ok {
		t.Errorf("got %v, want a TooLargeError", err)
	}
}

func TestSourcesAreNotWritten(t *testing.T) {
	dir := t.TempDir()
	export(t, dir)
	before := digest(t, dir)
	h, vm := one(t, dir)
	s := snapshot(t, h, vm)
	for _, d := range s.Contents().Disks {
		content(t, d)
	}
	if err := s.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := digest(t, dir); after != before {
		t.Error("the folder is not what it was")
	}
}

// digest writes down names, times and content of all files.
func digest(t *testing.T, dir string) string {
	t.Helper()
	var s strings.Builder
	err := filepath.WalkDir(dir, func(name string, e iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		s.WriteString(name + info.ModTime().String() + info.Mode().String())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(name)
			s.Write(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.String()
}
