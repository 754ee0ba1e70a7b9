package guest_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vitrine/fs/disk/disktest"
	"vitrine/fs/guest"
)

// tool runs a program, which the test is skipped without.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing", name)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// file makes a sparse file of size bytes.
func file(t *testing.T, size int64) string {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "image")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

func load(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

const swapID = "a5d5d491-7ab0-4de8-98ab-3a8df4365824"

func swapImage(t *testing.T, size int64) []byte {
	name := file(t, size)
	tool(t, "mkswap", "-U", swapID, name)
	b := load(t, name)
	// No zeros: the tools that make test images turn them into holes.
	disktest.Fill(b[:1024], 6)
	disktest.Fill(b[4096:], 7)
	return b
}

// rootImage is an ext4 volume with a Linux installation and a swap file, in
// which a file was deleted.
func rootImage(t *testing.T, size int64) []byte {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etc/fstab"), []byte("# a comment\nUUID="+swapID+" none swap sw 0 0\n/swap/file none swap sw 0 0\n/dev/vg0/data /srv/my\\040data ext4 defaults 0 2\nLABEL=BOOT /boot ext4 ro 0 2\n"))
	write(t, filepath.Join(dir, "etc/os-release"), []byte("ID=test\n"))
	write(t, filepath.Join(dir, "swap/file"), swapImage(t, 2<<20))
	write(t, filepath.Join(dir, "usr/big"), disktest.Random(3, 3<<20))
	name := file(t, size)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "system", "-d", dir, name)
	return load(t, name)
}

// windowsImage is an NTFS volume with a Windows folder and a page file.
func windowsImage(t *testing.T, size int64) []byte {
	if os.Getuid() != 0 {
		t.Skip("mounting with ntfs-3g needs root")
	}
	name, at := file(t, size), t.TempDir()
	tool(t, "mkntfs", "-q", "-F", "-L", "System", name)
	tool(t, "ntfs-3g", name, at)
	mounted := true
	unmount := func() {
		if mounted {
			mounted = false
			tool(t, "umount", at)
		}
	}
	defer unmount()
	write(t, filepath.Join(at, "Windows/System32/config/SYSTEM"), []byte("regf"))
	write(t, filepath.Join(at, "Users/a.txt"), disktest.Random(5, 100000))
	write(t, filepath.Join(at, "pagefile.sys"), disktest.Random(6, 4<<20))
	write(t, filepath.Join(at, "hiberfil.sys"), append(make([]byte, 4096), disktest.Random(8, 2<<20)...))
	for _, f := range []string{"pagefile.sys", "hiberfil.sys"} {
		if err := unix.Setxattr(filepath.Join(at, f), "system.ntfs_attrib_be", []byte{0, 0, 0, 0x26}, 0); err != nil {
			t.Skipf("ntfs-3g cannot set attributes: %v", err)
		}
	}
	write(t, filepath.Join(at, "gone"), disktest.Random(9, 1<<20))
	if err := os.Remove(filepath.Join(at, "gone")); err != nil {
		t.Fatal(err)
	}
	unmount()
	// ntfs-3g detaches first and writes behind it.
	for range 100 {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		f.Close()
		if err == nil {
			break
		}
	}
	return load(t, name)
}

// place is an image on a partition of a type.
type place struct {
	kind  string // sgdisk's code
	image []byte
}

// machineDisk puts images on a disk with a GPT.
func machineDisk(t *testing.T, places ...place) []byte {
	args := []string{}
	at := 1 << 20
	for i, p := range places {
		args = append(args, "-n", fmt.Sprintf("%d:%d:%d", i+1, at/512, (at+len(p.image))/512-1), "-t", fmt.Sprintf("%d:%s", i+1, p.kind))
		at += len(p.image)
	}
	name := file(t, int64(at+1<<20))
	tool(t, "sgdisk", append(args, name)...)
	b := load(t, name)
	at = 1 << 20
	for _, p := range places {
		at += copy(b[at:], p.image)
	}
	return b
}

func folders(v *guest.Volumes) []string {
	var list []string
	for _, one := range v.List {
		list = append(list, one.Folder)
	}
	return list
}

// sums hashes all files of all volumes but those named.
func sums(t *testing.T, v *guest.Volumes, but ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, one := range v.List {
		err := iofs.WalkDir(one.FS(), ".", func(path string, d iofs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || slices.Contains(but, path) || strings.HasPrefix(path, "$") {
				return err
			}
			b, err := iofs.ReadFile(one.FS(), path)
			all[one.Folder+"/"+path] = fmt.Sprintf("%x", sha256.Sum256(b))
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v", one.Folder, err)
		}
	}
	return all
}

func TestAMachineOfLinuxAndWindows(t *testing.T) {
	efi := file(t, 4<<20)
	tool(t, "mkfs.vfat", efi)
	linux := machineDisk(t, place{"ef00", load(t, efi)}, place{"8300", rootImage(t, 16<<20)}, place{"8200", swapImage(t, 4<<20)})
	windows := machineDisk(t, place{"0c01", make([]byte, 1<<20)}, place{"0700", windowsImage(t, 24<<20)})
	clean := [][]byte{bytes.Clone(linux), bytes.Clone(windows)}
	disks := []guest.Disk{{Name: "os", R: disktest.Memory(linux)}, {Name: "data", R: disktest.Memory(windows)}}
	before, err := guest.Open(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := folders(before), []string{"1-EFI (FAT)", "root (ext4)", "3-swap (swap)", "C (NTFS Windows data)"}; !slices.Equal(got, want) {
		t.Errorf("folders %q, want %q", got, want)
	}
	wantSums := sums(t, before, "pagefile.sys", "hiberfil.sys", "swap/file")
	if len(wantSums) < 6 {
		t.Errorf("only %d files: %v", len(wantSums), wantSums)
	}

	p, err := guest.LeftOut(t.Context(), disks, guest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	what, total := map[string]int64{}, int64(0)
	for _, i := range p.Left {
		total += i.Bytes
		what[i.Volume+"|"+i.What] = i.Bytes
	}
	for item, least := range map[string]int64{
		"root (ext4)|swap/file": 2<<20 - 4096, "root (ext4)|free space": 5 << 20, "3-swap (swap)|swap": 4<<20 - 64<<10,
		"C (NTFS Windows data)|pagefile.sys": 4 << 20, "C (NTFS Windows data)|hiberfil.sys": 1 << 20, "C (NTFS Windows data)|free space": 5 << 20,
	} {
		if what[item] < least {
			t.Errorf("%s: %d bytes left out, want %d at least", item, what[item], least)
		}
	}
	if len(p.Kept) != 0 {
		t.Errorf("kept: %v", p.Kept)
	}
	if n := p.Disks[0].Bytes() + p.Disks[1].Bytes(); n > total || n < total-2*4096 {
		t.Errorf("%d bytes are left out, the list has %d", n, total)
	}
	for i, b := range [][]byte{linux, windows} {
		for start, end := range p.Disks[i].All() {
			if start%4096 != 0 || end%4096 != 0 {
				t.Fatalf("[%d,%d) is not of whole pages", start, end)
			}
			clear(b[start:end])
		}
	}
	after, err := guest.Open(t.Context(), disks)
	if err != nil {
		t.Fatal(err)
	}
	got := sums(t, after, "pagefile.sys", "hiberfil.sys", "swap/file")
	for name, sum := range wantSums {
		if got[name] != sum {
			t.Errorf("%s was harmed", name)
		}
	}
	if after.List[2].UUID != swapID {
		t.Errorf("the swap lost its identity: %q", after.List[2].UUID)
	}
	name := file(t, 0)
	write(t, name, linux[5<<20:21<<20])
	tool(t, "e2fsck", "-fn", name)
	write(t, name, windows[2<<20:26<<20])
	tool(t, "ntfsfix", "-n", name)

	t.Run("options", func(t *testing.T) {
		for _, c := range []struct {
			o    guest.Options
			swap bool
			free bool
		}{{guest.Options{IncludeSwap: true}, false, true}, {guest.Options{IncludeFree: true}, true, false}, {guest.Options{IncludeSwap: true, IncludeFree: true}, false, false}, {guest.Options{MemoryKept: true}, false, false}} {
			p, err := guest.LeftOut(t.Context(), []guest.Disk{{Name: "os", R: disktest.Memory(clean[0])}}, c.o)
			if err != nil {
				t.Fatal(err)
			}
			swap := slices.ContainsFunc(p.Left, func(i guest.Item) bool { return i.What != "free space" })
			free := slices.ContainsFunc(p.Left, func(i guest.Item) bool { return i.What == "free space" })
			if swap != c.swap || free != c.free {
				t.Errorf("%+v: left out %v", c.o, p.Left)
			}
		}
	})
	t.Run("hibernated", func(t *testing.T) {
		for name, harm := range map[string]func(b []byte){
			"swap partition": func(b []byte) { copy(b[21<<20+4086:], "S1SUSPEND\x00") },
			"swap file":      func(b []byte) { copy(b[bytes.Index(b, []byte("SWAPSPACE2")):], "S1SUSPEND\x00") },
		} {
			b := bytes.Clone(clean[0])
			harm(b)
			p, err := guest.LeftOut(t.Context(), []guest.Disk{{Name: "os", R: disktest.Memory(b)}}, guest.Options{})
			if err != nil || len(p.Left) != 0 || p.Disks[0].Count() != 0 || len(p.Kept) == 0 || !strings.Contains(p.Kept[0].Why, "hibernated") {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	})
	t.Run("another file system shows through", func(t *testing.T) {
		b := bytes.Clone(clean[0])
		copy(b[5<<20+65600:], "_BHRfS_M")
		p, err := guest.LeftOut(t.Context(), []guest.Disk{{Name: "os", R: disktest.Memory(b)}}, guest.Options{IncludeSwap: true})
		if err != nil || len(p.Left) != 1 || p.Left[0].Volume != "1-EFI (FAT)" || len(p.Kept) == 0 || !strings.Contains(p.Kept[0].Why, "btrfs") {
			t.Errorf("%+v, %v", p, err)
		}
	})
	t.Run("shadow copies", func(t *testing.T) {
		b := bytes.Clone(clean[1])
		head := b[2<<20+0x1e00:]
		copy(head, "\x6b\x87\x08\x38\x76\xc1\x48\x4e\xb7\xae\x04\x04\x6e\x6c\xc7\x52")
		head[50] = 1 // a catalogue at 64 KiB, which is none
		d := []guest.Disk{{Name: "data", R: disktest.Memory(b)}}
		for _, drop := range []bool{false, true} {
			p, err := guest.LeftOut(t.Context(), d, guest.Options{DropShadowCopies: drop})
			if err != nil {
				t.Fatal(err)
			}
			free := slices.ContainsFunc(p.Left, func(i guest.Item) bool { return i.What == "free space" })
			if free != drop {
				t.Errorf("drop %v: left out %v, kept %v", drop, p.Left, p.Kept)
			}
		}
	})
}

// TestMountPointsNameVolumes checks that what fstab says names the others.
func TestMountPointsNameVolumes(t *testing.T) {
	ext := func(label, id string) []byte {
		name, dir := file(t, 2<<20), t.TempDir()
		write(t, filepath.Join(dir, "f"), []byte(label))
		tool(t, "mke2fs", "-q", "-t", "ext4", "-L", label, "-U", id, "-d", dir, name)
		return load(t, name)
	}
	dir := t.TempDir()
	const one, two, three = "11111111-2222-4333-8444-555555555551", "11111111-2222-4333-8444-555555555552", "11111111-2222-4333-8444-555555555553"
	write(t, filepath.Join(dir, "etc/fstab"), []byte("LABEL=BOOT /boot ext4 ro 0 2\nUUID="+two+" /var/lib ext4 defaults\n/dev/disk/by-uuid/"+strings.ToUpper(three)+" /srv/my\\040data ext4 x\n/dev/sda9 /wrong ext4 x\n/dev/sda5 none swap sw\n"))
	name := file(t, 4<<20)
	tool(t, "mke2fs", "-q", "-t", "ext4", "-d", dir, name)
	v := openBytes(t, machineDisk(t, place{"8300", ext("BOOT", one)}, place{"8300", load(t, name)}, place{"8300", ext("", two)},
		place{"8300", ext("d", three)}, place{"8300", ext("Bilder: 2024", swapID)}), machineDisk(t, place{"8300", ext("", "11111111-2222-4333-8444-555555555554")}))
	want := []string{"boot (ext4)", "root (ext4)", "var-lib (ext4)", "srv-my data (ext4)", "5-Bilder_ 2024 (ext4)", "1 (ext4 diskb)"}
	if got := folders(v); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
