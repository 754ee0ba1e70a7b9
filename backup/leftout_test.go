package backup_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"vitrine/backup"
	"vitrine/repo"
)

// swapHead is what stays of swap: the guest finds it by that.
const swapHead = 64 << 10

// newSwap makes a disk that is nothing but the swap of a Linux guest, full of
// what was in memory.
func newSwap(name string, n int) *fakeDisk {
	d := newDisk(name, n)
	noise(d.data, name)
	binary.LittleEndian.PutUint32(d.data[1024:], 1)
	binary.LittleEndian.PutUint32(d.data[1028:], uint32(n/4096-1))
	clear(d.data[1032:1036]) // bad pages
	clear(d.data[1052:1068]) // label
	copy(d.data[4086:], "SWAPSPACE2")
	return d
}

// without is what a restore point of a disk has when [from,to) is left out.
func without(d *fakeDisk, from, to int) []byte {
	b := bytes.Clone(d.data)
	clear(b[from:to])
	return b
}

func TestSwapIsLeftOutAndListed(t *testing.T) {
	r, _, _ := newRepo(t)
	d, older := newSwap("SQL01-swap.vhdx", 4<<20), newSwap("SQL01-swap.vhdx", 2<<20)
	vm := newVM(sqlID, "SQL01", newDisk("SQL01-os.vhdx", 3<<20), d)
	vm.contents.Checkpoints = []backup.SourceCheckpoint{{ID: "c1", Name: "before update", Disks: []backup.SourceDisk{older}}}
	m := mustRun(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{}).Machines[0]

	p, err := backup.Find(t.Context(), r, "SQL01")
	if err != nil {
		t.Fatal(err)
	}
	if len(p.LeftOut) != 2 || len(p.Kept) != 0 {
		t.Fatalf("left out %+v, kept %+v", p.LeftOut, p.Kept)
	}
	for i, want := range []repo.LeftOut{
		{Disk: "SQL01-swap", What: "swap", Bytes: 4<<20 - swapHead},
		{Disk: "checkpoints/before update/SQL01-swap", What: "swap", Bytes: 2<<20 - swapHead},
	} {
		got := p.LeftOut[i]
		if got.Volume == "" {
			t.Errorf("%+v names no volume", got)
		}
		if got.Volume = ""; got != want {
			t.Errorf("left out is %+v, want %+v", got, want)
		}
	}
	if s := m.Stats; s.LeftOut != 6<<20-2*swapHead || m.Disks[1].Stats.Read > 256<<10 {
		t.Errorf("stats %+v, swap %+v", s, m.Disks[1].Stats)
	}
	wantContent(t, r, p.Disks[0].Image, vm.contents.Disks[0].(*fakeDisk).data)
	wantContent(t, r, p.Disks[1].Image, without(d, swapHead, 4<<20))
	wantContent(t, r, p.Checkpoints[0].Disks[0].Image, without(older, swapHead, 2<<20))
	text, err := p.Describe()
	if err != nil || !bytes.Contains(text, []byte(`"what": "swap"`)) || !bytes.Contains(text, []byte(`"disk": "checkpoints/before update/SQL01-swap"`)) {
		t.Errorf("restore-point.json does not list it: %v\n%s", err, text)
	}
}

func TestKeepKeepsWhatItSays(t *testing.T) {
	for _, c := range []struct {
		keep backup.Keep
		swap bool
	}{
		{backup.Keep{}, false}, {backup.Keep{Free: true}, false}, {backup.Keep{NotShadowCopies: true}, false},
		{backup.Keep{Swap: true}, true}, {backup.Keep{Swap: true, Free: true}, true},
	} {
		r, _, _ := newRepo(t)
		d := newSwap("a.vhdx", 2<<20)
		p := mustRun(t, r, &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", d)}}, backup.Options{Keep: c.keep}).Machines[0].Point
		want := d.data
		if !c.swap {
			want = without(d, swapHead, 2<<20)
		}
		if left := len(p.LeftOut) > 0; left == c.swap || len(p.Kept) > 0 {
			t.Errorf("%+v: left out %+v, kept %+v", c.keep, p.LeftOut, p.Kept)
		}
		wantContent(t, r, p.Disks[0].Image, want)
	}
}

// TestSavedMemoryKeepsEverything: memory that goes on where it was knows its
// swap, and what it wants to write where.
func TestSavedMemoryKeepsEverything(t *testing.T) {
	for name, c := range map[string]struct {
		size int
		kept bool
	}{
		"Virtual Machines/a.vmrs": {2 << 20, true}, "Virtual Machines/b.vmrs": {50 << 10, false}, "Virtual Machines/a.VSV": {100, true},
		"Virtual Machines/a.bin": {100, true}, "Virtual Machines/a.vmcx": {2 << 20, false},
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			r, _, _ := newRepo(t)
			d, older := newSwap("a.vhdx", 2<<20), newSwap("a.vhdx", 1<<20)
			files := fstest.MapFS{name: {Data: make([]byte, c.size)}}
			of := map[string]*fakeDisk{"the machine": d, "the checkpoint": older}
			for whose := range of {
				vm := newVM(sqlID, "SQL01", d)
				cp := backup.SourceCheckpoint{ID: "c1", Name: "c", Disks: []backup.SourceDisk{older}}
				if whose == "the machine" {
					vm.contents.Files = files
				} else {
					cp.Files = files
				}
				vm.contents.Checkpoints = []backup.SourceCheckpoint{cp}
				p := mustRun(t, r, &fakeHost{[]*fakeVM{vm}}, backup.Options{}).Machines[0].Point
				images := map[string]repo.ImageRef{"the machine": p.Disks[0].Image, "the checkpoint": p.Checkpoints[0].Disks[0].Image}
				for other, disk := range of {
					want := without(disk, swapHead, len(disk.data))
					if c.kept && other == whose {
						want = disk.data
					}
					wantContent(t, r, images[other], want)
				}
				if kept := len(p.Kept) == 1 && strings.Contains(p.Kept[0].Why, "memory"); kept != c.kept || len(p.Kept) > 1 {
					t.Errorf("memory of %s: kept %+v", whose, p.Kept)
				}
			}
		})
	}
}

func TestABugInADecoderCostsNoBackup(t *testing.T) {
	r, _, _ := newRepo(t)
	// Behind good swap, so that something was planned when it breaks.
	swap, d := newSwap("swap.vhdx", 2<<20), newSwap("trap.vhdx", 2<<20)
	d.trap.Store(true)
	p := mustRun(t, r, &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", swap, d)}}, backup.Options{}).Machines[0].Point
	if len(p.LeftOut) != 0 || len(p.Kept) != 1 || !strings.Contains(p.Kept[0].Why, "a bug in a decoder") || p.Kept[0].What != "everything" {
		t.Errorf("left out %+v, kept %+v", p.LeftOut, p.Kept)
	}
	wantContent(t, r, p.Disks[0].Image, swap.data)
	wantContent(t, r, p.Disks[1].Image, d.data)
}

// TestFreeSpaceIsLeftOut also goes on from a base, by what the host tracks:
// clusters that the guest began to use count as changed.
func TestFreeSpaceIsLeftOut(t *testing.T) {
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		t.Skip("mke2fs is missing: install e2fsprogs")
	}
	dir := t.TempDir()
	put := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	content := make([]byte, 1<<20)
	noise(content, "content")
	put("first", content[:300_000])
	d := newDisk("a.vhdx", 8<<20)
	format := func() {
		t.Helper()
		noise(d.data, "garbage")
		name := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(name, d.data, 0o644); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", "-E", "nodiscard", "-d", dir, name).CombinedOutput()
		if err != nil {
			t.Fatalf("mke2fs: %v\n%s", err, out)
		}
		if d.data, err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	format()
	d.info.Tracking = "1"
	r, _, _ := newRepo(t)
	h := &fakeHost{[]*fakeVM{newVM(sqlID, "SQL01", d)}}
	first := mustRun(t, r, h, backup.Options{}).Machines[0]
	if len(first.Point.LeftOut) != 1 || first.Point.LeftOut[0].What != "free space" || first.Stats.LeftOut < 3<<20 || len(first.Point.Kept) != 0 {
		t.Fatalf("left out %+v, kept %+v", first.Point.LeftOut, first.Point.Kept)
	}

	before := bytes.Clone(d.data)
	put("second", content)
	format()
	d.info.Tracking, d.track = "2", map[string][][2]int64{"1": nil}
	// The host knows of all that changed but what the new file was written to.
	hidden := 0
	for off := 0; off < len(d.data); off += 4096 {
		now := d.data[off : off+4096]
		switch {
		case bytes.Equal(now, before[off:off+4096]):
		case bytes.Contains(content, now):
			hidden++
		default:
			d.track["1"] = append(d.track["1"], [2]int64{int64(off), int64(off) + 4096})
		}
	}
	second := mustRun(t, r, h, backup.Options{}).Machines[0]
	if second.Point.Read != backup.ReadIncremental || hidden < 200 {
		t.Fatalf("%s read, %d pages hidden: %+v", second.Point.Read, hidden, second.Disks)
	}
	img, err := r.OpenImage(t.Context(), second.Point.Disks[0].Image)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(d.data))
	if _, err := img.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for off := 0; off < len(got); off += 4096 {
		if want := d.data[off : off+4096]; !bytes.Equal(got[off:off+4096], want) && bytes.Contains(content, want) {
			t.Fatalf("what the new file has at %d is missing", off)
		}
	}
}
