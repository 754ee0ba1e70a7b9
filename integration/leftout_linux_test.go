package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vitrine/backup"
	"vitrine/backup/folder"
	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/repo"
	"vitrine/repo/mem"
)

// The sizes of volumes.
const (
	smallSize = 56 << 20
	xfsSize   = 96 << 20
)

// vault is a repository in memory.
type vault struct {
	*repo.Repo
	store *mem.Store
}

func newVault(t *testing.T) vault {
	t.Helper()
	s := mem.New()
	r, _, err := repo.Init(t.Context(), s, repo.InitOptions{Options: repo.Options{CacheDir: t.TempDir()}, NoEncryption: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return vault{r, s}
}

// size is how many bytes the repository takes.
func (v vault) size(t *testing.T) (n int64) {
	t.Helper()
	for info, err := range v.store.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		n += info.Size
	}
	return n
}

// backup makes a restore point of the one machine of a folder.
func (v vault) backup(t *testing.T, dir string, o backup.Options) backup.MachineReport {
	t.Helper()
	h, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	report, err := backup.Run(t.Context(), v.Repo, h, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := report.Err(); err != nil || len(report.Machines) != 1 {
		t.Fatalf("%d machines, %v", len(report.Machines), err)
	}
	return report.Machines[0]
}

// restore writes a restore point and returns its one disk.
func (v vault) restore(t *testing.T, p *repo.RestorePoint) string {
	t.Helper()
	done, err := backup.Restore(t.Context(), v.Repo, p, backup.RestoreOptions{To: t.TempDir(), As: "vm", Format: backup.FormatRaw, Disks: []string{"vm"}})
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(done.Dir, "vm.raw")
}

// sameBytes fails when two files differ.
func sameBytes(t *testing.T, got, want string) {
	t.Helper()
	a, b := readFile(t, got), readFile(t, want)
	if len(a) != len(b) {
		t.Fatalf("%d bytes, want %d", len(a), len(b))
	}
	if bytes.Equal(a, b) {
		return
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("byte %d differs", i)
		}
	}
}

// sameTrees fails when two trees differ.
func sameTrees(t *testing.T, got, want map[string]string) {
	t.Helper()
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s is %q, want %q", name, got[name], w)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s is new", name)
		}
	}
}

// sameVolume fails when a restored copy of a volume is not what it was, but
// for the content of what is left out.
func sameVolume(t *testing.T, v guestVolume, image string) {
	t.Helper()
	if got, want := identity(t, image), identity(t, v.image); got != want {
		t.Errorf("it is now %s, was %s", got, want)
	}
	if v.judge != nil {
		v.judge(t, image)
	}
	if v.mounted == nil {
		return
	}
	but := slices.Collect(maps.Keys(v.left))
	var want, got map[string]string
	swap := ""
	v.mounted(t, v.image, func(dir string) {
		want = treeOf(t, dir, but...)
		if _, err := os.Stat(filepath.Join(dir, "var/swap/one")); err == nil {
			swap = identity(t, filepath.Join(dir, "var/swap/one"))
		}
	})
	if len(want) < 45 {
		t.Fatalf("only %d files to compare", len(want))
	}
	v.mounted(t, image, func(dir string) {
		got = treeOf(t, dir, but...)
		if swap != "" {
			if now := identity(t, filepath.Join(dir, "var/swap/one")); now != swap || !strings.Contains(now, swapInFile) {
				t.Errorf("the swap file is now %s, was %s", now, swap)
			}
		}
	})
	sameTrees(t, got, want)
}

// identity is what blkid says of a volume or of a swap file.
func identity(t *testing.T, image string) string {
	t.Helper()
	var keep []string
	for line := range strings.Lines(tool(t, "blkid", "-p", "-o", "export", image)) {
		if !strings.HasPrefix(line, "DEVNAME=") {
			keep = append(keep, strings.TrimSpace(line))
		}
	}
	return strings.Join(keep, " ")
}

// leftOf adds up what a restore point left out, by what it is.
func leftOf(p *repo.RestorePoint) map[string]int64 {
	all := map[string]int64{}
	for _, l := range p.LeftOut {
		all[l.What] += l.Bytes
	}
	return all
}

// TestWhatGuestsDoNotKeepIsLeftOut backs up disks whose free space, swap and
// page files are full of garbage, and lets others judge what comes back.
func TestWhatGuestsDoNotKeepIsLeftOut(t *testing.T) {
	const fstab = "UUID=" + swapPartition + " none swap sw 0 0\n"
	for name, volumesOf := range map[string]func(t *testing.T) []guestVolume{
		"ext4 with a swap file and a swap partition": func(t *testing.T) []guestVolume {
			return []guestVolume{ext4Volume(t, smallSize, fstab), swapVolume(t, 24<<20)}
		},
		"XFS with a swap file": func(t *testing.T) []guestVolume { return []guestVolume{xfsVolume(t, xfsSize, "")} },
		"FAT":                  func(t *testing.T) []guestVolume { return []guestVolume{fatVolume(t, smallSize)} },
		"NTFS with page files": func(t *testing.T) []guestVolume { return []guestVolume{ntfsVolume(t, smallSize)} },
	} {
		t.Run(name, func(t *testing.T) {
			volumes := volumesOf(t)
			proveLeftOut(t, guestDisk(t, volumes...), volumes, nil)
		})
	}
	t.Run("LVM", func(t *testing.T) {
		volumes := []guestVolume{ext4Volume(t, smallSize, "/dev/vg0/lv1 none swap sw 0 0\n"), swapVolume(t, 16<<20)}
		group, at := lvmVolume(t, volumes...)
		proveLeftOut(t, guestDisk(t, group), volumes, at)
	})
}

// proveLeftOut backs up a disk of these volumes, which lie at these places in
// its first partition, or one behind the other.
func proveLeftOut(t *testing.T, dir string, volumes []guestVolume, at []int64) {
	t.Helper()
	source := filepath.Join(dir, "vm.raw")
	original := readFile(t, source)

	r := newVault(t)
	p := r.backup(t, dir, backup.Options{}).Point
	if len(p.Kept) != 0 {
		t.Errorf("kept %+v", p.Kept)
	}
	got, want, files := leftOf(p), map[string]int64{}, int64(0)
	for _, v := range volumes {
		for what, n := range v.left {
			want[what] += n
		}
		if v.mounted != nil {
			files += live
		}
	}
	listed := int64(0)
	for what, n := range got {
		listed += n
		if n < want[what] || want[what] == 0 {
			t.Errorf("%s: %d bytes left out, want %d at least", what, n, want[what])
		}
	}
	if len(got) != len(want) {
		t.Errorf("left out are %v, want %v", got, want)
	}
	if n := p.Stats.LeftOut; n > listed || n < listed-int64(len(p.LeftOut))*8192-listed/100 {
		t.Errorf("%d bytes are left out, the list has %d", n, listed)
	}
	if n := r.size(t); n > files+8<<20 {
		t.Errorf("the repository has %d MiB for %d MiB of files on a disk of %d MiB", n>>20, files>>20, len(original)>>20)
	}

	restored := r.restore(t, p)
	begin := int64(partitionStart)
	for i, v := range volumes {
		n := int64(len(readFile(t, v.image)))
		off := begin
		if at != nil {
			off = partitionStart + at[i]
		} else {
			begin += n
		}
		sameVolume(t, v, section(t, restored, off, n))
	}

	all := newVault(t)
	whole := all.backup(t, dir, backup.Options{Keep: backup.Keep{Swap: true, Free: true}}).Point
	if len(whole.LeftOut)+len(whole.Kept) != 0 || whole.Stats.LeftOut != 0 {
		t.Errorf("left out %v, kept %v", whole.LeftOut, whole.Kept)
	}
	sameBytes(t, all.restore(t, whole), source)
	if n := all.size(t); n < int64(len(original))/2 {
		t.Errorf("the disk is no proof: all of it takes %d MiB", n>>20)
	}
	if !bytes.Equal(readFile(t, source), original) {
		t.Error("the source was written")
	}
}

// TestLeftOutSpaceInUseAgainIsRead gives a change list that has everything but
// what was written to clusters that were free: those were never in the base,
// and nobody's list can say that they did not change.
func TestLeftOutSpaceInUseAgainIsRead(t *testing.T) {
	v := ext4Volume(t, smallSize, "")
	dir := guestDisk(t, v)
	source := filepath.Join(dir, "vm.raw")
	r := newVault(t)
	base := r.backup(t, dir, backup.Options{}).Point
	before := readFile(t, source)

	fresh := disktest.Random(77, 6<<20)
	var want map[string]string
	kernelMount(t, "ext4", fmt.Sprintf("nodiscard,offset=%d,sizelimit=%d", partitionStart, smallSize), source, func(at string) {
		writeFile(t, filepath.Join(at, "srv/fresh"), fresh)
		want = treeOf(t, at, "var/swap/one")
	})
	const page = 4096
	own := map[string]bool{}
	for b := range slices.Chunk(fresh, page) {
		own[string(b)] = true
	}
	var list []disk.Extent
	silent, after := 0, readFile(t, source)
	for off := 0; off < len(after); off += page {
		now := after[off : off+page]
		switch {
		case bytes.Equal(now, before[off:off+page]):
		case own[string(now)]:
			silent++
		default:
			list = append(list, disk.Extent{Off: int64(off), Len: page})
		}
	}
	if silent != len(fresh)/page || len(list) == 0 {
		t.Fatalf("%d pages of the new file on the disk, %d others changed", silent, len(list))
	}
	m := r.backup(t, dir, backup.Options{Changed: &backup.Changes{Point: base.ID, Disks: map[string][]disk.Extent{"vm.vhdx": list}}})
	if m.Point.Read != backup.ReadIncremental || m.Stats.Read > 24<<20 {
		t.Errorf("%s, %d bytes read: %+v", m.Point.Read, m.Stats.Read, m.Disks)
	}
	image := section(t, r.restore(t, m.Point), partitionStart, smallSize)
	v.judge(t, image)
	v.mounted(t, image, func(at string) { sameTrees(t, treeOf(t, at, "var/swap/one"), want) })

	// Options that change do so at once, whatever a list says.
	none := func(p *repo.RestorePoint) *backup.Changes {
		return &backup.Changes{Point: p.ID, Disks: map[string][]disk.Extent{"vm.vhdx": {}}}
	}
	all := r.backup(t, dir, backup.Options{Changed: none(m.Point), Keep: backup.Keep{Swap: true, Free: true}}).Point
	if all.Read != backup.ReadIncremental {
		t.Errorf("%s", all.Read)
	}
	sameBytes(t, r.restore(t, all), source)
	again := r.backup(t, dir, backup.Options{Changed: none(all)})
	if n := again.Stats.LeftOut; n < v.left["free space"] || again.Stats.Read > 4<<20 {
		t.Errorf("%d bytes left out, %d read", n, again.Stats.Read)
	}
	image = section(t, r.restore(t, again.Point), partitionStart, smallSize)
	v.judge(t, image)
	v.mounted(t, image, func(at string) { sameTrees(t, treeOf(t, at, "var/swap/one"), want) })
}

// keptWhole backs up a disk of one volume, of which nothing may be left out,
// and returns why.
func keptWhole(t *testing.T, v guestVolume) string {
	t.Helper()
	dir := guestDisk(t, v)
	r := newVault(t)
	p := r.backup(t, dir, backup.Options{}).Point
	if len(p.LeftOut) != 0 || p.Stats.LeftOut != 0 || len(p.Kept) == 0 {
		t.Fatalf("left out %+v, kept %+v", p.LeftOut, p.Kept)
	}
	sameBytes(t, r.restore(t, p), filepath.Join(dir, "vm.raw"))
	return p.Kept[0].Why
}

// inUse copies a volume while it is mounted and written.
func inUse(t *testing.T, v guestVolume, kind, options string) guestVolume {
	t.Helper()
	copied := v
	kernelMount(t, kind, options, v.image, func(dir string) {
		for i := range 30 {
			writeFile(t, filepath.Join(dir, "late", string(rune('a'+i))), disktest.Random(uint64(500+i), 40_000))
		}
		if err := os.Remove(filepath.Join(dir, "srv/big0")); err != nil {
			t.Fatal(err)
		}
		tool(t, "sync", "-f", dir)
		// What follows is in memory only, or half on the disk.
		writeFile(t, filepath.Join(dir, "late", "unsynced"), disktest.Random(600, 1<<20))
		copied.image = filepath.Join(t.TempDir(), "copy")
		writeFile(t, copied.image, readFile(t, v.image))
	})
	return copied
}

// TestVolumesInUseLoseNothing backs up volumes that were not unmounted: they
// are kept whole, or what their own tools make of them is the same as what they
// make of the source.
func TestVolumesInUseLoseNothing(t *testing.T) {
	t.Run("ext4", func(t *testing.T) {
		v := inUse(t, ext4Volume(t, smallSize, ""), "ext4", "nodiscard")
		dir := guestDisk(t, v)
		r := newVault(t)
		p := r.backup(t, dir, backup.Options{}).Point
		restored := section(t, r.restore(t, p), partitionStart, smallSize)
		for _, image := range []string{v.image, restored} {
			repaired(t, "e2fsck", "-fp", image)
		}
		sameVolume(t, v, restored)
		if len(p.LeftOut)+len(p.Kept) == 0 {
			t.Error("nothing is told of the volume")
		}
	})
	t.Run("ext4 with a damaged journal", func(t *testing.T) {
		v := inUse(t, ext4Volume(t, smallSize, ""), "ext4", "nodiscard")
		b := readFile(t, v.image)
		// Every descriptor behind the journal's superblock loses a bit.
		harmed := 0
		for off := 0; off+4096 <= len(b); off += 4096 {
			if bytes.HasPrefix(b[off:], []byte{0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 2}) {
				b[off+2000] ^= 1
				harmed++
			}
		}
		if harmed == 0 {
			t.Fatal("the journal is empty")
		}
		writeFile(t, v.image, b)
		if why := keptWhole(t, v); !strings.Contains(why, "journal") {
			t.Errorf("kept because %s", why)
		}
	})
	t.Run("ext4 with errors", func(t *testing.T) {
		need(t, "debugfs")
		v := ext4Volume(t, smallSize, "")
		tool(t, "debugfs", "-w", "-R", "set_super_value state 2", v.image)
		if why := keptWhole(t, v); !strings.Contains(why, "errors") {
			t.Errorf("kept because %s", why)
		}
	})
	t.Run("XFS", func(t *testing.T) {
		v := inUse(t, xfsVolume(t, xfsSize, ""), "xfs", "nouuid")
		dir := guestDisk(t, v)
		r := newVault(t)
		p := r.backup(t, dir, backup.Options{}).Point
		restored := section(t, r.restore(t, p), partitionStart, xfsSize)
		for _, image := range []string{v.image, restored} {
			kernelMount(t, "xfs", "nouuid", image, func(string) {}) // replays the log
		}
		sameVolume(t, v, restored)
		if len(p.LeftOut)+len(p.Kept) == 0 {
			t.Error("nothing is told of the volume")
		}
	})
	t.Run("NTFS", func(t *testing.T) {
		v := ntfsVolume(t, smallSize)
		b := readFile(t, v.image)
		markDirty(t, b)
		writeFile(t, v.image, b)
		if why := keptWhole(t, v); !strings.Contains(why, "dirty") && !strings.Contains(why, "check") {
			t.Errorf("kept because %s", why)
		}
	})
}

// TestHibernatedWindowsIsKeptWhole: its memory, which is on the disk, goes on
// where it was.
func TestHibernatedWindowsIsKeptWhole(t *testing.T) {
	v := ntfsVolume(t, smallSize)
	ntfsMount(t, "norecover", v.image, func(dir string) {
		f, err := os.OpenFile(filepath.Join(dir, "hiberfil.sys"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.WriteAt([]byte("hibr"), 0)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	})
	if why := keptWhole(t, v); !strings.Contains(why, "hibernated") {
		t.Errorf("kept because %s", why)
	}
}

// repaired runs a checker that may say that it repaired something.
func repaired(t *testing.T, name string, args ...string) {
	t.Helper()
	c := exec.Command(name, args...)
	if out, err := c.CombinedOutput(); err != nil && c.ProcessState.ExitCode() != 1 {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}

// markDirty sets the flag of an NTFS volume that says that it was in use, in
// the attribute $VOLUME_INFORMATION (0x70) of record 3.
func markDirty(t *testing.T, b []byte) {
	t.Helper()
	le := func(off, n int) (v int) {
		for i := range n {
			v |= int(b[off+i]) << (8 * i)
		}
		return v
	}
	at := le(0x30, 8)*le(11, 2)*int(b[13]) + 3*1024
	if string(b[at:at+4]) != "FILE" {
		t.Fatal("record 3 is not where it should be")
	}
	for a := at + le(at+20, 2); a < at+1024; a += le(a+4, 4) {
		if le(a, 4) == 0x70 {
			b[a+le(a+20, 2)+10] |= 1
			return
		}
		if le(a+4, 4) == 0 {
			break
		}
	}
	t.Fatal("no volume information")
}
