package ntfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"vitrine/fs/disk"
	"vitrine/fs/ntfs"
)

// fresh makes a volume with mkntfs, lets fill write to it through ntfs-3g, and
// returns the image's path.
func fresh(t testing.TB, size int64, mkfs []string, options string, fill func(dir string)) string {
	t.Helper()
	for _, tool := range []string{"mkntfs", "ntfs-3g", "fusermount"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: install the package ntfs-3g", tool)
		}
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	file, err := os.Create(image)
	if err == nil {
		err = errors.Join(file.Truncate(size), file.Close(), os.Mkdir(mnt, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-F", "-Q", "-q", "-L", "Fresh"}, mkfs...)
	if out, err := exec.Command("mkntfs", append(args, image)...).CombinedOutput(); err != nil {
		t.Fatalf("mkntfs: %v\n%s", err, out)
	}
	if out, err := exec.Command("ntfs-3g", "-o", options, image, mnt).CombinedOutput(); err != nil {
		t.Skipf("ntfs-3g cannot mount here (it needs /dev/fuse and root): %v\n%s", err, out)
	}
	unmount := func() error { return exec.Command("umount", mnt).Run() }
	done := false
	defer func() {
		if !done {
			unmount()
		}
	}()
	fill(mnt)
	if err := unmount(); err != nil {
		t.Fatal(err)
	}
	done = true
	// The driver writes the last of it after umount has returned.
	for range 200 {
		if out, _ := exec.Command("fuser", image).Output(); len(out) == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return image
}

func openImage(t testing.TB, image string) *ntfs.FS {
	t.Helper()
	file, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	info, err := file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := ntfs.Open(file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

func text(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a text that packs well\n", i*i)
	}
	return b.Bytes()[:n]
}

// tree is what a test writes: content by path.
type tree struct {
	t     testing.TB
	dir   string
	files map[string][]byte
}

func (w *tree) path(name string) string { return filepath.Join(w.dir, name) }

func (w *tree) write(name string, b []byte) {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), b, 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.files[name] = b
}

func (w *tree) mkdir(name string) {
	w.t.Helper()
	if err := os.Mkdir(w.path(name), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func (w *tree) xattr(name, attr string, value []byte) {
	w.t.Helper()
	if err := unix.Lsetxattr(w.path(name), attr, value, 0); err != nil {
		w.t.Fatalf("%s of %s: %v", attr, name, err)
	}
}

// patch writes bytes of a file that exists.
func (w *tree) patch(name string, off int64, b []byte) {
	w.t.Helper()
	file, err := os.OpenFile(w.path(name), os.O_RDWR|os.O_CREATE, 0o644)
	if err == nil {
		_, err = file.WriteAt(b, off)
		err = errors.Join(err, file.Close())
	}
	if err != nil {
		w.t.Fatal(err)
	}
	old := w.files[name]
	if need := int(off) + len(b); need > len(old) {
		old = append(old, make([]byte, need-len(old))...)
	}
	copy(old[off:], b)
	w.files[name] = old
}

// check compares all files, read whole, in odd pieces and by their extents.
func (w *tree) check(f *ntfs.FS) {
	w.t.Helper()
	for name, want := range w.files {
		file, err := f.Open(name)
		if err != nil {
			w.t.Error(err)
			continue
		}
		got, err := io.ReadAll(file)
		if err != nil || !bytes.Equal(got, want) {
			w.t.Errorf("%s: %d bytes, want %d, first difference at %d: %v", name, len(got), len(want), differ(got, want), err)
			continue
		}
		r := file.(io.ReaderAt)
		for range 20 {
			if len(want) == 0 {
				break
			}
			off := rand.IntN(len(want))
			p := make([]byte, min(rand.IntN(200<<10)+1, len(want)-off))
			if n, err := r.ReadAt(p, int64(off)); n != len(p) || err != nil && err != io.EOF || !bytes.Equal(p, want[off:off+n]) {
				w.t.Errorf("%s: %d bytes at %d: %d, %v", name, len(p), off, n, err)
				break
			}
		}
		checkHoles(w.t, name, file, want)
		file.Close()
	}
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// checkHoles wants zeros wherever NextData reports nothing.
func checkHoles(t testing.TB, name string, file iofs.File, want []byte) {
	t.Helper()
	for off := int64(0); ; {
		start, end, err := file.(interface {
			NextData(int64) (int64, int64, error)
		}).NextData(off)
		if err == io.EOF {
			start, end = int64(len(want)), int64(len(want))
		} else if err != nil || start < off || end <= start || end > int64(len(want)) {
			t.Fatalf("%s: data behind %d: [%d,%d) %v", name, off, start, end, err)
		}
		if len(bytes.Trim(want[off:start], "\x00")) != 0 {
			t.Errorf("%s: [%d,%d) is no hole", name, off, start)
		}
		if off = end; off == int64(len(want)) {
			return
		}
	}
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	for _, tt := range []struct {
		name string
		size int64
		mkfs []string
		lzs  bool
	}{
		{"512", 64 << 20, []string{"-c", "512"}, true},
		{"4096", 96 << 20, []string{"-c", "4096"}, true},
		{"64K", 96 << 20, []string{"-c", "65536"}, false},
		{"2M", 512 << 20, []string{"-c", "2097152"}, false},
		{"4Kn", 96 << 20, []string{"-s", "4096"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &tree{t: t, files: make(map[string][]byte)}
			image := fresh(t, tt.size, tt.mkfs, "streams_interface=windows,compression", func(dir string) {
				w.dir = dir
				for _, n := range []int{0, 1, 400, 700, 1000, 4095, 4096, 4097, 100_000, 3 << 20} {
					w.write(fmt.Sprintf("size %d", n), random(uint64(n), n))
				}
				w.mkdir("dir")
				w.mkdir("dir/sub")
				w.write("dir/sub/"+strings.Repeat("ü", 120)+".txt", text(50))
				w.write("dir/💾 emoji 漢字", text(5000))
				w.write("dir/Case", []byte("upper"))
				w.write("dir/case", []byte("lower"))
				w.write("streams", text(10))
				w.files["streams:one"] = text(20)
				w.files["streams:two ü"] = random(2, 300_000)
				for _, s := range []string{"streams:one", "streams:two ü"} {
					w.write(s, w.files[s])
				}
				w.patch("sparse", 20<<20, text(100_000))
				w.patch("sparse", 1<<20, text(5))
				for i := range 40 {
					if err := os.Link(w.path("streams"), w.path(fmt.Sprintf("dir/link %d with a long name to fill records", i))); err != nil {
						t.Fatal(err)
					}
				}
				for i := range 300 {
					w.patch("frag1", int64(i)*8192, random(uint64(i), 8192))
					w.patch("frag2", int64(i)*8192, random(uint64(i+1000), 8192))
				}
				if tt.lzs {
					w.mkdir("packed")
					w.xattr("packed", "system.ntfs_attrib_be", []byte{0, 0, 8, 0x10})
					w.write("packed/text", text(1_000_001))
					w.write("packed/random", random(5, 200_000))
					mixed := append(text(65536), make([]byte, 3*65536)...)
					mixed = append(append(mixed, random(6, 65536)...), text(30_000)...)
					mixed = append(append(append(mixed, make([]byte, 200_000)...), text(65536)...), make([]byte, 65536)...)
					w.write("packed/mixed", mixed)
					w.write("packed/small", text(100))
				}
			})
			f := openImage(t, image)
			if ok, why := f.Consistent(); !ok || f.Label() != "Fresh" || len(f.Notes()) > 0 {
				t.Errorf("consistent %v %s, label %q, notes %q", ok, why, f.Label(), f.Notes())
			}
			w.check(f)
			sub, err := iofs.Sub(f, "dir") // byte by byte, so not all of it
			if err != nil {
				t.Fatal(err)
			}
			if err := fstest.TestFS(sub, listed(t, sub)...); err != nil {
				t.Error(err)
			}
			info, err := f.Stat("dir/link 7 with a long name to fill records")
			if err != nil {
				t.Fatal(err)
			}
			sys := info.Sys().(*ntfs.Sys)
			if sys.Links() != 41 || strings.Join(sys.Streams(), "|") != "one|two ü" {
				t.Errorf("%d links, streams %q", sys.Links(), sys.Streams())
			}
			checkFree(t, f, image)
		})
	}
}

// checkFree compares the free clusters with what ntfsinfo counts.
func checkFree(t *testing.T, f *ntfs.FS, image string) {
	t.Helper()
	free := int64(0)
	for e, err := range f.Free(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		free += e.Len
	}
	out, err := exec.Command("ntfsinfo", "-m", image).Output()
	if err != nil {
		t.Skipf("ntfsinfo cannot be run: %v", err)
	}
	var cluster, clusters int64
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if v, ok := strings.CutPrefix(line, "Free Clusters:"); ok {
			fmt.Sscan(v, &clusters)
		}
		if v, ok := strings.CutPrefix(line, "Cluster Size:"); ok {
			fmt.Sscan(v, &cluster)
		}
	}
	if free != cluster*clusters {
		t.Errorf("%d bytes are free, ntfsinfo says %d", free, cluster*clusters)
	}
}

func TestLookupIgnoresCaseAndFindsPairsExactly(t *testing.T) {
	w := &tree{t: t, files: make(map[string][]byte)}
	f := openImage(t, fresh(t, 16<<20, nil, "streams_interface=windows", func(dir string) {
		w.dir = dir
		w.mkdir("Übung")
		w.write("Übung/Case", []byte("upper"))
		w.write("Übung/case", []byte("lower"))
		w.write("Übung/case:Stream", []byte("stream"))
	}))
	for name, want := range map[string]string{
		"üBUNG/Case": "upper", "ÜBUNG/case": "lower", "Übung/case:STREAM": "stream",
	} {
		if got, err := iofs.ReadFile(f, name); string(got) != want {
			t.Errorf("%s: %q %v, want %q", name, got, err, want)
		}
	}
	if got, err := iofs.ReadFile(f, "Übung/CASE"); string(got) != "upper" && string(got) != "lower" {
		t.Errorf("CASE: %q %v", got, err)
	}
}

// On a volume whose free space is scattered a directory and a file need many
// records each.
func TestLargeFragmentedDirectoriesAndFilesAreWhole(t *testing.T) {
	const files = 8_000
	w := &tree{t: t, files: make(map[string][]byte)}
	name := func(i int) string { return fmt.Sprintf("many/a rather long name of file number %06d", i*7919%files) }
	f := openImage(t, fresh(t, 44<<20, []string{"-c", "512"}, "streams_interface=none", func(dir string) {
		w.dir = dir
		w.mkdir("many")
		w.mkdir("filler")
		for i := range files {
			w.write(name(i), nil)
			delete(w.files, name(i))
			if err := os.Remove(w.path(name(i))); err != nil {
				t.Fatal(err)
			}
			if os.WriteFile(w.path(fmt.Sprintf("filler/%d", i)), random(1, 4096), 0o644) != nil {
				break
			}
		}
		w.write("rest", nil)
		file, err := os.OpenFile(w.path("rest"), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		rest := int64(0)
		for {
			n, err := file.Write(make([]byte, 64<<10))
			if rest += int64(n); err != nil {
				break
			}
		}
		file.Close()
		w.files["rest"] = make([]byte, rest)
		for i := range files {
			if i%2 == 0 {
				os.Remove(w.path(fmt.Sprintf("filler/%d", i)))
			}
		}
		for i := range files {
			w.write(name(i), nil)
			if i%12 == 0 {
				w.patch("wedge", int64(i)*512, random(uint64(i), 5000))
			}
		}
		for i := range files {
			// The last names go altogether, so that blocks get free.
			if number := i * 7919 % files; number%5 == 0 || number > files*3/4 {
				if err := os.Remove(w.path(name(i))); err != nil {
					t.Fatal(err)
				}
				delete(w.files, name(i))
			}
		}
	}))
	want := 0
	for n := range w.files {
		if strings.HasPrefix(n, "many/") {
			want++
		}
		if _, err := f.Lstat(n); err != nil {
			t.Fatal(err)
		}
	}
	all, err := f.ReadDir("many")
	if err != nil || len(all) != want {
		t.Errorf("%d entries, want %d: %v", len(all), want, err)
	}
	seen := make(map[string]bool)
	dir, err := f.Open("many")
	if err != nil {
		t.Fatal(err)
	}
	for {
		part, err := dir.(iofs.ReadDirFile).ReadDir(100)
		for _, e := range part {
			seen[e.Name()] = true
		}
		if err != nil {
			if err != io.EOF {
				t.Error(err)
			}
			break
		}
	}
	if len(seen) != want {
		t.Errorf("%d entries in pieces, want %d", len(seen), want)
	}
	if _, err := f.Lstat(name(0)); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("removed name: %v", err)
	}
	w.files = map[string][]byte{"wedge": w.files["wedge"], "rest": w.files["rest"]}
	w.check(f)
	if n := extents(t, f, "wedge"); n < 500 {
		t.Errorf("the file has %d extents only: the test tests nothing", n)
	}
}

func extents(t testing.TB, f *ntfs.FS, name string) int {
	t.Helper()
	all, err := f.Extents(name)
	if err != nil {
		t.Error(err)
	}
	return len(all)
}

func TestNamesForDOSAreNotListedAndFound(t *testing.T) {
	w := &tree{t: t, files: make(map[string][]byte)}
	f := openImage(t, fresh(t, 16<<20, nil, "streams_interface=none,allow_other", func(dir string) {
		w.dir = dir
		w.write("a long name.text", []byte("hello"))
		w.xattr("a long name.text", "system.ntfs_dos_name", []byte("ALONGN~1.TEX"))
	}))
	if got := listed(t, f); len(got) != 1 || got[0] != "a long name.text" {
		t.Errorf("listed: %q", got)
	}
	if got, err := iofs.ReadFile(f, "alongn~1.tex"); string(got) != "hello" {
		t.Errorf("by its name for DOS: %q %v", got, err)
	}
	if info, err := f.Stat("a long name.text"); err != nil || info.Sys().(*ntfs.Sys).Links() != 1 {
		t.Errorf("links: %v", err)
	}
}

func TestPageFilesAreFoundAndChecked(t *testing.T) {
	w := &tree{t: t, files: make(map[string][]byte)}
	f := openImage(t, fresh(t, 64<<20, nil, "streams_interface=none", func(dir string) {
		w.dir = dir
		w.write("pagefile.sys", random(1, 5<<20))
		w.xattr("pagefile.sys", "system.ntfs_attrib_be", []byte{0, 0, 0, 6})
		w.write("swapfile.sys", random(1, 1<<20))
		w.write("hiberfil.sys", append([]byte("HIBR"), random(1, 1<<20)...))
		w.xattr("hiberfil.sys", "system.ntfs_attrib_be", []byte{0, 0, 0, 6})
	}))
	all, err := f.Extents("PAGEFILE.SYS")
	if err != nil {
		t.Fatal(err)
	}
	set := new(disk.Set)
	for _, e := range all {
		set.Add(e.Off, e.End())
	}
	if set.Bytes() != 5<<20 {
		t.Errorf("%d bytes in %v", set.Bytes(), all)
	}
	if _, err := f.Extents("swapfile.sys"); err == nil {
		t.Error("a swapfile.sys that is neither hidden nor of the system was taken for Windows' own")
	}
	if ok, why := f.Consistent(); ok || !f.Hibernated() || !strings.Contains(why, "hibernated") {
		t.Errorf("consistent %v: %s", ok, why)
	}
}
