package xfs_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	iofs "io/fs"

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

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fill puts the hard cases into a mounted folder.
func fill(t testing.TB, dir string, many int) {
	at := func(name string) string { return filepath.Join(dir, name) }
	write := func(name string, b []byte) { check(t, os.WriteFile(at(name), b, 0o644)) }

	for _, n := range []int{0, 1, 511, 512, 4095, 4096, 4097, 70000} {
		write(fmt.Sprintf("size-%d", n), noise(uint64(n), n))
	}
	for _, count := range []int{1, 5, 30, 300, many} {
		sub := fmt.Sprintf("dir-%d", count)
		check(t, os.Mkdir(at(sub), 0o755))
		for i := range count {
			check(t, os.WriteFile(at(fmt.Sprintf("%s/entry number %d of a directory", sub, i)), nil, 0o600))
		}
	}
	for i := 0; i < many; i += 3 { // gaps in blocks and in the index
		check(t, os.Remove(at(fmt.Sprintf("dir-%d/entry number %d of a directory", many, i))))
	}

	sparse, err := os.Create(at("sparse"))
	check(t, err)
	for i := range 400 {
		_, err := sparse.WriteAt(noise(uint64(i), 4096), int64(i)*3*4096)
		check(t, err)
	}
	check(t, sparse.Truncate(20<<20))
	check(t, sparse.Close())
	reserved, err := os.Create(at("reserved"))
	check(t, err)
	check(t, syscall.Fallocate(int(reserved.Fd()), 0, 0, 1<<20))
	_, err = reserved.WriteAt(noise(1, 5000), 300_000)
	check(t, err)
	check(t, reserved.Close())

	check(t, os.MkdirAll(at("deep"+strings.Repeat("/d", 40)), 0o755))
	write("deep"+strings.Repeat("/d", 40)+"/file", []byte("deep"))
	write(strings.Repeat("n", 255), []byte("long name"))
	write("ümläut-日本語-😀", []byte("unicode"))
	write("latin-\xe4", []byte("no UTF-8"))
	write("set-id", []byte("x"))
	check(t, os.Chmod(at("set-id"), 0o6755|os.ModeSetuid|os.ModeSetgid))
	check(t, os.Chown(at("set-id"), 70000, 80000))
	check(t, os.Link(at("size-511"), at("hard link")))
	for _, n := range []int{1, 100, 400, 1000, 1023} {
		check(t, os.Symlink(strings.Repeat("t", n), at(fmt.Sprintf("link-%d", n))))
	}
	check(t, os.Symlink("/deep/d/../d/d/../../../size-512", at("absolute link")))
	check(t, syscall.Mkfifo(at("fifo"), 0o644))
	check(t, syscall.Mknod(at("null"), syscall.S_IFCHR|0o666, 1<<8|3))
	check(t, os.Chtimes(at("size-1"), time.Unix(0, 0), time.Date(1920, 5, 6, 7, 8, 9, 123456789, time.UTC)))
	check(t, os.Chtimes(at("size-0"), time.Unix(0, 0), time.Date(2037, 5, 6, 7, 8, 9, 987654321, time.UTC)))
}

func TestFreshVolumesReadAsTheKernelReadsThem(t *testing.T) {
	for i, c := range []struct {
		name string
		many int
		args []string
	}{
		{"default", 3000, nil},
		{"counts of 64 bits", 2000, []string{"-i", "nrext64=1"}},
		{"blocks of 1 KiB in 8 groups", 3000, []string{"-b", "size=1024", "-d", "agcount=8"}},
		{"directory blocks of 64 KiB", 3000, []string{"-n", "size=65536"}},
		{"old times, no extras", 1000, []string{"-m", "bigtime=0,reflink=0,finobt=0", "-i", "sparse=0"}},
		{"inodes of 2 KiB", 1000, []string{"-i", "size=2048"}},
		{"sectors of 4 KiB", 1000, []string{"-s", "size=4096", "-m", "rmapbt=1"}},
		{"names without case", 300, []string{"-n", "version=ci"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if i > 2 && os.Getenv("VITRINE_SOAK") != "1" {
				t.Skip("takes long: set VITRINE_SOAK=1")
			}
			image := mkfs(t, 1<<30, append(c.args, "-L", "vitrine")...)
			var want map[string]string
			withMount(t, image, "", func(dir string) {
				fill(t, dir, c.many)
				want = kernels(t, dir)
			})
			v := openImage(t, image)
			same(t, ours(t, v), want)
			if v.Label() != "vitrine" {
				t.Errorf("label %q", v.Label())
			}
			for name := range want {
				if _, err := v.Lstat(name); err != nil {
					t.Fatal(err)
				}
			}
			for _, name := range []string{"nobody", fmt.Sprintf("dir-%d/entry number 0 of a directory", c.many), "dir-300/zzz", "dir-5/a"} {
				if _, err := v.Stat(name); !isNotExist(err) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if b, err := iofs.ReadFile(v, "absolute link"); err != nil || len(b) != 512 {
				t.Errorf("absolute link: %d bytes, %v", len(b), err)
			}
			checkFree(t, image)
		})
	}
}

// checkFree compares what we call free with what xfs_db does.
func checkFree(t *testing.T, image string) {
	t.Helper()
	v := openImage(t, image)
	if ok, why := v.Consistent(); !ok {
		t.Fatalf("free space is not trusted: %s", why)
	}
	got := new(disk.Set)
	for x, err := range v.Free(context.Background()) {
		check(t, err)
		if got.Overlaps(x.Off, x.End()) {
			t.Fatalf("%v is free twice", x)
		}
		got.Add(x.Off, x.End())
	}
	need(t, "xfs_db")
	geometry := run(t, "xfs_db", "-r", "-c", "sb 0", "-c", "p agblocks blocksize", image)
	var agBlocks, blockSize int64
	if _, err := fmt.Sscanf(strings.ReplaceAll(geometry, "\n", " "), "agblocks = %d blocksize = %d", &agBlocks, &blockSize); err != nil {
		t.Fatalf("%v in %q", err, geometry)
	}
	want := new(disk.Set)
	for line := range strings.Lines(run(t, "xfs_db", "-r", "-c", "freesp -d -A 1", image)) {
		var ag, blk, n int64
		if k, _ := fmt.Sscan(line, &ag, &blk, &n); k == 3 && len(strings.Fields(line)) == 3 {
			want.Add((ag*agBlocks+blk)*blockSize, (ag*agBlocks+blk+n)*blockSize)
		}
	}
	if rest := got.Subtract(want); rest.Bytes() != 0 {
		t.Errorf("%d bytes are called free that are not", rest.Bytes())
	}
	if rest := want.Subtract(got); rest.Bytes() > 16*64*blockSize {
		t.Errorf("%d free bytes are missing of %d", rest.Bytes(), want.Bytes())
	}
}

func isNotExist(err error) bool {
	return err != nil && strings.Contains(err.Error(), iofs.ErrNotExist.Error())
}

func TestSmallVolumePassesTestFS(t *testing.T) {
	image := mkfs(t, 320<<20)
	withMount(t, image, "", func(dir string) {
		check(t, os.MkdirAll(dir+"/a/b", 0o755))
		check(t, os.WriteFile(dir+"/a/b/file", noise(1, 10000), 0o644))
		check(t, os.Symlink("a/b", dir+"/link"))
		for i := range 500 {
			check(t, os.WriteFile(fmt.Sprintf("%s/a/%d", dir, i), []byte{byte(i)}, 0o644))
		}
	})
	check(t, fstest.TestFS(openImage(t, image), "a/b/file", "link", "a/499"))
	withMount(t, image, "", func(dir string) {
		check(t, os.Symlink("nowhere", dir+"/dangling"))
		check(t, os.Symlink("loop2", dir+"/loop1"))
		check(t, os.Symlink("loop1", dir+"/loop2"))
	})
	v := openImage(t, image)
	if _, err := v.Open("loop1"); err == nil {
		t.Error("links in a circle are followed")
	}
	if _, err := v.Open("dangling"); !isNotExist(err) {
		t.Errorf("a dangling link: %v", err)
	}
	if b, err := iofs.ReadFile(v, "link/file"); err != nil || !bytes.Equal(b, noise(1, 10000)) {
		t.Errorf("through a link: %v", err)
	}
}

func TestHolesAreTold(t *testing.T) {
	image := mkfs(t, 320<<20)
	withMount(t, image, "", func(dir string) {
		f, err := os.Create(dir + "/f")
		check(t, err)
		_, err = f.WriteAt(noise(1, 4096), 0)
		check(t, err)
		_, err = f.WriteAt(noise(2, 8192), 1<<20)
		check(t, err)
		check(t, f.Truncate(5<<20))
		check(t, syscall.Fallocate(int(f.Fd()), 0, 3<<20, 1<<20))
		check(t, f.Close())
	})
	v := openImage(t, image)
	f, err := v.Open("f")
	check(t, err)
	type nextData interface {
		NextData(off int64) (start, end int64, err error)
	}
	var got [][2]int64
	for off := int64(0); ; {
		start, end, err := f.(nextData).NextData(off)
		if err == io.EOF {
			break
		}
		check(t, err)
		got = append(got, [2]int64{start, end})
		off = end
	}
	if want := [][2]int64{{0, 4096}, {1 << 20, 1<<20 + 8192}}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("data at %v, want %v", got, want)
	}
	extents, err := v.Extents("f")
	check(t, err)
	var total int64
	for _, x := range extents {
		total += x.Len
	}
	if total != 4096+8192+1<<20 {
		t.Errorf("Extents has %d bytes in %v", total, extents)
	}
}

// TestVersion4VolumesAreRead fills volumes with mkfs.xfs itself, because
// kernels cannot mount them any more.
func TestVersion4VolumesAreRead(t *testing.T) {
	for i, args := range [][]string{
		{"-m", "crc=0", "-n", "ftype=0", "-i", "size=256"},
		{"-m", "crc=0", "-b", "size=512", "-d", "agcount=4"},
		{"-m", "crc=0", "-n", "size=16384"},
		{"-m", "crc=0"},
		{"-m", "crc=0", "-n", "version=ci"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			need(t, "mkfs.xfs")
			if i > 1 && os.Getenv("VITRINE_SOAK") != "1" {
				t.Skip("takes long: set VITRINE_SOAK=1")
			}
			src := t.TempDir()
			var proto strings.Builder
			proto.WriteString("/dev/null\n0 0\nd--755 7 8\n")
			want := make(map[string][]byte)
			put := func(dir, name string, n int) {
				full := filepath.Join(src, strings.ReplaceAll(dir+name, "/", "_"))
				content := noise(uint64(len(want)), n)
				check(t, os.WriteFile(full, content, 0o644))
				fmt.Fprintf(&proto, "%s ---644 1 2 %s\n", name, full)
				want[dir+name] = content
			}
			put("", "empty", 0)
			put("", "small", 100)
			put("", "large", 3_000_000)
			proto.WriteString("link l--777 0 0 some/sub/dir/target\n")
			proto.WriteString("long l--777 0 0 " + strings.Repeat("x", 400) + "\n")
			proto.WriteString("console c--600 0 0 5 1\n")
			proto.WriteString("many d--755 0 0\n")
			for i := range 1200 {
				put("many/", fmt.Sprintf("file-with-a-name-%d", i), i%7)
			}
			proto.WriteString("$\nfew d--700 0 0\n")
			for i := range 40 {
				put("few/", fmt.Sprint(i), 10)
			}
			proto.WriteString("$\n$\n")
			list := filepath.Join(src, "proto")
			check(t, os.WriteFile(list, []byte(proto.String()), 0o600))
			image := mkfs(t, 320<<20, append(args, "-p", list)...)
			checkFree(t, image)
			v := openImage(t, image)

			for name, content := range want {
				got, err := iofs.ReadFile(v, name)
				if err != nil || !bytes.Equal(got, content) {
					t.Fatalf("%s: %d bytes, %v; want %d", name, len(got), err, len(content))
				}
			}
			for name, n := range map[string]int{".": 8, "many": 1200, "few": 40} {
				list, err := v.ReadDir(name)
				if err != nil || len(list) != n {
					t.Errorf("%s has %d entries, %v; want %d", name, len(list), err, n)
				}
			}
			if to, err := v.ReadLink("long"); err != nil || to != strings.Repeat("x", 400) {
				t.Errorf("long link: %q, %v", to, err)
			}
			if i, err := v.Stat("console"); err != nil || i.Mode() != iofs.ModeDevice|iofs.ModeCharDevice|0o600 {
				t.Errorf("console: %v, %v", i, err)
			}
			if i, err := v.Stat("."); err != nil || i.Mode() != iofs.ModeDir|0o755 {
				t.Errorf("root: %v, %v", i, err)
			}
		})
	}
}

func TestRealtimeFilesAreExplained(t *testing.T) {
	need(t, "xfs_db")
	image := mkfs(t, 320<<20)
	withMount(t, image, "", func(dir string) { check(t, os.WriteFile(dir+"/f", noise(1, 9000), 0o644)) })
	v := openImage(t, image)
	i, err := v.Stat("f")
	check(t, err)
	ino := i.Sys().(interface{ Inode() uint64 }).Inode()
	if out, err := exec.Command("xfs_db", "-x", "-c", fmt.Sprintf("inode %d", ino), "-c", "write core.realtime 1", image).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	v = openImage(t, image)
	i, err = v.Stat("f")
	check(t, err)
	if notice := i.Sys().(interface{ Notice() string }).Notice(); !strings.Contains(notice, "realtime") {
		t.Errorf("notice %q", notice)
	}
	if b, err := iofs.ReadFile(v, "f"); err == nil {
		t.Errorf("%d bytes are given", len(b))
	}
}
