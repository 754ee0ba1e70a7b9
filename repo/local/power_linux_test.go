package local_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vitrine/repo"
	"vitrine/repo/local"
	"vitrine/repo/storetest"
)

// disk is a file system in a file, whose power can be cut.
type disk struct {
	t          *testing.T
	image, mnt string
}

// newDisk makes and mounts a file system.
func newDisk(t *testing.T, kind string, size int64, options string) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a file system needs root")
	}
	if _, err := exec.LookPath("mkfs." + kind); err != nil {
		t.Skipf("mkfs.%s is not installed: apt-get install e2fsprogs xfsprogs", kind)
	}
	d := &disk{t, filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "mnt")}
	if err := os.Mkdir(d.mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, size); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mkfs."+kind, "-q", d.image).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v: %s", err, out)
	}
	if out, err := exec.Command("mount", "-t", kind, "-o", "loop,"+options, d.image, d.mnt).CombinedOutput(); err != nil {
		t.Skipf("a %s image cannot be mounted here: %v: %s", kind, err, out)
	}
	t.Cleanup(d.unmount)
	return d
}

func (d *disk) unmount() {
	if err := unix.Unmount(d.mnt, 0); err != nil && !errors.Is(err, unix.EINVAL) {
		d.t.Errorf("umount: %v", err)
	}
}

// cut stops the file system where it stands: neither data nor log that has
// not reached the disk will.
func (d *disk) cut() {
	const shutdown = 0x8004587d // FS_IOC_SHUTDOWN
	f, err := os.Open(d.mnt)
	if err != nil {
		d.t.Error(err)
		return
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), shutdown, unix.FS_SHUTDOWN_FLAGS_NOLOGFLUSH); err != nil {
		d.t.Errorf("cut the power: %v", err)
	}
}

// restart mounts what the disk holds after the cut.
func (d *disk) restart() {
	d.t.Helper()
	d.unmount()
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mnt).CombinedOutput(); err != nil {
		d.t.Fatalf("mount after the cut: %v: %s", err, out)
	}
}

func eachFS(t *testing.T, f func(t *testing.T, kind string, size int64, options string)) {
	for _, fs := range []struct {
		kind, options string
		size          int64
	}{
		{"ext4", "commit=5", 128 << 20},
		{"ext4", "commit=1000,data=writeback", 128 << 20},
		{"xfs", "defaults", 320 << 20},
	} {
		t.Run(fs.kind+","+fs.options, func(t *testing.T) { f(t, fs.kind, fs.size, fs.options) })
	}
}

func soak(few, many int) int {
	if os.Getenv("VITRINE_SOAK") != "" {
		return many
	}
	return few
}

// object gives a name and content from which any part can be told.
func object(cycle, writer, i int) (string, []byte) {
	name := fmt.Sprintf("packs/%02x/%d-%d-%d", i%5, cycle, writer, i)
	return name, bytes.Repeat([]byte(name), 1+i%7*1000)
}

// cycle writes from several goroutines until the power goes, and tells what
// Put had acknowledged.
func cycle(t *testing.T, d *disk, s repo.Store, n int) map[string][]byte {
	const writers, before = 4, 12
	var mu sync.Mutex
	acked := make(map[string][]byte)
	enough := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := 0; ; i++ {
				name, data := object(n, w, i)
				if err := s.Put(t.Context(), name, data); err != nil {
					return
				}
				mu.Lock()
				acked[name] = data
				full := len(acked) >= before+n%9
				mu.Unlock()
				if full {
					once.Do(func() { close(enough) })
				}
			}
		})
	}
	stopped := make(chan struct{})
	go func() { wg.Wait(); close(stopped) }()
	select {
	case <-enough:
	case <-stopped:
		t.Fatal("the writers failed before the power was cut")
	}
	d.cut()
	<-stopped
	return acked
}

func TestWhatPutAcknowledgedSurvivesAPowerCut(t *testing.T) {
	eachFS(t, func(t *testing.T, kind string, size int64, options string) {
		d := newDisk(t, kind, size, options)
		acked := make(map[string][]byte)
		for n := range soak(3, 100) {
			s, err := local.Create(filepath.Join(d.mnt, "a", "store"))
			if err != nil {
				t.Fatal(err)
			}
			for name, data := range cycle(t, d, s, n) {
				acked[name] = data
			}
			d.restart()
			s, err = local.Open(filepath.Join(d.mnt, "a", "store"))
			if err != nil {
				t.Fatal(err)
			}
			there := make(map[string]bool)
			for _, name := range storetest.Names(t, s, "") {
				there[name] = true
				var c, w, i int
				if _, err := fmt.Sscanf(name[strings.LastIndexByte(name, '/')+1:], "%d-%d-%d", &c, &w, &i); err != nil {
					t.Fatalf("odd name %s", name)
				}
				if _, want := object(c, w, i); !bytes.Equal(storetest.Read(t, s, name), want) {
					t.Errorf("cycle %d: %s is there in part", n, name)
				}
			}
			for name := range acked {
				if !there[name] {
					t.Errorf("cycle %d: %s was acknowledged and is lost", n, name)
				}
			}
			t.Logf("cycle %d: %d acknowledged, %d there, %d temporary files", n, len(acked), len(there), len(inTmp(t, filepath.Join(d.mnt, "a", "store"))))
			if n%20 == 19 { // room for the next ones
				for name := range there {
					if err := s.Delete(t.Context(), name); err != nil {
						t.Fatal(err)
					}
				}
				clear(acked)
			}
		}
	})
}

func TestADeletedObjectStaysDeletedAfterAPowerCut(t *testing.T) {
	eachFS(t, func(t *testing.T, kind string, size int64, options string) {
		d := newDisk(t, kind, size, options)
		s, err := local.Open(d.mnt)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "a/b", "x")
		if err := s.Delete(t.Context(), "a/b"); err != nil {
			t.Fatal(err)
		}
		d.cut()
		d.restart()
		if s, err = local.Open(d.mnt); err != nil {
			t.Fatal(err)
		}
		if got := storetest.Names(t, s, ""); len(got) != 0 {
			t.Errorf("got %q", got)
		}
	})
}

// A power cut must be able to show what a missing sync costs; else the test
// above proves nothing.
func TestAPowerCutFindsAMissingSync(t *testing.T) {
	noFile := func(*os.File) error { return nil }
	noDir := func(string) error { return nil }
	for _, c := range []struct {
		name string
		file func(*os.File) error
		dir  func(string) error
		want string
	}{
		{"all synced", nil, nil, "whole"},
		{"no file", noFile, nil, "broken"},
		{"no folder", nil, noDir, "missing"},
		{"nothing", noFile, noDir, "missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachFS(t, func(t *testing.T, kind string, size int64, options string) {
				d := newDisk(t, kind, size, options)
				s, err := local.Open(d.mnt)
				if err != nil {
					t.Fatal(err)
				}
				put(t, s, "packs/first", "makes the folder")
				s.SetSync(c.file, c.dir)
				data := bytes.Repeat([]byte("x"), 300_000)
				put(t, s, "packs/last", string(data))
				d.cut()
				d.restart()
				if s, err = local.Open(d.mnt); err != nil {
					t.Fatal(err)
				}
				got := "missing"
				if names := storetest.Names(t, s, "packs/last"); len(names) == 1 {
					if got = "broken"; bytes.Equal(storetest.Read(t, s, "packs/last"), data) {
						got = "whole"
					}
				}
				if got != c.want {
					t.Errorf("the object is %s, want %s", got, c.want)
				}
			})
		})
	}
}

func TestAFullDiskLeavesTheStoreWhole(t *testing.T) {
	d := newDisk(t, "ext4", 8<<20, "defaults")
	s, err := local.Open(d.mnt)
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("full"), 100_000)
	n := 0
	for ; n < 100; n++ {
		if err = s.Put(t.Context(), fmt.Sprintf("packs/%02d", n), data); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("after %d objects: got %v, want ENOSPC", n, err)
	}
	if left := inTmp(t, d.mnt); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
	names := storetest.Names(t, s, "")
	if len(names) != n {
		t.Errorf("%d objects, %d acknowledged", len(names), n)
	}
	for _, name := range names {
		if !bytes.Equal(storetest.Read(t, s, name), data) {
			t.Errorf("%s is not whole", name)
		}
	}
	if err := s.Delete(t.Context(), names[0]); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), "packs/again", data); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}

func TestAReadOnlyDiskCanBeRead(t *testing.T) {
	for _, made := range []bool{true, false} {
		d := newDisk(t, "ext4", 8<<20, "defaults")
		s, err := local.Open(d.mnt)
		if err != nil {
			t.Fatal(err)
		}
		put(t, s, "packs/a", "x")
		write(t, d.mnt, "tmp/.tmp-old")
		if !made {
			if err := os.RemoveAll(filepath.Join(d.mnt, "tmp")); err != nil {
				t.Fatal(err)
			}
		}
		if out, err := exec.Command("mount", "-o", "remount,ro", d.mnt).CombinedOutput(); err != nil {
			t.Fatalf("remount: %v: %s", err, out)
		}
		for _, s := range []repo.Store{s, reopen(t, d.mnt)} {
			if err := s.Put(t.Context(), "packs/b", nil); err == nil {
				t.Error("put on a read-only disk")
			}
			if err := s.Delete(t.Context(), "packs/a"); err == nil {
				t.Error("delete on a read-only disk")
			}
		}
		if got := storetest.Names(t, reopen(t, d.mnt), ""); len(got) != 1 || got[0] != "packs/a" {
			t.Errorf("got %q", got)
		}
	}
}

func reopen(t *testing.T, dir string) *local.Store {
	t.Helper()
	s, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
