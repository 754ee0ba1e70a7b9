//go:build linux

package mount_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vitrine/fs/fstest"
)

// BenchmarkSequential reads a disk from its start to its end, cold: with
// pages that the kernel does not have.
func BenchmarkSequential(b *testing.B) {
	for _, c := range []struct {
		name    string
		flags   int
		latency time.Duration
	}{
		{"buffered", 0, 0}, {"direct", unix.O_DIRECT, 0},
		{"buffered behind 5 ms", 0, 5 * time.Millisecond}, {"direct behind 5 ms", unix.O_DIRECT, 5 * time.Millisecond},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := launch(b, job{Setup: fstest.Setup{Fixture: "stream"}})
			command(b, s, "latency "+c.latency.String())
			buf := aligned(1 << 20)
			f, err := os.OpenFile(filepath.Join(s.dir, streamFile), os.O_RDONLY|c.flags, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			off, size := int64(0), int64(512<<20)
			b.SetBytes(1 << 20)
			for b.Loop() {
				if off == size {
					off = 0
					if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
						b.Fatal(err)
					}
				}
				n, err := f.ReadAt(buf, off)
				if err != nil {
					b.Fatal(err)
				}
				off += int64(n)
			}
		})
	}
}

func BenchmarkRandom4K(b *testing.B) {
	for name, flags := range map[string]int{"buffered": 0, "direct": unix.O_DIRECT} {
		b.Run(name, func(b *testing.B) {
			s := launch(b, job{Setup: fstest.Setup{Fixture: "stream"}})
			f, err := os.OpenFile(filepath.Join(s.dir, streamFile), os.O_RDONLY|flags, 0)
			if err != nil {
				b.Fatal(err)
			}
			defer f.Close()
			if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
				b.Fatal(err)
			}
			buf := aligned(4096)
			rnd := rand.New(rand.NewPCG(3, 4))
			for b.Loop() {
				if _, err := f.ReadAt(buf, rnd.Int64N(511<<20)&^4095); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkList lists directories that the kernel has not seen.
func BenchmarkList(b *testing.B) {
	for _, c := range []struct {
		fixture, dir string
		names        int
	}{{"many", "many0", 2501}, {"hosts", ".", 2002}, {"wide", "wide", 200_001}} {
		b.Run(fmt.Sprintf("%d names", c.names), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := launch(b, job{Setup: fstest.Setup{Fixture: c.fixture}})
				view := fstest.Mounted(s.dir)
				b.StartTimer()
				list, err := view.ReadDir(c.dir)
				if err != nil || len(list) != c.names {
					b.Fatalf("%d names, %v", len(list), err)
				}
				b.StopTimer()
				s.stop()
				b.StartTimer()
			}
		})
	}
}

// BenchmarkMount mounts ten thousand restore points and lists the root.
func BenchmarkMount(b *testing.B) {
	for b.Loop() {
		s := launch(b, job{Setup: fstest.Setup{Fixture: "many"}})
		if _, err := os.ReadDir(s.dir); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		s.stop()
		b.StartTimer()
	}
}
