package ext4_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/sys/unix"

	"vitrine/fs/disk"
	"vitrine/fs/ext4"
)

// tool runs a program of e2fsprogs or mount; the test is skipped without it.
func tool(t testing.TB, name string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s (Debian packages e2fsprogs and mount)", name)
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// makeImage makes a volume of some MiB.
func makeImage(t testing.TB, mib int64, mkfs ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "volume.img")
	// What was there before must never show through.
	must(t, os.WriteFile(name, bytes.Repeat([]byte("stale bytes "), int(mib<<20)/12), 0o600))
	must(t, os.Truncate(name, mib<<20))
	tool(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-K"}, mkfs...), name)...)
	return name
}

// mount mounts an image; the test is skipped where that is impossible.
func mount(t testing.TB, image, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to mount images")
	}
	dir := t.TempDir()
	out, err := exec.Command("mount", "-t", "ext4", "-o", "loop"+options, image, dir).CombinedOutput()
	if err != nil {
		t.Skipf("needs a kernel that mounts this volume: %s", out)
	}
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

func umount(t testing.TB, dir string) {
	t.Helper()
	tool(t, "umount", dir)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// pattern is n bytes that differ from block to block.
func pattern(n int, seed byte) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i>>9)*31 + byte(i) ^ seed
	}
	return p
}

// fill puts the hard cases below dir. names is how many files one folder gets.
func fill(t testing.TB, dir string, names int) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, n := range []int{0, 1, 59, 60, 61, 100, 150, 160, 1023, 1024, 1025, 4096, 70000} {
		must(t, os.WriteFile(in(fmt.Sprintf("size%d", n)), pattern(n, byte(n)), 0o644))
		if n > 0 && n < 1024 {
			must(t, os.Symlink(strings.Repeat("l", n), in(fmt.Sprintf("link%d", n))))
		}
	}
	must(t, os.WriteFile(in("big"), pattern(5<<20+77, 3), 0o4755))
	must(t, os.Link(in("big"), in("hard")))

	sparse, err := os.Create(in("sparse"))
	must(t, err)
	for i := range int64(400) { // more extents than fit into two blocks of 1 KiB
		_, err = sparse.WriteAt(pattern(1024, byte(i)), i*9000)
		must(t, err)
	}
	_, err = sparse.WriteAt([]byte("far"), 90<<20)
	must(t, err)
	must(t, sparse.Truncate(90<<20+12345))
	must(t, sparse.Close())

	unwritten, err := os.Create(in("unwritten"))
	must(t, err)
	if err := unix.Fallocate(int(unwritten.Fd()), 0, 0, 1<<20); err == nil {
		_, err = unwritten.WriteAt(pattern(10000, 9), 300000)
		must(t, err)
	}
	must(t, unwritten.Close())

	many := in("many")
	must(t, os.Mkdir(many, 0o755))
	for i := range names {
		must(t, os.WriteFile(filepath.Join(many, fmt.Sprintf("%04d-%s", i, strings.Repeat("n", i%100))), nil, 0o600))
	}
	for i := 0; i < names; i += 3 {
		must(t, os.Remove(filepath.Join(many, fmt.Sprintf("%04d-%s", i, strings.Repeat("n", i%100)))))
	}
	must(t, os.MkdirAll(in("a/b/c"), 0o1777))
	must(t, os.WriteFile(in("a/b/c/Grüße "+strings.Repeat("ü", 120)), []byte("hello"), 0o644))
	must(t, os.WriteFile(in("a/"+strings.Repeat("x", 255)), nil, 0o644))
	if err := os.WriteFile(in("not\xffutf8"), []byte("bytes"), 0o644); err != nil && !errors.Is(err, syscall.EINVAL) {
		t.Fatal(err)
	}
	must(t, os.Symlink("../size1024", in("a/up")))
	must(t, os.Symlink("/a/b", in("a/absolute")))
	must(t, syscall.Mkfifo(in("fifo"), 0o600))
	must(t, syscall.Mknod(in("device"), syscall.S_IFBLK|0o600, 7<<8|3))
	must(t, os.Chown(in("size100"), 100000, 70000))
	for i, at := range []time.Time{
		time.Date(1905, 1, 1, 0, 0, 0, 123456789, time.UTC), time.Date(1970, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(2039, 5, 5, 5, 5, 5, 999999999, time.UTC), time.Date(2400, 1, 1, 0, 0, 0, 7, time.UTC),
	} {
		name := in(fmt.Sprintf("time%d", i))
		must(t, os.WriteFile(name, nil, 0o644))
		must(t, os.Chtimes(name, at, at))
	}
}

// kernelFS is a mounted folder, without the demand of os.DirFS that names be
// UTF-8.
type kernelFS string

func (k kernelFS) Open(name string) (iofs.File, error) {
	return os.Open(filepath.Join(string(k), name))
}

func (k kernelFS) Lstat(name string) (iofs.FileInfo, error) {
	return os.Lstat(filepath.Join(string(k), name))
}

func (k kernelFS) Stat(name string) (iofs.FileInfo, error) {
	return os.Stat(filepath.Join(string(k), name))
}

func (k kernelFS) ReadLink(name string) (string, error) {
	return os.Readlink(filepath.Join(string(k), name))
}

// detailed adds what stands in the inodes to a listing.
func detailed(t testing.TB, fsys iofs.FS) map[string]string {
	t.Helper()
	lines := listing(fsys)
	for path := range lines {
		info, err := iofs.Lstat(fsys, path[1:])
		if err != nil {
			lines[path] += " " + err.Error()
			continue
		}
		var uid, gid uint32
		var links int
		var number uint64
		var accessed time.Time
		switch sys := info.Sys().(type) {
		case *syscall.Stat_t:
			uid, gid, links, number = sys.Uid, sys.Gid, int(sys.Nlink), sys.Ino
			accessed = time.Unix(sys.Atim.Unix())
		case *ext4.Attributes:
			uid, gid, _ = sys.Owner()
			links, number, accessed = sys.Links(), sys.Inode(), sys.AccessTime()
		}
		lines[path] += fmt.Sprintf("\t%v %d:%d %d links, inode %d, %d", info.Mode(), uid, gid, links, number, info.ModTime().UnixNano())
		if info.Mode().IsRegular() && info.Size() == 0 { // nobody has read it since
			lines[path] += fmt.Sprintf(" %d", accessed.UnixNano())
		}
	}
	return lines
}

func TestFreshVolumesReadAsTheKernelReadsThem(t *testing.T) {
	usual := []string{"ext2, 1 KiB", "ext4", "ext4, 1 KiB", "inline data, small", "bigalloc"}
	for name, options := range map[string][]string{
		"ext2, 1 KiB":          {"-t", "ext2", "-b", "1024"},
		"ext2, 4 KiB":          {"-t", "ext2", "-b", "4096"},
		"ext3, 128-byte inode": {"-t", "ext3", "-b", "1024", "-I", "128"},
		"ext4":                 {"-b", "4096"},
		"ext4, 1 KiB":          {"-b", "1024"},
		"revision 0":           {"-t", "ext2", "-r", "0"},
		"old checksums":        {"-O", "^metadata_csum,uninit_bg,^64bit"},
		"no checksums":         {"-O", "^metadata_csum,^uninit_bg,^64bit,^flex_bg"},
		"inline data":          {"-O", "inline_data", "-I", "512"},
		"inline data, small":   {"-O", "inline_data", "-I", "256", "-b", "1024"},
		"bigalloc":             {"-O", "bigalloc", "-C", "16384"},
		"bigalloc, 1 KiB":      {"-O", "bigalloc", "-C", "8192", "-b", "1024"},
		"meta_bg":              {"-O", "meta_bg,^resize_inode", "-b", "1024", "-g", "1024"},
		"checksum seed":        {"-O", "metadata_csum_seed,64bit", "-U", "random"},
		"large_dir, ea_inode":  {"-O", "large_dir,ea_inode,mmp", "-b", "1024"},
		"casefold":             {"-O", "casefold", "-E", "encoding=utf8"},
		"sparse_super2":        {"-O", "sparse_super2,^resize_inode", "-g", "2048"},
		"orphan file, no log":  {"-O", "^has_journal"},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv("VITRINE_SOAK") == "" && !slices.Contains(usual, name) {
				t.Skip("takes long: set VITRINE_SOAK=1")
			}
			image := makeImage(t, 40, options...)
			dir := mount(t, image, "")
			fill(t, dir, 900)
			umount(t, dir)
			dir = mount(t, image, ",ro") // what it kept, not what it remembers
			want := detailed(t, kernelFS(dir))
			umount(t, dir)

			fsys := openFile(t, image)
			got := detailed(t, fsys)
			compare(t, got, want)
			if t.Failed() {
				return
			}
			compareFree(t, fsys, image)
			for _, name := range []string{"/big", "/sparse", "/unwritten", "/size70000"} {
				isUsed(t, fsys, name)
			}
			if name == "ext4" || name == "ext2, 1 KiB" {
				sub, err := iofs.Sub(fsys, "a") // the rest has dead links and devices
				must(t, err)
				must(t, fstest.TestFS(sub, "b/c", "up", "absolute"))
			}
		})
	}
}

// compareFree compares the free blocks with those that dumpe2fs lists.
func compareFree(t *testing.T, fsys *ext4.FS, image string) {
	t.Helper()
	if ok, why := fsys.Consistent(); !ok {
		t.Errorf("not consistent: %s", why)
		return
	}
	got := free(t, fsys)
	want := new(disk.Set)
	var blockSize, clusterSize int64
	in := bufio.NewScanner(strings.NewReader(tool(t, "dumpe2fs", image)))
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		key, value, _ := strings.Cut(strings.TrimSpace(in.Text()), ":")
		switch {
		case key == "Block size":
			blockSize, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			clusterSize = blockSize
		case key == "Cluster size":
			clusterSize, _ = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		case key == "Free blocks" && strings.HasPrefix(in.Text(), "  "):
			for part := range strings.SplitSeq(strings.TrimSpace(value), ", ") {
				if part == "" {
					continue
				}
				from, to, ok := strings.Cut(part, "-")
				if !ok {
					to = from
				}
				a, err := strconv.ParseInt(from, 10, 64)
				must(t, err)
				b, err := strconv.ParseInt(to, 10, 64)
				must(t, err)
				want.Add(a*blockSize, b*blockSize+clusterSize) // a cluster is given by its first block
			}
		}
	}
	if missing, extra := want.Subtract(got), got.Subtract(want); missing.Bytes()+extra.Bytes() > 0 || got.Bytes() == 0 {
		t.Errorf("%d bytes are free; of what dumpe2fs lists %d are missing, %d are too much", got.Bytes(), missing.Bytes(), extra.Bytes())
		for a, b := range extra.All() {
			t.Logf("too much: blocks %d-%d", a/blockSize, b/blockSize-1)
			break
		}
		for a, b := range missing.All() {
			t.Logf("missing: blocks %d-%d", a/blockSize, b/blockSize-1)
			break
		}
	}
}

// isUsed fails when a file lies in free blocks.
func isUsed(t *testing.T, fsys *ext4.FS, path string) {
	t.Helper()
	extents, err := fsys.Extents(path[1:])
	if err != nil {
		return
	}
	set := free(t, fsys)
	for _, x := range extents {
		if set.Overlaps(x.Off, x.End()) {
			t.Fatalf("%s lies in free blocks", path)
		}
	}
}

func TestFreeBlocksOfVolumesNobodyUsed(t *testing.T) {
	for name, options := range map[string][]string{
		"ext4":          {"-b", "4096"},
		"1 KiB":         {"-b", "1024"},
		"no flex_bg":    {"-b", "1024", "-O", "^flex_bg"},
		"old checksums": {"-b", "1024", "-O", "^metadata_csum,uninit_bg,^64bit"},
		"meta_bg":       {"-b", "1024", "-O", "meta_bg,^resize_inode"},
		"bigalloc":      {"-b", "4096", "-O", "bigalloc", "-C", "65536"},
		"sparse_super2": {"-b", "1024", "-O", "sparse_super2,^resize_inode"},
	} {
		t.Run(name, func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "volume.img")
			must(t, os.WriteFile(image, nil, 0o600))
			must(t, os.Truncate(image, 300<<20+5<<10))
			tool(t, "mkfs.ext4", append(append([]string{"-q", "-F"}, options...), image)...)
			compareFree(t, openFile(t, image), image)
		})
	}
}

func free(t *testing.T, fsys *ext4.FS) *disk.Set {
	t.Helper()
	set := new(disk.Set)
	for x, err := range fsys.Free(context.Background()) {
		must(t, err)
		if set.Overlaps(x.Off, x.End()) {
			t.Fatalf("extent %v comes twice", x)
		}
		set.Add(x.Off, x.End())
	}
	return set
}

func TestVolumesInUseReadAsTheKernelReplaysThem(t *testing.T) {
	for name, c := range map[string]struct {
		mkfs  []string
		mount string
	}{
		"ext4":         {nil, ""},
		"1 KiB, v2":    {[]string{"-b", "1024", "-O", "^64bit"}, ""},
		"data":         {[]string{"-b", "1024"}, ",data=journal"},
		"ext3":         {[]string{"-t", "ext3", "-b", "1024"}, ""},
		"async commit": {[]string{"-t", "ext4", "-O", "^metadata_csum"}, ",journal_checksum"},
		"fast commit":  {[]string{"-O", "fast_commit"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if os.Getenv("VITRINE_SOAK") == "" && name != "data" && name != "ext4" {
				t.Skip("takes long: set VITRINE_SOAK=1")
			}
			image := makeImage(t, 40, c.mkfs...)
			dir := mount(t, image, c.mount)
			fill(t, dir, 300)
			unix.Sync()
			must(t, os.RemoveAll(filepath.Join(dir, "many")))
			unix.Sync()
			// Blocks that begin like those of the journal, and blocks that were
			// the folder's and now are a file's.
			must(t, os.WriteFile(filepath.Join(dir, "escaped"), bytes.Repeat([]byte{0xC0, 0x3B, 0x39, 0x98, 0, 0, 0, 1}, 4096), 0o644))
			late := 1 << 20
			if c.mount != ",data=journal" {
				late = 40 << 20
			}
			if err := os.WriteFile(filepath.Join(dir, "late"), pattern(late, 77), 0o644); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			fd, err := os.Open(dir)
			must(t, err)
			must(t, unix.Syncfs(int(fd.Fd())))
			must(t, fd.Close())
			if err := os.WriteFile(filepath.Join(dir, "unsynced"), pattern(1<<20, 78), 0o644); err != nil && !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			p, err := os.ReadFile(image)
			must(t, err)
			umount(t, dir)

			crashed := filepath.Join(t.TempDir(), "crashed.img")
			must(t, os.WriteFile(crashed, p, 0o600))
			got := detailed(t, open(t, p))
			fsys := open(t, p)
			if notes := fsys.Notes(); len(notes) == 0 || !strings.Contains(notes[0], "replayed") {
				t.Fatalf("the test makes no dirty journal: notes are %q", notes)
			}
			if ok, why := fsys.Consistent(); !ok {
				t.Errorf("not consistent: %s", why)
			}
			set := free(t, fsys)
			umount(t, mount(t, crashed, "")) // replays
			dir = mount(t, crashed, ",ro")
			want := detailed(t, kernelFS(dir))
			umount(t, dir)
			compare(t, got, want)
			compareFree(t, openFile(t, crashed), crashed)
			if after := free(t, openFile(t, crashed)); set.Subtract(after).Bytes() != 0 {
				t.Errorf("%d bytes free in the replayed overlay are in use after the kernel's replay", set.Subtract(after).Bytes())
			}
		})
	}
}

func TestFastCommitsThatAreNotReplayedAreReported(t *testing.T) {
	image := makeImage(t, 40, "-O", "fast_commit")
	dir := mount(t, image, "")
	must(t, os.WriteFile(filepath.Join(dir, "file"), pattern(5000, 1), 0o644))
	unix.Sync()
	f, err := os.OpenFile(filepath.Join(dir, "file"), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	defer f.Close()
	for range 3 {
		_, err = f.Write(pattern(20000, 2))
		must(t, err)
		must(t, f.Sync())
	}
	p, err := os.ReadFile(image)
	must(t, err)
	fsys := open(t, p)
	if ok, why := fsys.Consistent(); ok || !strings.Contains(why, "fast commits") {
		t.Errorf("consistent: %v, %q; notes %q", ok, why, fsys.Notes())
	}
	for _, err := range fsys.Free(context.Background()) {
		if err == nil {
			t.Error("free blocks are given although newer changes are missing")
		}
		break
	}
	must(t, f.Close())
	umount(t, dir)
}

func TestNextDataFindsWhatTheKernelCallsData(t *testing.T) {
	image := makeImage(t, 40, "-b", "1024")
	dir := mount(t, image, "")
	fill(t, dir, 10)
	type stretch struct{ start, end int64 }
	want := make(map[string][]stretch)
	names := []string{"sparse", "big", "size1", "size0"}
	for _, name := range names {
		f, err := os.Open(filepath.Join(dir, name))
		must(t, err)
		for off := int64(0); ; {
			start, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
			if err != nil {
				break
			}
			off, err = unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
			must(t, err)
			want[name] = append(want[name], stretch{start, off})
		}
		must(t, f.Close())
	}
	umount(t, dir)
	fsys := openFile(t, image)
	for _, name := range names {
		f, err := fsys.Open(name)
		must(t, err)
		var got []stretch
		for off := int64(0); ; {
			start, end, err := f.(interface {
				NextData(int64) (int64, int64, error)
			}).NextData(off)
			if err == io.EOF {
				break
			}
			must(t, err)
			if n := len(got); n > 0 && got[n-1].end == start {
				got[n-1].end = end
			} else {
				got = append(got, stretch{start, end})
			}
			off = end
		}
		if fmt.Sprint(got) != fmt.Sprint(want[name]) {
			t.Errorf("%s: got %v, want %v", name, got, want[name])
		}
		must(t, f.Close())
	}
}
