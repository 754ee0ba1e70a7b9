package ext4_test

import (
	"bytes"
	"errors"
	iofs "io/fs"
	"strings"
	"testing"

	"vitrine/fs/ext4"
)

func TestImagesOfOthersReadAsTheKernelReadsThem(t *testing.T) {
	for name, factsOf := range map[string]string{
		"dissect.extfs/ext4.bin.gz":               "dissect-ext4.kernel-ext4-ro_noload.tsv",
		"dissect.extfs/ext4_symlink_test1.bin.gz": "dissect-ext4_symlink1.kernel-ext4-ro_noload.tsv",
		"dissect.target/symlink_disk.ext4":        "dissect-symlink_disk.kernel-ext4-ro_noload.tsv",
		"dfvfs/ext2.vhd":                          "dfvfs-ext2.kernel-ext4-ro_noload.tsv",
		"ext4-view-rs/test_disk1.bin.zst":         "ext4view-disk1.kernel-ext4-ro_noload.tsv",
		"ext4-view-rs/test_disk_ext2.bin.zst":     "ext4view-ext2.kernel-ext4-ro_noload.tsv",
		"ext4-view-rs/test_disk_ext3.bin.zst":     "ext4view-ext3.kernel-ext4-ro_noload.tsv",
	} {
		t.Run(strings.ReplaceAll(name, "/", "-"), func(t *testing.T) {
			t.Parallel()
			want := facts(t, factsOf)
			got := listing(open(t, image(t, name)))
			for path, w := range want {
				if before, ok := strings.CutSuffix(w, "err:126"); ok { // ENOKEY
					if g := got[path]; strings.HasPrefix(g, before) && strings.Contains(g, "encrypted") {
						got[path] = w
					}
				}
			}
			compare(t, got, want)
		})
	}
}

func TestEveryNameIsFoundByTheIndex(t *testing.T) {
	fsys := open(t, image(t, "ext4-view-rs/test_disk1.bin.zst"))
	for _, dir := range []string{"big_dir", "medium_dir", "encrypted_dir"} {
		list, err := fsys.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			info, err := fsys.Lstat(dir + "/" + d.Name())
			if err != nil {
				t.Fatal(err)
			}
			same, err := d.Info()
			if err != nil {
				t.Fatal(err)
			}
			if got, want := inode(info), inode(same); got != want {
				t.Fatalf("%s/%s is inode %d by path, %d in its folder", dir, d.Name(), got, want)
			}
		}
	}
	if _, err := fsys.Stat("big_dir/10001x"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a name that is not there: %v", err)
	}
}

func inode(info iofs.FileInfo) uint64 { return info.Sys().(interface{ Inode() uint64 }).Inode() }

func TestDirtyJournalIsReplayed(t *testing.T) {
	p := image(t, "ext4-view-rs/test_disk_4k_block_journal.bin.zst")
	before := bytes.Clone(p)
	fsys := open(t, p)
	list, err := fsys.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 774 {
		t.Errorf("the root has %d entries after replay, want 774", len(list))
	}
	for path, line := range listing(fsys) {
		if strings.Contains(line, "error") {
			t.Errorf("%s: %s", path, line)
		}
	}
	if notes := fsys.Notes(); len(notes) != 1 || !strings.Contains(notes[0], "replayed") {
		t.Errorf("notes are %q", notes)
	}
	if ok, why := fsys.Consistent(); !ok {
		t.Errorf("not consistent after replay: %s", why)
	}
	if !bytes.Equal(p, before) {
		t.Error("the volume was written to")
	}
}

func TestLinksInALoopEnd(t *testing.T) {
	fsys := open(t, image(t, "dissect.target/symlink_disk.ext4"))
	for _, name := range []string{"path/to/target", "path/to/symlink/target"} {
		if _, err := fsys.Open(name); err == nil || !strings.Contains(err.Error(), "too many levels") {
			t.Errorf("open %s: %v", name, err)
		}
	}
}

func TestEncryptedFilesSayThatTheyAre(t *testing.T) {
	fsys := open(t, image(t, "ext4-view-rs/test_disk1.bin.zst"))
	list, err := fsys.ReadDir("encrypted_dir")
	if err != nil || len(list) != 1 {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	f, err := fsys.Open("encrypted_dir/" + list[0].Name())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if notice := info.Sys().(*ext4.Attributes).Notice(); !strings.Contains(notice, "encrypted") {
		t.Errorf("notice is %q", notice)
	}
	var unreadable *ext4.UnreadableError
	if n, err := f.Read(make([]byte, 10)); n != 0 || !errors.As(err, &unreadable) {
		t.Errorf("read gives %d bytes, %v", n, err)
	}
}
