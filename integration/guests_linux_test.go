package integration_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vitrine/fs/disk/disktest"
)

// need skips a test of the guests' file systems where something for it lacks.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a guest's volumes to compare them needs root")
	}
	for _, name := range append(tools, "sgdisk", "mount", "blkid") {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is missing: make deps installs it on Debian", name)
		}
	}
}

// tool runs a program, which must succeed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// guestVolume is a volume of a guest, made on space that was full of garbage.
type guestVolume struct {
	code  string // sgdisk's for the type of its partition
	image string // the file with its bytes
	// mounted calls fn with the folder where a copy of it is mounted read-only;
	// nil where there are no files.
	mounted func(t *testing.T, image string, fn func(dir string))
	// judge fails when anything is wrong with a copy of it.
	judge func(t *testing.T, image string)
	left  map[string]int64 // what is left out of it, and how many bytes at least
}

// garbage makes a file of size bytes in which no page is like another.
func garbage(t *testing.T, size int64, seed uint64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "volume")
	writeFile(t, name, disktest.Random(seed, size))
	return name
}

func writeFile(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// kernelMount gives the folder where the kernel mounts an image to fn.
func kernelMount(t *testing.T, kind, options, image string, fn func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", kind, "-o", "loop,"+options, image, dir).CombinedOutput(); err != nil {
		if bytes.Contains(out, []byte("unknown filesystem")) || bytes.Contains(out, []byte("loop device")) {
			t.Skipf("this kernel cannot mount %s: %s", kind, out)
		}
		t.Fatalf("mount: %v\n%s", err, out)
	}
	defer tool(t, "umount", dir)
	fn(dir)
}

// ntfsMount gives the folder where ntfs-3g mounts an image to fn, and returns
// when all of it is written.
func ntfsMount(t *testing.T, options, image string, fn func(dir string)) {
	t.Helper()
	dir := t.TempDir()
	device := func() uint64 {
		var s syscall.Stat_t
		if err := syscall.Stat(dir, &s); err != nil {
			t.Fatal(err)
		}
		return uint64(s.Dev)
	}
	var said bytes.Buffer
	before, c := device(), exec.Command("ntfs-3g", "-o", "no_detach,"+options, image, dir)
	c.Stdout, c.Stderr = &said, &said
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for device() == before {
		select {
		case err := <-ended:
			if strings.Contains(said.String(), "/dev/fuse") {
				t.Skipf("there is no FUSE here: %s", &said)
			}
			t.Fatalf("ntfs-3g: %v\n%s", err, &said)
		case <-time.After(10 * time.Millisecond):
		}
	}
	defer func() {
		tool(t, "umount", dir)
		if err := <-ended; err != nil {
			t.Errorf("ntfs-3g: %v\n%s", err, &said)
		}
	}()
	fn(dir)
}

// treeOf tells of every file below dir what it is and what it holds, but for
// the content of the files named.
func treeOf(t *testing.T, dir string, but ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(full string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(full, dir), "/")
		what := fmt.Sprintf("%v %v", info.Mode(), info.ModTime().UTC())
		switch {
		case info.Mode().IsRegular():
			what += fmt.Sprintf(" %d", info.Size())
			for _, b := range but {
				if b == name {
					all[name] = what
					return nil
				}
			}
			f, err := os.Open(full)
			if err != nil {
				return err
			}
			h := sha256.New()
			_, err = io.Copy(h, f)
			if err := errors.Join(err, f.Close()); err != nil {
				return err
			}
			what += fmt.Sprintf(" %x", h.Sum(nil))
		case info.Mode()&iofs.ModeSymlink != 0:
			to, err := os.Readlink(full)
			if err != nil {
				return err
			}
			what += " -> " + to
		}
		all[name] = what
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// live is how many bytes populate keeps, about.
const live = 5 << 20

// populate writes the files of a guest, and removes others behind them.
func populate(t *testing.T, dir string, seed uint64) {
	t.Helper()
	for i := range 40 {
		writeFile(t, filepath.Join(dir, "srv", fmt.Sprint("small", i)), disktest.Random(seed+uint64(i), int64(i)*700))
	}
	var gone []string
	for i := range 4 {
		// What stays and what goes lie between each other.
		writeFile(t, filepath.Join(dir, "srv", fmt.Sprint("big", i)), disktest.Random(seed+100+uint64(i), 1<<20+int64(i)*1001))
		gone = append(gone, filepath.Join(dir, "srv", fmt.Sprint("gone", i)))
		writeFile(t, gone[i], disktest.Random(seed+200+uint64(i), 4<<20))
	}
	f, err := os.Create(filepath.Join(dir, "srv", "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte("behind a hole"), 3<<20)
	if err := errors.Join(err, f.Close(), os.Symlink("big1", filepath.Join(dir, "srv", "link"))); err != nil {
		t.Fatal(err)
	}
	tool(t, "sync", "-f", dir)
	for _, name := range gone {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

// The identities of swap.
const (
	swapPartition = "a5d5d491-7ab0-4de8-98ab-3a8df4365824"
	swapInFile    = "b5d5d491-7ab0-4de8-98ab-3a8df4365825"
)

// swapFileSize is the length of the swap file of a Linux volume.
const swapFileSize = 8 << 20

// linuxFiles writes a Linux installation with its swap file.
func linuxFiles(t *testing.T, dir, fstab string, seed uint64) {
	t.Helper()
	writeFile(t, filepath.Join(dir, "etc/fstab"), []byte(fstab+"/var/swap/one none swap sw 0 0\n"))
	populate(t, dir, seed)
	swap := filepath.Join(dir, "var/swap/one")
	writeFile(t, swap, disktest.Random(seed+300, swapFileSize))
	if err := os.Chmod(swap, 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkswap", "-U", swapInFile, swap)
}

// ext4Volume is a Linux installation on ext4.
func ext4Volume(t *testing.T, size int64, fstab string) guestVolume {
	t.Helper()
	need(t, "mke2fs", "e2fsck", "mkswap")
	v := guestVolume{
		code: "8300", image: garbage(t, size, 11),
		mounted: func(t *testing.T, image string, fn func(string)) { kernelMount(t, "ext4", "ro", image, fn) },
		judge:   func(t *testing.T, image string) { t.Helper(); tool(t, "e2fsck", "-fn", image) },
		left:    map[string]int64{"var/swap/one": swapFileSize - 4096, "free space": size / 2},
	}
	tool(t, "mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-E", "nodiscard", "-L", "system", v.image)
	kernelMount(t, "ext4", "nodiscard", v.image, func(dir string) { linuxFiles(t, dir, fstab, 1000) })
	return v
}

// xfsVolume is a Linux installation on XFS.
func xfsVolume(t *testing.T, size int64, fstab string) guestVolume {
	t.Helper()
	need(t, "mkfs.xfs", "xfs_repair", "mkswap")
	v := guestVolume{
		code: "8300", image: garbage(t, size, 12),
		mounted: func(t *testing.T, image string, fn func(string)) {
			kernelMount(t, "xfs", "ro,norecovery,nouuid", image, fn)
		},
		judge: func(t *testing.T, image string) { t.Helper(); tool(t, "xfs_repair", "-n", image) },
		left:  map[string]int64{"var/swap/one": swapFileSize - 4096, "free space": size / 2},
	}
	args := []string{"-q", "-f", "-K", "-L", "data", v.image}
	if size < 300<<20 {
		args = append([]string{"--unsupported"}, args...)
	}
	if out, err := exec.Command("mkfs.xfs", args...).CombinedOutput(); err != nil {
		t.Skipf("this mkfs.xfs makes no volume of %d MiB: %s", size>>20, out)
	}
	kernelMount(t, "xfs", "nouuid", v.image, func(dir string) { linuxFiles(t, dir, fstab, 2000) })
	return v
}

// The lengths of the files of a Windows volume that a guest makes anew.
const (
	pageFileSize = 8 << 20
	hiberSize    = 4 << 20
)

// ntfsVolume is a Windows installation.
func ntfsVolume(t *testing.T, size int64) guestVolume {
	t.Helper()
	need(t, "mkntfs", "ntfs-3g", "ntfsfix")
	v := guestVolume{
		code: "0700", image: garbage(t, size, 13),
		mounted: func(t *testing.T, image string, fn func(string)) { ntfsMount(t, "ro,norecover", image, fn) },
		judge:   func(t *testing.T, image string) { t.Helper(); tool(t, "ntfsfix", "-n", image) },
		left:    map[string]int64{"pagefile.sys": pageFileSize, "hiberfil.sys": hiberSize - 64<<10, "free space": size / 2},
	}
	tool(t, "mkntfs", "-q", "-F", "-Q", "-L", "Windows", v.image)
	ntfsMount(t, "norecover", v.image, func(dir string) {
		writeFile(t, filepath.Join(dir, "Windows/System32/config/SYSTEM"), []byte("regf"))
		populate(t, dir, 3000)
		writeFile(t, filepath.Join(dir, "pagefile.sys"), disktest.Random(3300, pageFileSize))
		writeFile(t, filepath.Join(dir, "hiberfil.sys"), append(make([]byte, 4096), disktest.Random(3301, hiberSize-4096)...))
		for _, name := range []string{"pagefile.sys", "hiberfil.sys"} {
			// hidden, system, archive
			if err := unix.Setxattr(filepath.Join(dir, name), "system.ntfs_attrib_be", []byte{0, 0, 0, 0x26}, 0); err != nil {
				t.Skipf("this ntfs-3g cannot set attributes: %v", err)
			}
		}
	})
	return v
}

// fatVolume is a volume as firmware and cameras make it.
func fatVolume(t *testing.T, size int64) guestVolume {
	t.Helper()
	need(t, "mkfs.vfat", "fsck.vfat", "mcopy", "mdel")
	v := guestVolume{
		code: "0700", image: garbage(t, size, 16),
		mounted: func(t *testing.T, image string, fn func(string)) {
			t.Helper()
			dir := t.TempDir()
			tool(t, "mcopy", "-s", "-m", "-i", image, "::srv", dir)
			if err := os.Chtimes(dir, time.Time{}, time.Unix(0, 0)); err != nil { // not of the volume
				t.Fatal(err)
			}
			fn(dir)
		},
		judge: func(t *testing.T, image string) { t.Helper(); tool(t, "fsck.vfat", "-n", image) },
		left:  map[string]int64{"free space": size / 2},
	}
	tool(t, "mkfs.vfat", "-n", "CAMERA", v.image)
	dir := t.TempDir()
	for i := range 50 {
		writeFile(t, filepath.Join(dir, "srv", fmt.Sprint("picture", i)), disktest.Random(4000+uint64(i), int64(i)*4001))
		writeFile(t, filepath.Join(dir, "srv", fmt.Sprint("gone", i)), disktest.Random(4100+uint64(i), 100_000))
	}
	tool(t, "mcopy", "-s", "-m", "-i", v.image, filepath.Join(dir, "srv"), "::")
	tool(t, "mdel", "-i", v.image, "::srv/gone*")
	return v
}

// swapVolume is swap that was in use.
func swapVolume(t *testing.T, size int64) guestVolume {
	t.Helper()
	need(t, "mkswap")
	v := guestVolume{code: "8200", image: garbage(t, size, 14), left: map[string]int64{"swap": size - 64<<10}}
	tool(t, "mkswap", "-L", "swap", "-U", swapPartition, v.image)
	return v
}

// partitionStart is where the first partition of a disk lies.
const partitionStart = 1 << 20

// guestDisk makes a folder with one disk, vm.raw, of these volumes. What no
// partition has is garbage, too.
func guestDisk(t *testing.T, volumes ...guestVolume) string {
	t.Helper()
	size, args := int64(partitionStart), []string(nil)
	for i, v := range volumes {
		n := int64(len(readFile(t, v.image)))
		args = append(args, "-n", fmt.Sprintf("%d:%d:%d", i+1, size/512, (size+n)/512-1), "-t", fmt.Sprintf("%d:%s", i+1, v.code))
		size += n
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "vm.raw")
	if err := os.WriteFile(name, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(name, size+partitionStart); err != nil {
		t.Fatal(err)
	}
	tool(t, "sgdisk", append([]string{"-a", "8"}, append(args, name)...)...)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	at := int64(partitionStart)
	for _, v := range volumes {
		b := readFile(t, v.image)
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
		at += int64(len(b))
	}
	return dir
}

// section copies a part of a disk into a file of its own.
func section(t *testing.T, name string, off, n int64) string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, off); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "section")
	writeFile(t, out, b)
	return out
}

// lvmVolume is a partition with a volume group, in which the volumes lie one
// behind the other; at says where in it each of them begins.
func lvmVolume(t *testing.T, volumes ...guestVolume) (v guestVolume, at []int64) {
	t.Helper()
	need(t, "vgcreate", "lvcreate", "lvs", "pvs", "losetup")
	const extent = 1 << 20
	size := int64(extent)
	for _, one := range volumes {
		size += int64(len(readFile(t, one.image)))
	}
	v = guestVolume{code: "8e00", image: garbage(t, size, 15)}
	out, err := exec.Command("losetup", "-f", "--show", v.image).Output()
	if err != nil {
		t.Skipf("there is no loop device: %v", err)
	}
	device := strings.TrimSpace(string(out))
	defer tool(t, "losetup", "-d", device)
	config := fmt.Sprintf(`devices { use_devicesfile=0 filter=["a|^%s$|","r|.*|"] } activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 } global { locking_dir=%q use_lvmpolld=0 event_activation=0 }`, device, t.TempDir())
	lvm := func(name string, args ...string) string {
		t.Helper()
		var said bytes.Buffer
		c := exec.Command(name, append([]string{"--driverloaded", "n", "--config", config}, args...)...)
		c.Stderr = &said
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", name, args, err, &said)
		}
		return strings.TrimSpace(string(out))
	}
	number := func(s string) int64 {
		t.Helper()
		n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	lvm("vgcreate", "-s", "1m", "vg0", device)
	start := number(lvm("pvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start", device))
	for i, one := range volumes {
		name, b := fmt.Sprint("lv", i), readFile(t, one.image)
		lvm("lvcreate", "-an", "-Zn", "-Wn", "-y", "-n", name, "-l", fmt.Sprint(len(b)/extent), "vg0")
		_, extents, _ := strings.Cut(lvm("lvs", "--noheadings", "-o", "seg_pe_ranges", "vg0/"+name), ":")
		first, _, _ := strings.Cut(extents, "-")
		at = append(at, start+number(first)*extent)
	}
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, one := range volumes {
		if _, err := f.WriteAt(readFile(t, one.image), at[i]); err != nil {
			t.Fatal(err)
		}
	}
	// Closing a block device writes what it has.
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return v, at
}
