package folder_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vitrine/backup"
	"vitrine/fs/disk/disktest"
)

func TestTwoDisksWithOneIDAreToldApartByTheirPlace(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "a.vhdx"), b, 7, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "b.vhdx"), b, 7, 2, nil, nil)
	writeVMCX(t, filepath.Join(dir, upper(1)+".vmcx"), config("VM", guid(1), `D:\a.vhdx`, `D:\b.vhdx`))
	h, vm := one(t, dir)
	var got []string
	for _, d := range snapshot(t, h, vm).Contents().Disks {
		_, place, _ := strings.Cut(d.Info().ID, "@")
		got = append(got, place)
	}
	if want := []string{"SCSI 0:0", "SCSI 0:1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDisksElsewhereInAHomeAreFoundOnlyWhenItIsNotShared(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "odd", "place", "a.vhdx"), b, 7, 1, nil, nil)
	writeVMCX(t, filepath.Join(dir, "Virtual Machines", upper(1)+".vmcx"), config("A", guid(1), `D:\x\a.vhdx`))
	if _, vm := one(t, dir); len(vm.Disks) != 1 {
		t.Errorf("alone: got %+v", vm)
	}
	writeVMCX(t, filepath.Join(dir, "odd", upper(2)+".vmcx"), config("B", guid(2)))
	if vms := list(t, open(t, dir)); len(vms[0].Disks) != 0 || codes(vms[0].Problems) != "disk-absent" {
		t.Errorf("with another machine: got %+v", vms[0])
	}
}

func TestEndlessChainsAreRefused(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "a.avhdx"), b, 7, 1, child(7, 2, "b.avhdx"), nil)
	writeVHDX(t, filepath.Join(dir, "b.avhdx"), b, 7, 2, child(7, 1, "a.avhdx"), nil)
	writeVMCX(t, filepath.Join(dir, upper(1)+".vmcx"), config("VM", guid(1), `D:\a.avhdx`))
	vms := list(t, open(t, dir))
	i := slices.IndexFunc(vms, func(vm backup.VM) bool { return vm.Name == "VM" })
	if codes(vms[i].Problems) != "disk-damaged" {
		t.Errorf("got %+v", vms[i].Problems)
	}
}

func TestLongChainsAreRefused(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "0.vhdx"), b, 7, 0, nil, nil)
	parent := "0.vhdx"
	for i := range 51 {
		name := fmt.Sprintf("%d.avhdx", i+1)
		writeVHDX(t, filepath.Join(dir, name), b, 7, byte(i+1), child(7, byte(i), parent), b)
		parent = name
	}
	for name, want := range map[string]string{"50.avhdx": "", "51.avhdx": "chain-too-long"} {
		_, vm := one(t, filepath.Join(dir, name))
		if codes(vm.Problems) != want {
			t.Errorf("%s: got %v, want %q", name, vm.Problems, want)
		}
	}
}

func TestParentsAreKnownByTheirIdentityNotTheirName(t *testing.T) {
	dir := t.TempDir()
	b := disktest.Sparse(9, 2*mib, 2)
	writeVHDX(t, filepath.Join(dir, "renamed.vhdx"), b, 7, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "x", "base.vhdx"), disktest.Sparse(8, 2*mib, 2), 8, 1, nil, nil)
	writeVHDX(t, filepath.Join(dir, "leaf.avhdx"), b, 7, 2, child(7, 1, "base.vhdx"), b)
	vms := list(t, open(t, dir))
	h := open(t, dir)
	i := slices.IndexFunc(vms, func(vm backup.VM) bool { return vm.Name == "leaf" })
	if len(vms) != 2 || i < 0 {
		t.Fatalf("got %+v", vms)
	}
	if got := content(t, snapshot(t, h, vms[i]).Contents().Disks[0]); !bytes.Equal(got, b) {
		t.Error("the wrong parent was taken")
	}
}

func TestRealChainsOfVHDMergeAndWrongParentsAreRefused(t *testing.T) {
	leaf, right := disktest.File(t, "dfvfs/chain/image-differential.vhd"), disktest.File(t, "dfvfs/chain/image.vhd")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "image-differential.vhd"), leaf)
	write(t, filepath.Join(dir, "image.vhd"), right)
	h, vm := one(t, dir)
	sum := sha256.Sum256(content(t, snapshot(t, h, vm).Contents().Disks[0]))
	if got, want := hex.EncodeToString(sum[:]), "c6db12a7db548e193c29420c1b4533e4708b20c5033db5cc29ef075d48316d25"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	dir = t.TempDir()
	write(t, filepath.Join(dir, "image-differential.vhd"), disktest.File(t, "dfvfs/image-differential.vhd"))
	write(t, filepath.Join(dir, "image.vhd"), disktest.File(t, "dfvfs/image.vhd"))
	for _, vm := range list(t, open(t, dir)) {
		if vm.Name == "image-differential" && codes(vm.Problems) != "parent-wrong" {
			t.Errorf("got %v", vm.Problems)
		}
	}
}

func TestRealMachineWithItsDisk(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "Virtual Machines", "EC04F346-DB96-4700-AF5B-77B3C56C38BD.vmcx"),
		disktest.File(t, "dissect.target/EC04F346-DB96-4700-AF5B-77B3C56C38BD.vmcx"))
	write(t, filepath.Join(dir, "data.vmcx"), disktest.File(t, "dissect.target/child-hyperv-data.vmcx"))
	write(t, filepath.Join(dir, "Virtual Hard Disks", "Default Generation 1.vhdx"), disktest.File(t, "dissect.hypervisor/dynamic.vhdx.gz"))
	h, vm := one(t, dir)
	if vm.Name != "Default Generation 1" || vm.ID != "ec04f346-db96-4700-af5b-77b3c56c38bd" || vm.Version != "9.0" || vm.Generation != 1 {
		t.Errorf("got %+v", vm)
	}
	d := snapshot(t, h, vm).Contents().Disks[0]
	sum := sha256.Sum256(content(t, d))
	if got, want := hex.EncodeToString(sum[:]), "8e2b5e9265d694b42b81819e3bff29770eff4ed0f4f9f311693ff3dbdc93efac"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if i := d.Info(); i.BlockSize != 32*mib || i.PhysicalSector != 4096 || i.DiskID != "788015f0-5e93-4bd2-a5de-b0cd8459db11" {
		t.Errorf("got %+v", i)
	}
}
