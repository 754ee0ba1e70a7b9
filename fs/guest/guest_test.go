package guest_test

import (
	"bytes"
	"context"
	"errors"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/guest"
	"vitrine/fs/vhdx"
)

func openBytes(t *testing.T, images ...[]byte) *guest.Volumes {
	t.Helper()
	var disks []guest.Disk
	for i, b := range images {
		disks = append(disks, guest.Disk{Name: "disk" + string(rune('a'+i)), R: disktest.Memory(b)})
	}
	v, err := guest.Open(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func lvmImage(t *testing.T) []byte {
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is missing: install qemu-utils")
	}
	dir := t.TempDir()
	packed, raw := filepath.Join(dir, "lvm.qcow2"), filepath.Join(dir, "raw")
	if err := os.WriteFile(packed, disktest.File(t, "dfvfs/lvm.qcow2"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, "convert", "-O", "raw", packed, raw).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img: %v\n%s", err, out)
	}
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLogicalVolumes(t *testing.T) {
	b := lvmImage(t)
	v := openBytes(t, b)
	if len(v.List) != 1 || v.List[0].Folder != "test_logical_volume (ext2 test_volume_group-test_logical_volume)" || v.List[0].Why != "" {
		t.Fatalf("got %+v", v.List[0])
	}
	const name, want = "passwords.txt", "place,user,password"
	if got, err := iofs.ReadFile(v.List[0].FS(), name); err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("%s: %q, %v", name, got, err)
	}
	p, err := guest.LeftOut(t.Context(), []guest.Disk{{Name: "d", R: disktest.Memory(b)}}, guest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Left) != 1 || p.Disks[0].Bytes() < 1<<20 {
		t.Errorf("left out %v, kept %v", p.Left, p.Kept)
	}
	for start, end := range p.Disks[0].All() {
		if start < 1<<20 || end > 5<<20 {
			t.Errorf("[%d,%d) lies outside of the volume", start, end)
		}
		clear(b[start:end])
	}
	if got, err := iofs.ReadFile(openBytes(t, b).List[0].FS(), name); err != nil || !strings.HasPrefix(string(got), want) {
		t.Errorf("%s after leaving out: %q, %v", name, got, err)
	}
}

func TestWhatIsNotOpenedSaysWhy(t *testing.T) {
	for kind, c := range map[string]struct {
		at    int
		magic string
	}{
		"BitLocker": {3, "-FVE-FS-"}, "LUKS": {0, "LUKS\xba\xbe"}, "ReFS": {3, "ReFS\x00\x00\x00\x00"}, "btrfs": {65600, "_BHRfS_M"},
		"NTFS": {3, "NTFS    "}, "XFS": {0, "XFSB"},
	} {
		b := make([]byte, 1<<20)
		copy(b[c.at:], c.magic)
		v := openBytes(t, b)
		if len(v.List) != 1 || v.List[0].Why == "" || v.List[0].Type != kind || v.List[0].Folder != "diska ("+kind+")" {
			t.Errorf("%s: %+v", kind, v.List)
			continue
		}
		text, err := iofs.ReadFile(v.List[0].FS(), "README.txt")
		if err != nil || !strings.Contains(string(text), "attach the disk") && !strings.Contains(string(text), "cannot be read") {
			t.Errorf("%s: %q, %v", kind, text, err)
		}
		if err := fstest.TestFS(v.List[0].FS(), "README.txt"); err != nil {
			t.Error(err)
		}
		p, err := guest.LeftOut(t.Context(), []guest.Disk{{Name: "d", R: disktest.Memory(b)}}, guest.Options{})
		if err != nil || p.Disks[0].Count() != 0 {
			t.Errorf("%s: left out %v, %v", kind, p, err)
		}
	}
}

func TestNothingOnTheDisks(t *testing.T) {
	v := openBytes(t, make([]byte, 1<<20), nil)
	if len(v.List) != 0 {
		t.Errorf("got %v", v.List)
	}
	noise := openBytes(t, disktest.Random(1, 1<<20))
	if len(noise.List) != 1 || !strings.Contains(noise.List[0].Why, "no file system that is known") {
		t.Errorf("got %+v", noise.List)
	}
}

// broken is a disk that cannot be read.
type broken struct{ disk.Disk }

var errBroken = errors.New("the store is gone")

func (broken) ReadAt([]byte, int64) (int, error) { return 0, errBroken }

func TestAnUnreadableDiskLeavesTheOthersAlone(t *testing.T) {
	good := lvmImage(t)
	v, err := guest.Open(t.Context(), []guest.Disk{{Name: "bad", R: broken{disk.Zeros(1 << 20)}}, {Name: "good", R: disktest.Memory(good)}})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.List) != 2 || !strings.Contains(v.List[0].Why, errBroken.Error()) || v.List[1].Why != "" {
		t.Errorf("got %+v", v.List)
	}
}

func TestCancelling(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	disks := []guest.Disk{{Name: "d", R: disktest.Memory(lvmImage(t))}}
	v, err := guest.Open(ctx, disks)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := iofs.ReadDir(v.List[0].FS(), "."); err != nil {
		t.Errorf("volumes end with the context they were opened with: %v", err)
	}
	if _, err := guest.Open(ctx, disks); !errors.Is(err, context.Canceled) {
		t.Errorf("Open: %v", err)
	}
	if _, err := guest.LeftOut(ctx, disks, guest.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("LeftOut: %v", err)
	}
}

func TestFoldersAreUniqueAndSafe(t *testing.T) {
	bit := make([]byte, 1<<20)
	copy(bit[3:], "-FVE-FS-")
	names := []string{"CON", "a:b", "A:B", "", "x/y", "COM1.txt", strings.Repeat("é", 200), "..", "dot."}
	var disks []guest.Disk
	for _, n := range names {
		disks = append(disks, guest.Disk{Name: n, R: disktest.Memory(bit)})
	}
	v, err := guest.Open(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	var seen []string
	for _, one := range v.List {
		f := one.Folder
		low := strings.ToLower(f)
		if slices.Contains(seen, low) || strings.ContainsAny(f, `<>:"/\|?*`) || len(f) > 255 || !iofs.ValidPath(f) ||
			strings.HasSuffix(f, ".") || strings.HasSuffix(f, " ") || strings.HasPrefix(low, "con ") {
			t.Errorf("folder %q", f)
		}
		seen = append(seen, low)
	}
	if len(seen) != len(names) {
		t.Errorf("%d folders of %d", len(seen), len(names))
	}
}

func TestDisksThatHyperVWrote(t *testing.T) {
	open := func(name string) disk.Disk {
		b := disktest.File(t, name)
		img, err := vhdx.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		d, err := vhdx.Chain(img)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	v, err := guest.Open(t.Context(), []guest.Disk{{Name: "d", R: open("dissect.hypervisor/dynamic.vhdx.gz")}})
	if err != nil {
		t.Fatal(err)
	}
	if len(v.List) != 1 || v.List[0].Why != "" || v.List[0].Folder != "1-New Volume (NTFS)" {
		t.Errorf("got %+v", v.List[0])
	}

	swap := []guest.Disk{{Name: "swap", R: open("DiscUtils/swap.vhdx.gz")}}
	if v, err = guest.Open(t.Context(), swap); err != nil {
		t.Fatal(err)
	}
	if len(v.List) != 1 || v.List[0].Type != "swap" || v.List[0].Label != "discutils äTES" {
		t.Errorf("got %+v", v.List[0])
	}
	p, err := guest.LeftOut(t.Context(), swap, guest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if start, end, _ := p.Disks[0].Next(0); start != 64<<10 || end != 10<<30 {
		t.Errorf("left out [%d,%d), kept %v", start, end, p.Kept)
	}
}

// TestHarmedDisks overwrites parts of a disk at random: whatever that makes of
// it, opening ends, and what is left out lies on the disk.
func TestHarmedDisks(t *testing.T) {
	clean := lvmImage(t)
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		b := bytes.Clone(clean)
		for range 1 + rnd.IntN(8) {
			// Where there is something: labels, metadata, the file system's head.
			at := rnd.IntN(64 << 10)
			if rnd.IntN(2) == 0 {
				at += 1 << 20
			}
			b[at] ^= byte(1 << rnd.IntN(8))
			if rnd.IntN(4) == 0 {
				disktest.Fill(b[at:at+512], seed)
			}
		}
		if rnd.IntN(5) == 0 {
			b = b[:rnd.IntN(len(b))]
		}
		disks := []guest.Disk{{Name: "d", R: disktest.Memory(b)}}
		v, err := guest.Open(t.Context(), disks)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, one := range v.List {
			if _, err := iofs.ReadDir(one.FS(), "."); err == nil && one.Folder == "" {
				t.Errorf("seed %d: a volume without a name", seed)
			}
		}
		p, err := guest.LeftOut(t.Context(), disks, guest.Options{})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for start, end := range p.Disks[0].All() {
			if start < 0 || end > int64(len(b)) {
				t.Errorf("seed %d: [%d,%d) of %d is left out", seed, start, end, len(b))
			}
		}
	}
}
