package ext4_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/ext4"
)

// readAll opens a volume and reads what there is, up to a budget of files and
// of bytes of each. Errors are what is expected: only panics and endless loops
// fail.
func readAll(p []byte) (opened bool, files int, damage []error) {
	fsys, err := ext4.Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		return false, 0, []error{err}
	}
	buf := make([]byte, 64<<10)
	iofs.WalkDir(fsys, ".", func(name string, d iofs.DirEntry, err error) error {
		if files++; files > 500 {
			return iofs.SkipAll
		}
		if err != nil {
			damage = append(damage, err)
			return nil
		}
		if _, err := d.Info(); err != nil {
			damage = append(damage, err)
		}
		if d.Type()&iofs.ModeSymlink != 0 {
			if _, err := fsys.ReadLink(name); err != nil {
				damage = append(damage, err)
			}
		}
		fsys.Extents(name)
		f, err := fsys.Open(name)
		if err != nil {
			if d.Type()&iofs.ModeSymlink == 0 {
				damage = append(damage, err)
			}
			return nil
		}
		defer f.Close()
		if d.Type().IsRegular() {
			for range 16 {
				if _, err := f.Read(buf); err != nil {
					if err != io.EOF {
						damage = append(damage, err)
					}
					break
				}
			}
			if at, ok := f.(interface {
				NextData(int64) (int64, int64, error)
			}); ok {
				at.NextData(0)
			}
		}
		return nil
	})
	budget := 0
	for _, err := range fsys.Free(context.Background()) {
		if budget++; err != nil || budget > 100000 {
			break
		}
	}
	return true, files, damage
}

func TestDamagedVolumesGiveErrors(t *testing.T) {
	images, err := filepath.Glob(filepath.Join(dataDir(t), "e2fsprogs-tests", "*", "image.gz"))
	if err != nil || len(images) == 0 {
		t.Skip("needs the damaged images e2fsprogs-tests")
	}
	opened, damaged := 0, 0
	for _, name := range images {
		dir := filepath.Base(filepath.Dir(name))
		p := image(t, filepath.Join("e2fsprogs-tests", dir, "image.gz"))
		ok, files, damage := readAll(p)
		if ok {
			opened++
		}
		if len(damage) > 0 {
			damaged++
		}
		t.Logf("%-30s opened %-5v %4d files, %d errors %.300v", dir, ok, files, len(damage), damage)
		readAll(p[:len(p)/2])
		readAll(p[:len(p)/10])
	}
	t.Logf("%d of %d open, %d with errors", opened, len(images), damaged)
	if opened < len(images)/2 || damaged < len(images)/4 {
		t.Error("too few open or too few are found damaged: the test tests nothing")
	}
}

func TestAWrongIndexHidesNothing(t *testing.T) {
	for _, name := range []string{"f_h_reindex", "f_h_badnode"} {
		fsys := open(t, image(t, filepath.Join("e2fsprogs-tests", name, "image.gz")))
		for _, dir := range []string{"test", "test2"} {
			list, err := fsys.ReadDir(dir)
			if errors.Is(err, iofs.ErrNotExist) {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(list); i += 97 {
				if _, err := fsys.Lstat(dir + "/" + list[i].Name()); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

// plain makes a small volume without checksums, so that anything can be
// changed in it.
func plain(t testing.TB, options ...string) []byte {
	t.Helper()
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("needs mkfs.ext4 (Debian package e2fsprogs)")
	}
	dir := t.TempDir()
	for _, name := range []string{"root/folder/below", "root/many"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, p := range map[string][]byte{
		"root/file": bytes.Repeat([]byte("0123456789abcdef"), 2000), "root/folder/short": []byte("short"),
		"root/folder/secret": []byte("secret"), "root/many/one": nil,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), p, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"root/link": "folder/short", "root/long": strings.Repeat("long/", 40)} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(dir, "volume.img")
	args := append([]string{"-q", "-F", "-b", "1024", "-N", "64", "-d", filepath.Join(dir, "root")}, options...)
	if out, err := exec.Command(mkfs, append(args, name, "400k")...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	p, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var unchecked = []string{"-O", "^metadata_csum,^uninit_bg,^has_journal,^resize_inode,^64bit"}

// where returns the place of a file's inode in the volume p, found by its
// number.
func where(t testing.TB, p []byte, name string) int {
	t.Helper()
	info, err := open(t, p).Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	return int(le.Uint32(p[2048+8:]))*1024 + int(inode(info)-1)*int(le.Uint16(p[1024+88:]))
}

func TestDamageIsAnErrorForItsObjectOnly(t *testing.T) {
	le := binary.LittleEndian
	for name, c := range map[string]struct {
		of     string // the file whose inode is changed
		change func(inode, p []byte)
		want   string
	}{
		"extent depth":          {"file", func(i, _ []byte) { le.PutUint16(i[46:], 65535) }, "depth"},
		"extents of no tree":    {"file", func(i, _ []byte) { le.PutUint16(i[40:], 0) }, "magic"},
		"too many extents":      {"file", func(i, _ []byte) { le.PutUint16(i[42:], 5) }, "entries"},
		"extent outside":        {"file", func(i, _ []byte) { le.PutUint32(i[60:], 70000) }, "do not exist"},
		"extent in the tables":  {"file", func(i, _ []byte) { le.PutUint32(i[60:], 2) }, "own tables"},
		"extent of no length":   {"file", func(i, _ []byte) { le.PutUint16(i[56:], 0) }, "extent 0"},
		"extent node is itself": {"file", func(i, _ []byte) { le.PutUint16(i[46:], 5); le.PutUint32(i[56:], 300) }, "a node of its extents"},
		"size":                  {"file", func(i, _ []byte) { le.PutUint32(i[108:], 1<<20) }, "size"},
		"mode":                  {"file", func(i, _ []byte) { le.PutUint16(i, 0o070644) }, "mode"},
		"deleted":               {"file", func(i, _ []byte) { le.PutUint16(i[26:], 0) }, "deleted"},
		"extra bytes":           {"file", func(i, _ []byte) { le.PutUint16(i[128:], 4000) }, "extra"},
		"inline without":        {"file", func(i, _ []byte) { le.PutUint32(i[32:], 0x10000000) }, "without that feature"},
	} {
		t.Run(name, func(t *testing.T) {
			p := plain(t, unchecked...)
			at := where(t, p, c.of)
			c.change(p[at:at+256], p)
			fsys := open(t, p)
			_, err := iofs.ReadFile(fsys, c.of)
			var damage *ext4.CorruptError
			if !errors.As(err, &damage) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got error %v, want damage: %q", err, c.want)
			}
			if got, err := iofs.ReadFile(fsys, "folder/short"); string(got) != "short" || err != nil {
				t.Errorf("the neighbour reads as %q, %v", got, err)
			}
		})
	}
}

func TestAFolderInItselfIsFound(t *testing.T) {
	p := plain(t, unchecked...)
	info, err := open(t, p).Stat("folder/below")
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(p, []byte{byte(inode(info)), 0, 0, 0, 16, 0, 5, 2, 'b', 'e', 'l', 'o', 'w'})
	if at < 0 {
		at = bytes.Index(p, []byte("below")) - 8
	}
	above, err := open(t, p).Stat("folder")
	if err != nil {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(p[at:], uint32(inode(above)))
	if _, err := open(t, p).ReadDir("folder/below"); err == nil || !strings.Contains(err.Error(), "lies in itself") {
		t.Errorf("got %v", err)
	}
}

func TestABlockBelongsToAFolderOnce(t *testing.T) {
	p := plain(t, unchecked...)
	inode := p[where(t, p, "folder"):]
	le := binary.LittleEndian
	le.PutUint32(inode[4:], 4*1024)
	le.PutUint16(inode[42:], 4)
	for i := 1; i < 4; i++ {
		copy(inode[52+12*i:], inode[52:64])
		le.PutUint32(inode[52+12*i:], uint32(i))
	}
	list, err := open(t, p).ReadDir("folder")
	if err == nil || !strings.Contains(err.Error(), "twice") || len(list) != 3 {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

func TestUnknownFeaturesAreRefusedByName(t *testing.T) {
	p := plain(t, unchecked...)
	for bit, want := range map[uint32]string{1: "compression", 8: "journal", 0x80000: "0x80000", 0x800: "0x800"} {
		q := bytes.Clone(p)
		flags := q[1024+96:]
		binary.LittleEndian.PutUint32(flags, binary.LittleEndian.Uint32(flags)|bit)
		_, err := ext4.Open(bytes.NewReader(q), int64(len(q)))
		var unsupported *ext4.UnsupportedError
		if !errors.As(err, &unsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("feature %x: got %v, want %q", bit, err, want)
		}
	}
}

func TestEveryChecksumIsVerified(t *testing.T) {
	p := plain(t)
	whole := listing(open(t, p))
	inodeOf := where(t, p, "file")
	folder := bytes.Index(p, []byte("secret")) // in the folder, which comes before the content
	for name, c := range map[string]struct {
		at    int
		wrong func(got map[string]string, err error) bool
	}{
		"superblock": {1024 + 0x10C, func(_ map[string]string, err error) bool { return err != nil }},
		"descriptor": {2048 + 4, func(_ map[string]string, err error) bool { return err != nil }},
		"inode":      {inodeOf + 8, func(got map[string]string, _ error) bool { return strings.Contains(got["/file"], "checksum") }},
		"folder": {folder, func(got map[string]string, _ error) bool {
			_, there := got["/folder/secret"]
			return strings.Contains(got["/folder"], "checksum") && !there
		}},
	} {
		q := bytes.Clone(p)
		q[c.at] ^= 1
		fsys, err := ext4.Open(bytes.NewReader(q), int64(len(q)))
		var got map[string]string
		if err == nil {
			got = listing(fsys)
		}
		if !c.wrong(got, err) {
			t.Errorf("%s: a flipped bit goes unnoticed: %v %v", name, got, err)
		}
		if err == nil && got["/link"] != whole["/link"] {
			t.Errorf("%s: the neighbours suffer: %q", name, got["/link"])
		}
	}
}

// FuzzVolume changes bytes of small volumes: each four bytes of edits are an
// offset, mostly in the first 128 KiB, and a value.
func FuzzVolume(f *testing.F) {
	volumes := [][]byte{
		plain(f, unchecked...),
		plain(f, "-t", "ext2", "-O", "none,filetype"),
		plain(f, "-O", "^metadata_csum,^has_journal,^resize_inode,inline_data", "-I", "256"),
		image(f, "dissect.target/symlink_disk.ext4"),
	}
	for i := range volumes {
		f.Add(uint8(i), []byte{})
		f.Add(uint8(i), []byte{8, 0, 60, 1, 12, 4, 0, 255})
	}
	f.Fuzz(func(t *testing.T, which uint8, edits []byte) {
		p := bytes.Clone(volumes[int(which)%len(volumes)])
		for ; len(edits) >= 4; edits = edits[4:] {
			at := (int(edits[0]) | int(edits[1])<<8 | int(edits[2])<<16) % len(p)
			p[at] = edits[3]
		}
		readAll(p)
	})
}

func TestFoldedNamesAreFoundInAnyCase(t *testing.T) {
	p := plain(t, "-O", "^metadata_csum,^has_journal,casefold", "-E", "encoding=utf8")
	at := where(t, p, "folder")
	flags := p[at+32:]
	binary.LittleEndian.PutUint32(flags, binary.LittleEndian.Uint32(flags)|0x40000000)
	fsys := open(t, p)
	for _, name := range []string{"folder/short", "folder/SHORT", "folder/\u017fhort"} {
		if got, err := iofs.ReadFile(fsys, name); string(got) != "short" || err != nil {
			t.Errorf("%s reads as %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"FOLDER/short", "folder/shor", "FILE"} {
		if _, err := fsys.Stat(name); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBlocksOf64KiB(t *testing.T) {
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		t.Skip("needs mkfs.ext4 (Debian package e2fsprogs)")
	}
	dir := t.TempDir()
	root := filepath.Join(dir, "root")
	want := map[string]bool{"lost+found": true}
	for i := range 1500 { // more than a block
		name := fmt.Sprintf("%04d%s", i, strings.Repeat("n", 60))
		want[name] = true
	}
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for name := range want {
		if err := os.WriteFile(filepath.Join(root, name), []byte(name), 0o644); err != nil && name != "lost+found" {
			t.Fatal(err)
		}
	}
	os.Remove(filepath.Join(root, "lost+found"))
	name := filepath.Join(dir, "volume.img")
	if out, err := exec.Command(mkfs, "-q", "-F", "-b", "65536", "-N", "4096", "-O", "inline_data", "-d", root, name, "64M").CombinedOutput(); err != nil {
		t.Fatalf("mkfs.ext4: %v\n%s", err, out)
	}
	fsys := openFile(t, name)
	list, err := fsys.ReadDir(".")
	if err != nil || len(list) != len(want) {
		t.Fatalf("%d entries of %d, %v", len(list), len(want), err)
	}
	for _, d := range list {
		if got, err := iofs.ReadFile(fsys, d.Name()); !d.IsDir() && (string(got) != d.Name() || err != nil) {
			t.Fatalf("%s reads as %q, %v", d.Name(), got, err)
		}
	}
}
