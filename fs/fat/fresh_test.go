package fat_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"vitrine/fs/disk"
)

// noise is n bytes that depend on seed only.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b)
	return b
}

// tree makes a folder of the hard cases and lists it as sums does.
func tree(t testing.TB, many int) (dir string, want map[string]string) {
	t.Helper()
	dir = t.TempDir()
	want = make(map[string]string)
	put := func(name string, b []byte) {
		full := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(full), 0o755))
		check(t, os.WriteFile(full, b, 0o644))
		stamp := time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC)
		check(t, os.Chtimes(full, stamp, stamp))
		sum := sha256.Sum256(b)
		want[name] = fmt.Sprintf("%d\t%s", len(b), hex.EncodeToString(sum[:]))
	}
	for _, n := range []int{0, 1, 511, 512, 513, 4096, 4097, 70000} {
		put(fmt.Sprintf("size-%d.bin", n), noise(uint64(n), n))
	}
	put("SHORT.TXT", []byte("short"))
	put("lower.txt", []byte("lower"))
	put("MiXed CaSe name.Txt", []byte("mixed"))
	put(strings.Repeat("n", 251)+".txt", []byte("long"))
	put("ümläut-日本語.dat", []byte("unicode"))
	put("thirteen.char", []byte("no end in its last part"))
	put("a.b.c", []byte("dots"))
	put("deep"+strings.Repeat("/d", 20)+"/file", []byte("deep"))
	for i := range many {
		put(fmt.Sprintf("many/entry number %d of a folder", i), noise(uint64(i), i%600))
	}
	return dir, want
}

func TestFreshVolumesReadAsTheyWereWritten(t *testing.T) {
	need(t, "mkfs.vfat", "mcopy")
	for _, c := range []struct {
		kind string
		size int64
		many int
		args []string
	}{
		{"FAT12", 2 << 20, 100, []string{"-F", "12"}},
		{"FAT16", 32 << 20, 500, []string{"-F", "16"}},
		{"FAT32", 80 << 20, 500, []string{"-F", "32", "-s", "1"}},
		{"FAT32", 300 << 20, 300, []string{"-F", "32", "-S", "4096"}},
		{"FAT32", 48 << 20, 100, []string{"-F", "32", "-s", "1", "-f", "1"}},
	} {
		t.Run(fmt.Sprint(c.kind, c.args), func(t *testing.T) {
			dir, want := tree(t, c.many)
			image := mkfs(t, c.size, "mkfs.vfat", append(c.args, "-n", "VITRINE", "-i", "1234abcd")...)
			copyIn(t, image, dir)
			v := openImage(t, image)
			same(t, sums(t, v), want)
			if v.Type() != c.kind || v.Label() != "VITRINE" || v.UUID() != "1234-ABCD" {
				t.Errorf("%s %q %s", v.Type(), v.Label(), v.UUID())
			}
			if i, err := v.Stat("lower.txt"); err != nil || i.ModTime().Format("2006-01-02 15:04:05") != "2024-02-29 23:59:58" {
				t.Errorf("lower.txt: %v, %v", i, err)
			}
			checkFree(t, image, want)
		})
	}
}

// copyIn copies a folder's content onto a FAT image.
func copyIn(t testing.TB, image, dir string) {
	t.Helper()
	list, err := os.ReadDir(dir)
	check(t, err)
	args := []string{"-i", image, "-s", "-m", "-Q", "-o"}
	for _, e := range list {
		args = append(args, filepath.Join(dir, e.Name()))
	}
	cmd := exec.Command("mcopy", append(args, "::/")...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
}

// checkFree overwrites what is called free: every file must stay as it is, and
// no file may lie there.
func checkFree(t *testing.T, image string, want map[string]string) {
	t.Helper()
	v := openImage(t, image)
	if ok, why := v.Consistent(); !ok {
		t.Fatalf("free space is not trusted: %s", why)
	}
	b, err := os.ReadFile(image)
	check(t, err)
	free := new(disk.Set)
	for x, err := range v.Free(context.Background()) {
		check(t, err)
		free.Add(x.Off, x.End())
		for i := x.Off; i < x.End(); i++ {
			b[i] = 0xdb
		}
	}
	if free.Bytes() == 0 {
		t.Error("nothing is free")
	}
	v = openBytes(t, b)
	same(t, sums(t, v), want)
	used := int64(0)
	for name := range want {
		list, err := v.Extents(name)
		check(t, err)
		for _, x := range list {
			used += x.Len
			if free.Overlaps(x.Off, x.End()) {
				t.Errorf("%s lies in free space", name)
			}
		}
	}
	if used+free.Bytes() > int64(len(b)) {
		t.Errorf("%d bytes used and %d free of %d", used, free.Bytes(), len(b))
	}
}

// exMount fills an exFAT image through a FUSE driver.
func exMount(t testing.TB, image string, fn func(dir string)) {
	t.Helper()
	need(t, "mount.exfat-fuse", "umount", "losetup")
	dir := t.TempDir()
	out, err := exec.Command("losetup", "-f", "--show", image).CombinedOutput()
	if err != nil {
		t.Skipf("no loop device for the image: %v %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	defer run(t, "losetup", "-d", loop)
	if out, err := exec.Command("mount.exfat-fuse", loop, dir).CombinedOutput(); err != nil {
		t.Skipf("exFAT images cannot be mounted here: %v %s", err, out)
	}
	defer run(t, "umount", dir)
	fn(dir)
}

func TestFreshExFATReadsAsItWasWritten(t *testing.T) {
	for _, args := range [][]string{{"-c", "4K"}, {"-c", "512"}, {"-c", "128K"}} {
		t.Run(args[1], func(t *testing.T) {
			image := mkfs(t, 96<<20, "mkfs.exfat", append(args, "-L", "vitrine")...)
			dir, want := tree(t, 400)
			exMount(t, image, func(to string) {
				run(t, "cp", "-r", "--preserve=timestamps", dir+"/.", to)
				emoji := []byte("two units")
				check(t, os.WriteFile(to+"/😀.dat", emoji, 0o644))
				sum := sha256.Sum256(emoji)
				want["😀.dat"] = fmt.Sprintf("%d\t%s", len(emoji), hex.EncodeToString(sum[:]))
				fragment(t, to, want)
			})
			v := openImage(t, image)
			same(t, sums(t, v), want)
			if v.Type() != "exFAT" || v.Label() != "vitrine" {
				t.Errorf("%s %q", v.Type(), v.Label())
			}
			if i, err := v.Stat("LOWER.TXT"); err != nil || i.ModTime().Unix() != time.Date(2024, 2, 29, 23, 59, 58, 0, time.UTC).Unix() {
				t.Errorf("LOWER.TXT: %v, %v", i, err)
			}
			checkFree(t, image, want)
			check(t, fstest.TestFS(openImage(t, image), "a.b.c"))
		})
	}
}

// fragment writes two files in turns, so that neither lies in a row.
func fragment(t testing.TB, dir string, want map[string]string) {
	t.Helper()
	var files [2]*os.File
	var all [2][]byte
	for i := range files {
		f, err := os.Create(fmt.Sprintf("%s/turns-%d", dir, i))
		check(t, err)
		files[i] = f
	}
	for k := range 60 {
		for i, f := range files {
			b := noise(uint64(k), 5000+200*i)
			_, err := f.Write(b)
			check(t, err)
			check(t, f.Sync())
			all[i] = append(all[i], b...)
		}
	}
	for i, f := range files {
		check(t, f.Close())
		sum := sha256.Sum256(all[i])
		want[fmt.Sprintf("turns-%d", i)] = fmt.Sprintf("%d\t%s", len(all[i]), hex.EncodeToString(sum[:]))
	}
}

func TestNamesAreFoundInAnyCase(t *testing.T) {
	need(t, "mkfs.vfat", "mcopy")
	image := mkfs(t, 2<<20, "mkfs.vfat", "-F", "12")
	dir := t.TempDir()
	check(t, os.WriteFile(dir+"/A long Name Ä.text", []byte("x"), 0o644))
	check(t, os.Mkdir(dir+"/Folder", 0o755))
	copyIn(t, image, dir)
	v := openImage(t, image)
	for _, name := range []string{"a LONG name ä.TEXT", "ALONGN~1.TEX", "FOLDER"} {
		if _, err := v.Stat(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"A long Name", "folder/x", "/Folder", "Folder/..", "nothing"} {
		if _, err := v.Stat(name); err == nil {
			t.Errorf("%q is found", name)
		}
	}
	check(t, fstest.TestFS(v, "A long Name Ä.text"))
}

func TestReadAtFollowsItsContract(t *testing.T) {
	need(t, "mkfs.vfat", "mcopy")
	image := mkfs(t, 2<<20, "mkfs.vfat", "-F", "12")
	dir := t.TempDir()
	content := noise(7, 9999)
	check(t, os.WriteFile(dir+"/f", content, 0o644))
	copyIn(t, image, dir)
	f, err := openImage(t, image).Open("f")
	check(t, err)
	r := f.(io.ReaderAt)
	for _, c := range []struct{ off, n, want int }{{0, 1, 1}, {0, 9999, 9999}, {0, 10000, 9999}, {9998, 5, 1}, {9999, 1, 0}, {20000, 1, 0}, {2047, 4097, 4097}} {
		p := make([]byte, c.n)
		n, err := r.ReadAt(p, int64(c.off))
		if n != c.want || (n < c.n) != (err == io.EOF) || n > 0 && !bytes.Equal(p[:n], content[c.off:c.off+n]) {
			t.Errorf("ReadAt(%d bytes at %d) = %d, %v", c.n, c.off, n, err)
		}
	}
	if _, err := r.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset is accepted")
	}
}
