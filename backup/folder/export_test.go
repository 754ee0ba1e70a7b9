package folder_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vitrine/backup"
	"vitrine/backup/folder"
	"vitrine/backup/vmconfig"
	"vitrine/backup/vmconfig/vmconfigtest"
	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

const mib = 1 << 20

// guid returns a GUID that ends in n.
func guid(n int) string { return fmt.Sprintf("6a1b0c53-98a1-4c64-9f3f-%012x", n) }

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

// writeVHDX writes a disk with that content; blocks of zeros are not in the
// file. Of a differencing disk only the blocks that differ from below are.
// Disk and data write ids come from id, the latter from gen too.
func writeVHDX(t *testing.T, name string, content []byte, id, gen byte, parent *vhdx.Parent, below []byte) {
	t.Helper()
	s := vhdxtest.Spec{
		Size: int64(len(content)), DiskID: vhdxtest.ID(id), DataWriteID: dataID(id, gen), FileWriteID: vhdxtest.ID(200),
		Parent: parent, Blocks: make(map[int64]vhdxtest.Block),
	}
	if below == nil {
		below = make([]byte, len(content))
	}
	for off := 0; off < len(content); off += 2 * mib {
		b := content[off:min(off+2*mib, len(content))]
		if !bytes.Equal(b, below[off:off+len(b)]) {
			s.Blocks[int64(off/(2*mib))] = vhdxtest.Block{State: vhdxtest.Present, Data: b}
		}
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := vhdxtest.Build(s).Save(name); err != nil {
		t.Fatal(err)
	}
}

func dataID(id, gen byte) disk.GUID {
	g := vhdxtest.ID(id)
	g[15] = gen
	return g
}

// child describes a parent for the locator of its child.
func child(id, gen byte, name string) *vhdx.Parent {
	return &vhdx.Parent{Linkage: dataID(id, gen), RelativePath: `.\` + name, AbsolutePath: `\\?\D:\VMs\` + name}
}

func config(name, id string, disks ...string) vmconfig.Config {
	c := vmconfig.Config{ID: id, Name: name, Type: vmconfig.TypeMachine, Generation: 2, Version: "9.0", Created: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
	for i, p := range disks {
		c.Disks = append(c.Disks, vmconfig.Disk{Controller: vmconfig.SCSI, Location: i, Kind: vmconfig.KindVirtual, Path: p})
	}
	return c
}

func checkpoint(c vmconfig.Config, id, name string, created time.Time, disks ...string) vmconfig.Config {
	p := config(name, c.ID, disks...)
	p.Type, p.Created = vmconfig.TypeCheckpoint, created
	p.Checkpoint = &vmconfig.Checkpoint{ID: id}
	return p
}

func writeVMCX(t *testing.T, name string, c vmconfig.Config) {
	t.Helper()
	write(t, name, vmconfigtest.VMCX(vmconfigtest.Tree(c)))
}

// export writes an exported machine with two disks, the first with two
// checkpoints, and returns what the disks hold now.
func export(t *testing.T, dir string) [][]byte {
	t.Helper()
	const os0, os1, os2 = "os.vhdx", "os_6A1B0C53-98A1-4C64-9F3F-0000000000A1.avhdx", "os_6A1B0C53-98A1-4C64-9F3F-0000000000A2.avhdx"
	disks := filepath.Join(dir, "Virtual Hard Disks")
	first := disktest.Sparse(1, 8*mib, 3)
	second := bytes.Clone(first)
	disktest.Fill(second[2*mib:4*mib], 2)
	now := bytes.Clone(second)
	disktest.Fill(now[6*mib:], 3)
	writeVHDX(t, filepath.Join(disks, os0), first, 1, 1, nil, nil)
	writeVHDX(t, filepath.Join(disks, os1), second, 1, 2, child(1, 1, os0), first)
	writeVHDX(t, filepath.Join(disks, os2), now, 1, 3, child(1, 2, os1), second)
	data := disktest.Sparse(4, 4*mib, 2)
	writeVHDX(t, filepath.Join(disks, "data.vhdx"), data, 2, 1, nil, nil)
	write(t, filepath.Join(disks, "data.vhdx.rct"), []byte("tracking"))

	const host = `D:\VMs\SQL01\Virtual Hard Disks\`
	c := config("SQL01", guid(1), host+os2, host+"data.vhdx")
	c.Checkpoints.IDs = []string{guid(10), guid(11)}
	machines := filepath.Join(dir, "Virtual Machines")
	writeVMCX(t, filepath.Join(machines, upper(1)+".vmcx"), c)
	write(t, filepath.Join(machines, upper(1)+".VMRS"), []byte("runtime state"))
	write(t, filepath.Join(machines, upper(1)+".vmgs"), []byte("guest state"))
	write(t, filepath.Join(machines, upper(1), upper(1)+".bin"), []byte("memory"))
	write(t, filepath.Join(machines, upper(2)+".vmgs"), []byte("of another machine"))
	write(t, filepath.Join(machines, upper(1)+".mrt"), []byte("tracking"))
	snapshots := filepath.Join(dir, "Snapshots")
	writeVMCX(t, filepath.Join(snapshots, upper(10)+".vmcx"), checkpoint(c, guid(10), "before update", c.Created.Add(time.Hour), host+os0))
	writeVMCX(t, filepath.Join(snapshots, upper(11)+".vmcx"), checkpoint(c, guid(11), "after update", c.Created.Add(2*time.Hour), host+os1, host+"data.vhdx"))
	write(t, filepath.Join(snapshots, upper(11)+".vmrs"), []byte("state of the checkpoint"))
	return [][]byte{now, data}
}

// upper is guid as Windows names files.
func upper(n int) string { return fmt.Sprintf("6A1B0C53-98A1-4C64-9F3F-%012X", n) }

func open(t *testing.T, name string) backup.Host {
	t.Helper()
	h, err := folder.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func list(t *testing.T, h backup.Host) []backup.VM {
	t.Helper()
	vms, err := h.VMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return vms
}

// one returns the only machine of a folder.
func one(t *testing.T, name string) (backup.Host, backup.VM) {
	t.Helper()
	h := open(t, name)
	vms := list(t, h)
	if len(vms) != 1 {
		t.Fatalf("got %d machines, want 1: %+v", len(vms), vms)
	}
	return h, vms[0]
}

func snapshot(t *testing.T, h backup.Host, vm backup.VM) backup.Session {
	t.Helper()
	s, err := h.Snapshot(t.Context(), vm, backup.MethodFolder)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func content(t *testing.T, d disk.Disk) []byte {
	t.Helper()
	b := make([]byte, d.Size())
	if err := disk.ReadFull(t.Context(), d, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}
