package vhdx_test

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

// tool returns a runner of an independent program that knows VHDX.
func tool(t *testing.T, name, from string) func(t *testing.T, args ...string) []byte {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s (from %s) as an independent judge", name, from)
	}
	return func(t *testing.T, args ...string) []byte {
		t.Helper()
		cmd := exec.Command(name, args...)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s%s", name, args, err, out, stderr.Bytes())
		}
		return out
	}
}

// saved writes what is presented, with holes, to a temporary file.
func saved(t *testing.T, f *vhdx.File, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	err = disk.ReadExtents(t.Context(), f, make([]byte, mib), func(p []byte, off int64) error {
		_, err := out.WriteAt(p, off)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := out.Truncate(f.Size()); err != nil {
		t.Fatal(err)
	}
	return path
}

// presentedContents are disks of which other programs judge the files.
func presentedContents() map[string]struct {
	content []byte
	block   int64
} {
	type c = struct {
		content []byte
		block   int64
	}
	return map[string]c{
		"empty":                {make([]byte, 5*mib), mib},
		"full":                 {disktest.Random(1, 9*mib), 2 * mib},
		"sparse":               {disktest.Sparse(2, 100*mib+1024, 3000), mib},
		"block over disk":      {disktest.Sparse(3, 10*mib, 20), 32 * mib},
		"odd sector with data": {append(make([]byte, 70*mib), disktest.Random(4, 512)...), 2 * mib},
	}
}

func TestQEMUReadsPresentedFiles(t *testing.T) {
	qemu := tool(t, "qemu-img", "qemu-utils")
	for name, c := range presentedContents() {
		t.Run(name, func(t *testing.T) {
			path := saved(t, present(t, disktest.Memory(c.content), identity(c.block)), "p.vhdx")
			qemu(t, "check", "-f", "vhdx", path)
			raw := filepath.Join(t.TempDir(), "raw")
			if err := os.WriteFile(raw, c.content, 0o666); err != nil {
				t.Fatal(err)
			}
			qemu(t, "compare", "-f", "vhdx", "-F", "raw", path, raw)
		})
	}
}

func Test7ZipReadsPresentedFiles(t *testing.T) {
	sevenZip := tool(t, "7z", "7zip")
	for name, c := range presentedContents() {
		for _, sector := range []int{512, 4096} {
			if len(c.content)%max(sector, 1024) != 0 {
				continue // 7-Zip refuses an odd number of sectors, QEMU and libvhdi do not
			}
			t.Run(fmt.Sprint(name, sector), func(t *testing.T) {
				id := identity(c.block)
				id.LogicalSector = sector
				path := saved(t, present(t, disktest.Memory(c.content), id), "p.vhdx")
				sevenZip(t, "t", "-tvhdx", path)
				sameBytes(t, sevenZip(t, "e", "-so", "-tvhdx", path), c.content)
			})
		}
	}
}

func TestLibvhdiReadsPresentedFiles(t *testing.T) {
	info := tool(t, "vhdiinfo", "libvhdi-utils")
	mount := tool(t, "vhdimount", "libvhdi-utils")
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("needs /dev/fuse for vhdimount")
	}
	for name, c := range presentedContents() {
		t.Run(name, func(t *testing.T) {
			path := saved(t, present(t, disktest.Memory(c.content), identity(c.block)), "p.vhdx")
			if out := string(info(t, path)); !strings.Contains(out, vhdxtest.ID(3).String()) {
				t.Errorf("vhdiinfo does not show the data write id:\n%s", out)
			}
			dir := t.TempDir()
			mount(t, path, dir)
			defer exec.Command("fusermount", "-u", dir).Run()
			got, err := os.ReadFile(filepath.Join(dir, "vhdi1"))
			if err != nil {
				t.Fatal(err)
			}
			sameBytes(t, got, c.content)
		})
	}
}

func Test7ZipReadsChainsTheSame(t *testing.T) {
	sevenZip := tool(t, "7z", "7zip")
	base := vhdxtest.Spec{Size: 20 * mib, BlockSize: mib, DataWriteID: vhdxtest.ID(40), Blocks: map[int64]vhdxtest.Block{}}
	for b := range int64(20) {
		base.Blocks[b] = vhdxtest.Block{State: vhdxtest.Present, Data: disktest.Random(uint64(b), mib)}
	}
	child := vhdxtest.Spec{
		Size: 20 * mib, BlockSize: 2 * mib, DataWriteID: vhdxtest.ID(41),
		Parent: &vhdx.Parent{Linkage: vhdxtest.ID(40), RelativePath: `.\base.vhdx`, AbsolutePath: `C:\vm\base.vhdx`},
		Blocks: map[int64]vhdxtest.Block{
			1: {State: vhdxtest.Zero},
			3: {State: vhdxtest.Present, Data: disktest.Random(100, 2*mib)},
			4: {State: vhdxtest.Partial, Data: disktest.Random(101, 2*mib), Sectors: []int64{0, 1, 2, 77, 1000, 1001, 4095}},
		},
		Order: []int64{4, 3},
	}
	dir := t.TempDir()
	files := map[string]*vhdxtest.File{"base.vhdx": vhdxtest.Build(base), "child.avhdx": vhdxtest.Build(child)}
	for name, f := range files {
		if err := f.Save(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := vhdx.Chain(mustOpen(t, files["child.avhdx"]), mustOpen(t, files["base.vhdx"]))
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, sevenZip(t, "e", "-so", "-tvhdx", filepath.Join(dir, "child.avhdx")), readAll(t, d))
}

func TestFilesThatQEMUWroteReadTheSame(t *testing.T) {
	qemu := tool(t, "qemu-img", "qemu-utils")
	qemuIO := tool(t, "qemu-io", "qemu-utils")
	content := disktest.Sparse(9, 70*mib+512, 200)
	for _, options := range []string{
		"subformat=dynamic,block_size=1048576", "subformat=dynamic,block_size=8388608,log_size=4194304",
		"subformat=dynamic,block_size=33554432,block_state_zero=off", "subformat=fixed,block_size=2097152",
	} {
		t.Run(options, func(t *testing.T) {
			dir := t.TempDir()
			raw, path := filepath.Join(dir, "raw"), filepath.Join(dir, "q.vhdx")
			if err := os.WriteFile(raw, content, 0o666); err != nil {
				t.Fatal(err)
			}
			qemu(t, "convert", "-f", "raw", "-O", "vhdx", "-o", options, raw, path)
			qemuIO(t, "-f", "vhdx", "-c", "write -P 0x5a 1536k 3M", "-c", "write -z 20M 9M", "-c", "write -P 0x33 60M 4k", path)
			qemu(t, "convert", "-f", "vhdx", "-O", "raw", path, raw)

			want, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			size, err := file.Seek(0, io.SeekEnd)
			if err != nil {
				t.Fatal(err)
			}
			im, err := vhdx.Open(file, size)
			if err != nil {
				t.Fatal(err)
			}
			sameBytes(t, readAll(t, im), want)
			if contentSum(t, im) != dataSum(t, im) {
				t.Error("NextData leaves data out")
			}
		})
	}
}

func TestQEMUReplaysLogsTheSame(t *testing.T) {
	qemu := tool(t, "qemu-img", "qemu-utils")
	blocks := map[int64]vhdxtest.Block{}
	for b := range int64(8) {
		blocks[b] = vhdxtest.Block{State: vhdxtest.Present, Data: disktest.Random(uint64(b), mib)}
	}
	clean := vhdxtest.Build(vhdxtest.Spec{Size: 12 * mib, BlockSize: mib, Blocks: blocks})
	want := readAll(t, mustOpen(t, clean))
	// QEMU takes a whole entry behind the ring's end for a log of its own, so
	// only a part of the last entry may lie there.
	for name, at := range map[string]int64{"at the beginning": 0, "round the end": 0xF6000} {
		t.Run(name, func(t *testing.T) {
			f := clean.Clone()
			vhdxtest.MoveToLog(f, at, 2, vhdxtest.BATOff, vhdxtest.MetadataOff, vhdxtest.ItemsOff, vhdxtest.BATOff+4096, 5*mib, 6*mib, 7*mib)
			sameBytes(t, readAll(t, mustOpen(t, f)), want)
			dir := t.TempDir()
			path, raw := filepath.Join(dir, "q.vhdx"), filepath.Join(dir, "raw")
			if err := f.Save(path); err != nil {
				t.Fatal(err)
			}
			qemu(t, "check", "-r", "all", "-f", "vhdx", path)
			qemu(t, "convert", "-f", "vhdx", "-O", "raw", path, raw)
			got, err := os.ReadFile(raw)
			if err != nil {
				t.Fatal(err)
			}
			sameBytes(t, got, want)
		})
	}
}
