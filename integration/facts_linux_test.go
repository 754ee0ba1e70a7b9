package integration_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	iofs "io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"vitrine/fs/disk/disktest"
)

// foreignVolumes are disks of others, by the name of the machine that one
// becomes, and what other readers found on its one volume with files.
func foreignVolumes() []struct{ name, file, facts string } {
	return []struct{ name, file, facts string }{
		{"testfs1.raw", "ColinFinck-ntfs/testfs1", "colinfinck-testfs1.ntfs-3g"},
		{"index.raw", "dfir_ntfs/ntfs_index.raw.gz", "dfir-ntfs_index-p1.ntfs-3g"},
		{"dynamic.vhdx", "dissect.hypervisor/dynamic.vhdx.gz", "dissect-dynamic.vhdx.ntfs-3g"},
		{"fixed.vhdx", "dissect.hypervisor/fixed.vhdx.gz", "dissect-fixed.vhdx.ntfs-3g"},
		{"dynamicvhd.vhd", "dissect.hypervisor/dynamic.vhd.gz", "dissect-dynamic.vhd.ntfs-3g"},
		{"fixedvhd.vhd", "dissect.hypervisor/fixed.vhd.gz", "dissect-fixed.vhd.ntfs-3g"},
		{"ext2.vhd", "dfvfs/ext2.vhd", "dfvfs-ext2.kernel-ext4-ro_noload"},
		{"ext4.raw", "dissect.extfs/ext4.bin.gz", "dissect-ext4.kernel-ext4-ro_noload"},
		{"links.raw", "dissect.extfs/ext4_symlink_test1.bin.gz", "dissect-ext4_symlink1.kernel-ext4-ro_noload"},
		{"loops.raw", "dissect.target/symlink_disk.ext4", "dissect-symlink_disk.kernel-ext4-ro_noload"},
		{"large.raw", "ext4-view-rs/test_disk1.bin.zst", "ext4view-disk1.kernel-ext4-ro_noload"},
		{"indirect.raw", "ext4-view-rs/test_disk_ext2.bin.zst", "ext4view-ext2.kernel-ext4-ro_noload"},
		{"ext3.raw", "ext4-view-rs/test_disk_ext3.bin.zst", "ext4view-ext3.kernel-ext4-ro_noload"},
		{"xfs.raw", "dissect.xfs/xfs.bin.gz", "dissect-xfs.kernel-xfs-ro_norecovery_nouuid"},
		{"xfslinks.raw", "dissect.xfs/xfs_symlink_test1.bin.gz", "dissect-xfs_symlink1.kernel-xfs-ro_norecovery_nouuid"},
	}
}

// TestMountedGuestsAreWhatOthersRead backs disks of others up, with everything
// left out that their guests do not keep, and compares what the mount shows of
// them with what the kernel and ntfs-3g read.
func TestMountedGuestsAreWhatOthersRead(t *testing.T) {
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skip("there is no /dev/fuse: load the module fuse")
	} else if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	disks, mnt := filepath.Join(dir, "disks"), filepath.Join(dir, "mnt")
	for _, d := range []string{disks, mnt} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range foreignVolumes() {
		if err := os.WriteFile(filepath.Join(disks, v.name), unpacked(t, v.file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := place{dir}
	p.run(t, "init", "--no-encryption")
	for _, v := range foreignVolumes() {
		p.run(t, "backup", filepath.Join(disks, v.name))
	}
	p.run(t, "mount", "--background", mnt)
	t.Cleanup(func() { p.run(t, "umount", "--lazy", mnt) })
	for _, v := range foreignVolumes() {
		t.Run(v.name, func(t *testing.T) {
			machine, _, _ := strings.Cut(v.name, ".")
			volumes, err := filepath.Glob(filepath.Join(mnt, machine, "latest", "guest", "*)"))
			if err != nil || len(volumes) != 1 {
				t.Fatalf("volumes %q, %v", volumes, err)
			}
			compareFacts(t, volumes[0], string(disktest.File(t, "facts/"+v.facts+".tsv")))
		})
	}
}

// unpacked is disktest.File that knows zstd too.
func unpacked(t *testing.T, name string) []byte {
	t.Helper()
	b := disktest.File(t, name)
	if !strings.HasSuffix(name, ".zst") {
		return b
	}
	r, err := zstd.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if b, err = io.ReadAll(r); err != nil {
		t.Fatal(err)
	}
	return b
}

// compareFacts compares a folder with lines of path, type, size and SHA-256 or
// the target of a link.
func compareFacts(t *testing.T, dir, facts string) {
	t.Helper()
	want := make(map[string]string)
	for line := range strings.Lines(facts) {
		name, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), "\t")
		want[name] = rest
	}
	if len(want) < 3 {
		t.Fatalf("only %d facts", len(want))
	}
	check := func(p string, d iofs.DirEntry) {
		name := strings.TrimPrefix(p, dir)
		w, ok := want[name]
		if !ok {
			t.Errorf("%s should not be there", name)
			return
		}
		delete(want, name)
		got, err := factOf(p, d)
		switch {
		case err != nil:
			t.Error(err)
		case got == w:
		case strings.HasSuffix(w, "\terr:126"): // encrypted
			if !strings.HasSuffix(got, "\terror") {
				t.Errorf("%s: %s, but it is encrypted", name, got)
			}
		case strings.HasSuffix(w, "\terr:2"): // an index, which has no content for ntfs-3g
		case strings.HasPrefix(w, "l\t"):
			sameLink(t, name, got, w)
		default:
			t.Errorf("%s: %q, want %q", name, got, w)
		}
	}
	err := filepath.WalkDir(dir, func(p string, d iofs.DirEntry, err error) error {
		if err == nil && p != dir {
			check(p, d)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// What NTFS keeps for itself is there, but not listed.
	for _, name := range slices.Sorted(maps.Keys(want)) {
		info, err := os.Lstat(dir + name)
		if err != nil || !strings.HasPrefix(name, "/$") {
			t.Errorf("%s is missing: %v", name, err)
			continue
		}
		check(dir+name, iofs.FileInfoToDirEntry(info))
	}
}

// sameLink holds that a target leads to the same place of the volume as the
// guest's, which may have been cut in the facts.
func sameLink(t *testing.T, name, got, want string) {
	t.Helper()
	_, text, _ := strings.Cut(want[2:], "\t")
	_, mine, ok := strings.Cut(strings.TrimPrefix(got, "l\t"), "\t")
	if len(text) > 190 && strings.HasPrefix(mine, text) {
		return
	}
	from := path.Dir(name)
	if strings.HasPrefix(text, "/") {
		from = "/"
	}
	if there := path.Join(path.Dir(name), mine); !ok || there != path.Join(from, text) || strings.HasPrefix(mine, "/") {
		t.Errorf("%s leads to %q, want %q", name, mine, text)
	}
}

// factOf describes a file as the facts do.
func factOf(p string, d iofs.DirEntry) (string, error) {
	info, err := d.Info()
	if err != nil {
		return "", err
	}
	switch {
	case info.IsDir():
		return "d\t0\t", nil
	case info.Mode()&iofs.ModeSymlink != 0:
		target, err := os.Readlink(p)
		return fmt.Sprintf("l\t%d\t%s", info.Size(), target), err
	}
	f, err := os.Open(p)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return fmt.Sprintf("f\t%d\terror", info.Size()), nil
	}
	return fmt.Sprintf("f\t%d\t%s", info.Size(), hex.EncodeToString(sum.Sum(nil))), nil
}
