package fstest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vitrine/fs/disk/disktest"
)

// The places of the fixture "guest".
const (
	guestPoint  = "guest/" + firstPoint + "/guest"
	guestExt4   = guestPoint + "/tests (ext4)"
	guestExt4As = "tests (ext4)"
	guestCount  = 3000    // files in the folder "many"
	guestSparse = 8 * mib // size of the file "sparse"
	guestAt     = 5 * mib // where it has its only data
	guestWorn   = "worn file"
)

// guestFixture is a machine whose disks are flat images in files. Where a file
// says so, 4 KiB of it cannot be read.
func guestFixture(images []string) (*Repository, error) {
	r := NewRepository()
	p := point("00000000-0000-4000-8000-000000000010", "guest", firstTime)
	for _, name := range images {
		b, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		c := Content{Size: int64(len(b)), Text: b}
		for off := 0; off < len(b); off += 4096 {
			page := b[off:min(off+4096, len(b))]
			switch n := len(c.Data); {
			case len(bytes.TrimLeft(page, "\x00")) == 0:
			case n > 0 && c.Data[n-1][1] == int64(off):
				c.Data[n-1][1] += int64(len(page))
			default:
				c.Data = append(c.Data, [2]int64{int64(off), int64(off + len(page))})
			}
			if bytes.HasPrefix(page, []byte(guestWorn)) {
				c.Bad = [2]int64{int64(off), int64(off) + 4096}
			}
		}
		p.Disks = append(p.Disks, newDisk(r, filepath.Base(name)+vhdxSuffix, c, smallBlock))
	}
	r.Add(p)
	return r, nil
}

// guestImages makes the disks of the fixture "guest", none where the tools for
// it are missing.
func guestImages(t *testing.T) []string {
	t.Helper()
	mke2fs, err := exec.LookPath("mke2fs")
	if err != nil {
		return nil
	}
	dir, work := t.TempDir(), t.TempDir()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, data []byte, mode iofs.FileMode) {
		p := filepath.Join(dir, name)
		check(os.MkdirAll(filepath.Dir(p), 0o755))
		check(os.WriteFile(p, data, 0o600))
		check(os.Chmod(p, mode))
	}
	write("etc/hello", []byte("hello\n"), 0o640)
	write("bin/su", []byte("su"), 0o755|iofs.ModeSetuid)
	write("secret", []byte("secret"), 0)
	write("odd/a\\b:c", []byte("1"), 0o644)
	write("odd/\xff\xfe", []byte("2"), 0o644)
	write("odd/con", []byte("3"), 0o644)
	write("worn/bad", append([]byte(guestWorn), make([]byte, 8000)...), 0o644)
	write("worn/good", bytes.Repeat([]byte("x"), 100_000), 0o644)
	for i := range guestCount {
		write(fmt.Sprintf("many/%05d", i), nil, 0o644)
	}
	check(os.Link(filepath.Join(dir, "etc/hello"), filepath.Join(dir, "etc/again")))
	for name, target := range map[string]string{
		"etc/absolute": "/etc/hello", "etc/relative": "../etc/hello", "etc/out": "../../../../../../../../etc/passwd",
		"out": "/../../../../etc/passwd", "etc/up": "..", "etc/folded": "none/../../../../../../../etc/hello", "loop": "loop", "root": "/",
	} {
		check(os.Symlink(target, filepath.Join(dir, name)))
	}
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	check(err)
	_, err = sparse.WriteAt(bytes.Repeat([]byte("sparse  "), 8192), guestAt)
	check(errors.Join(err, sparse.Truncate(guestSparse), sparse.Close()))
	image := filepath.Join(work, "linux")
	out, err := exec.Command(mke2fs, "-q", "-F", "-t", "ext4", "-b", "4096", "-L", "tests", "-N", "4096", "-d", dir, image, "24m").CombinedOutput()
	if err != nil {
		t.Fatalf("mke2fs: %v\n%s", err, out)
	}
	images := []string{image}
	if b := foreign(t, "ColinFinck-ntfs/testfs1"); b != nil {
		name := filepath.Join(work, "windows")
		check(os.WriteFile(name, b, 0o600))
		images = append(images, name)
	}
	return images
}

// foreign returns a file of the test data, nil where it is missing.
func foreign(t *testing.T, name string) (b []byte) {
	t.Run("with "+name, func(t *testing.T) { b = disktest.File(t, name) })
	return b
}

func guestFiles(t *testing.T, s *Subject) {
	for name, want := range map[string]string{
		"etc/hello": "hello\n", "etc/again": "hello\n", "bin/su": "su", "secret": "secret",
		"odd/a\\b:c": "1", "odd/\xff\xfe": "2", "odd/con": "3",
	} {
		if got := string(readAll(t, s, guestExt4+"/"+name)); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]iofs.FileMode{
		".": iofs.ModeDir | 0o555, "etc/hello": 0o440, "bin/su": 0o555, "secret": 0o400, "etc/absolute": iofs.ModeSymlink | 0o777, "many": iofs.ModeDir | 0o555,
	} {
		if st := must[Stat](t)(s.Lstat(guestExt4 + "/" + name)); st.Mode != want {
			t.Errorf("%s has mode %v, want %v", name, st.Mode, want)
		}
	}
	one, other := must[Stat](t)(s.Lstat(guestExt4+"/etc/hello")), must[Stat](t)(s.Lstat(guestExt4+"/etc/again"))
	if one.Links != 2 || one.Ino != other.Ino && !s.NoInodes {
		t.Errorf("two names of one file: %d links, inodes %d and %d", one.Links, one.Ino, other.Ino)
	}
	for _, name := range []string{"none", "etc/none", "etc/hello/none", "many/99999"} {
		if _, err := s.Lstat(guestExt4 + "/" + name); err == nil {
			t.Errorf("%s is there", name)
		}
	}
	if _, err := s.Lstat(guestPoint + "/none"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a volume that is not there: %v", err)
	}
}

// guestLinks follows every link by hand: none may have more "..", at any
// point, than folders are above it in its volume.
func guestLinks(t *testing.T, s *Subject) {
	for name, want := range map[string]string{
		"etc/absolute": "../etc/hello", "etc/relative": "../etc/hello", "etc/out": "../etc/passwd", "out": "etc/passwd",
		"etc/up": "..", "etc/folded": "../etc/hello", "loop": "loop", "root": ".",
	} {
		if got := must[string](t)(s.Readlink(guestExt4 + "/" + name)); got != want {
			t.Errorf("%s leads to %q, want %q", name, got, want)
		}
	}
	if s.Dir == "" {
		return
	}
	for _, name := range []string{"etc/absolute", "etc/relative", "etc/folded", "root/etc/up/etc/hello"} {
		if got := string(readAll(t, s, guestExt4+"/"+name)); got != "hello\n" {
			t.Errorf("%s holds %q", name, got)
		}
	}
	if _, err := s.Open(guestExt4 + "/etc/out"); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("a link out of the volume opens: %v", err)
	}
}

func guestHoles(t *testing.T, s *Subject) {
	p := guestExt4 + "/sparse"
	st := must[Stat](t)(s.Lstat(p))
	if st.Size != guestSparse || st.Blocks != 128 {
		t.Errorf("%d bytes in %d blocks, want %d in 128", st.Size, st.Blocks, guestSparse)
	}
	want := make([]byte, guestSparse)
	copy(want[guestAt:], bytes.Repeat([]byte("sparse  "), 8192))
	if !bytes.Equal(readAll(t, s, p), want) {
		t.Error("the content differs")
	}
	if s.NoHoles {
		return
	}
	r := must[Reader](t)(s.Open(p))
	defer r.Close()
	if off, err := r.Next(0, false); err != nil || off != guestAt {
		t.Errorf("data at %d, %v", off, err)
	}
	if off, err := r.Next(guestAt, true); err != nil || off != guestAt+64<<10 {
		t.Errorf("hole at %d, %v", off, err)
	}
	if off, err := r.Next(guestAt+64<<10, false); !errors.Is(err, io.EOF) {
		t.Errorf("more data at %d, %v", off, err)
	}
}

func guestFolders(t *testing.T, s *Subject) {
	got := list(t, s, guestExt4+"/many")
	slices.Sort(got)
	if len(slices.Compact(got)) != guestCount || got[0] != "00000" || got[guestCount-1] != fmt.Sprintf("%05d", guestCount-1) {
		t.Errorf("%d names from %s to %s", len(got), got[0], got[len(got)-1])
	}
	for _, e := range must[[]Entry](t)(s.ReadDir(guestExt4 + "/many")) {
		if st := must[Stat](t)(s.Lstat(guestExt4 + "/many/" + e.Name)); st.Ino != e.Ino && !s.NoInodes || st.Mode.Type() != e.Kind {
			t.Fatalf("%s is listed as %+v, is %+v", e.Name, e, st)
		}
	}
	wantNames(t, s, guestExt4+"/odd", "a\\b:c", "\xff\xfe", "con")
}

func guestNTFS(t *testing.T, s *Subject) {
	i := slices.IndexFunc(list(t, s, guestPoint), func(n string) bool { return strings.Contains(n, "NTFS") })
	if i < 0 {
		t.Skip("the test data set lacks ColinFinck-ntfs/testfs1")
	}
	p := guestPoint + "/" + list(t, s, guestPoint)[i]
	for _, name := range []string{"1000-bytes-file", "1000-BYTES-File"} {
		if b := readAll(t, s, p+"/"+name); len(b) != 1000 {
			t.Errorf("%s has %d bytes", name, len(b))
		}
	}
	if got := list(t, s, p+"/many_subdirs"); len(got) != 512 {
		t.Errorf("%d subfolders", len(got))
	}
}

func guestDamage(t *testing.T, s *Subject) {
	r := must[Reader](t)(s.Open(guestExt4 + "/worn/bad"))
	defer r.Close()
	if _, err := r.ReadAt(make([]byte, 4096), 0); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the damaged file can be read: %v", err)
	}
	if b := readAll(t, s, guestExt4+"/worn/good"); len(b) != 100_000 {
		t.Errorf("its neighbour has %d bytes", len(b))
	}
	eventually(t, s, "the status tells it", func() bool {
		text := string(readAll(t, s, ".vitrine/status"))
		return strings.Contains(text, guestExt4As+"/worn/bad") && strings.Contains(text, ErrBad.Error())
	})
}
