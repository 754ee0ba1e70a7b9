//go:build linux

package mount_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vitrine/fs/fstest"
)

const streamFile = "stream/2026-11-20T22-00-05Z/raw/stream.raw"

func command(t testing.TB, s *served, text string) string {
	t.Helper()
	answer, err := s.do(text)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// A reader that waits for a store that does not answer can be killed. Without
// that it would stay, and its machine could not even be shut down.
func TestReaderOfAStalledStoreCanBeKilled(t *testing.T) {
	if noHoles {
		t.Skip("cgofuse is not told that a reader has gone")
	}
	s := launch(t, job{Setup: fstest.Setup{Fixture: "stream"}})
	for name, args := range map[string][]string{
		"direct":   {"iflag=direct", "bs=1M"},
		"buffered": {"bs=4k"},
	} {
		t.Run(name, func(t *testing.T) {
			command(t, s, "stall 30s")
			reader := exec.Command("dd", append(args, "of=/dev/null", "count=1", "skip=8", "if="+filepath.Join(s.dir, streamFile))...)
			if err := reader.Start(); err != nil {
				t.Fatal(err)
			}
			for end := time.Now().Add(10 * time.Second); command(t, s, "peak") == "0"; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the reader never reads")
				}
			}
			start := time.Now()
			reader.Process.Kill()
			reader.Wait()
			if took := time.Since(start); took > time.Second {
				t.Errorf("the reader was gone after %v", took)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(s.dir, "README.txt")); err != nil {
		t.Error(err)
	}
}

// A signal is no error: Go programs get them all the time.
func TestInterruptedReadIsTriedAgain(t *testing.T) {
	if noHoles {
		t.Skip("cgofuse is not told of signals")
	}
	s := launch(t, job{Setup: fstest.Setup{Fixture: "stream"}})
	command(t, s, "latency 20ms")
	f, err := os.Open(filepath.Join(s.dir, streamFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				syscall.Kill(os.Getpid(), syscall.SIGURG)
			}
		}
	})
	buf := make([]byte, 64<<10)
	for i := range int64(40) {
		if _, err := f.ReadAt(buf, i*7<<20); err != nil {
			t.Errorf("read %d: %v", i, err)
		}
	}
	close(stop)
	wg.Wait()
}

func TestSequentialReadKeepsSeveralRequestsInFlight(t *testing.T) {
	for name, flags := range map[string]int{"buffered": 0, "direct": unix.O_DIRECT} {
		t.Run(name, func(t *testing.T) {
			s := launch(t, job{Setup: fstest.Setup{Fixture: "stream"}})
			command(t, s, "latency 5ms")
			f, err := os.OpenFile(filepath.Join(s.dir, streamFile), os.O_RDONLY|flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			// Small reads, as from a program that knows nothing of latency.
			if _, err := io.CopyBuffer(onlyWriter{io.Discard}, io.LimitReader(f, 32<<20), aligned(128<<10)); err != nil {
				t.Fatal(err)
			}
			peak, err := strconv.Atoi(command(t, s, "peak"))
			if err != nil || peak < 16 {
				t.Errorf("%d requests were in flight, want 16 or more", peak)
			}
		})
	}
}

func TestRandomReadsFetchLittleElse(t *testing.T) {
	s := launch(t, job{Setup: fstest.Setup{Fixture: "stream"}})
	command(t, s, "latency 1ms")
	f, err := os.OpenFile(filepath.Join(s.dir, streamFile), os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	buf := aligned(4096)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		if _, err := f.ReadAt(buf, rnd.Int64N(500<<20)&^4095); err != nil {
			t.Fatal(err)
		}
	}
	if peak := command(t, s, "peak"); len(peak) > 1 {
		t.Errorf("%s requests were in flight", peak)
	}
}

// aligned is a buffer that O_DIRECT takes.
func aligned(n int) []byte {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return make([]byte, n)
	}
	return b
}

// onlyWriter hides what would read in other sizes.
type onlyWriter struct{ io.Writer }

func TestOtherPeoplesToolsSeeHoles(t *testing.T) {
	if noHoles {
		t.Skip("libfuse's old interface has no lseek")
	}
	s := launch(t, job{Setup: fstest.Setup{Fixture: "huge"}})
	dir := filepath.Join(s.dir, "huge", "2026-11-20T22-00-05Z")
	out := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
	}{
		{"du", []string{"-B1", dir + "/huge.vhdx"}},
		{"tar", []string{"-S", "-cf", out + "/x.tar", "-C", dir, "huge.vhdx"}},
		{"cp", []string{"--sparse=auto", dir + "/huge.vhdx", out + "/copy.vhdx"}},
		{"qemu-img", []string{"info", "-U", dir + "/huge.vhdx"}},
		{"qemu-img", []string{"check", dir + "/huge.vhdx"}},
	} {
		if _, err := exec.LookPath(c.name); err != nil {
			t.Logf("%s is missing: install it to have it tried", c.name)
			continue
		}
		text, err := exec.Command(c.name, c.args...).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v: %s", c.name, err, text)
		}
		if c.name == "du" {
			var n int64
			fmt.Sscan(string(text), &n)
			if n < 3<<20 || n > 64<<20 {
				t.Errorf("du counts %d bytes", n)
			}
		}
	}
	if _, err := exec.LookPath("cmp"); err == nil {
		for _, part := range []string{"0", "20M", "60M"} {
			if text, err := exec.Command("cmp", "-i", part, "-n", "8M", dir+"/huge.vhdx", out+"/copy.vhdx").CombinedOutput(); err != nil {
				t.Errorf("the copy differs behind %s: %s", part, text)
			}
		}
	}
	for file, limit := range map[string]int64{"copy.vhdx": 64 << 20, "x.tar": 64 << 20} {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(out, file), &st); err != nil || st.Blocks*512 > limit {
			t.Errorf("%s takes %d bytes (%v)", file, st.Blocks*512, err)
		}
	}
}

func TestMappedFile(t *testing.T) {
	s := launch(t, job{Setup: small})
	for _, flags := range []int{0, unix.O_DIRECT} {
		f, err := os.OpenFile(filepath.Join(s.dir, "half", "2026-11-20T22-00-05Z", "raw", "half.raw"), os.O_RDONLY|flags, 0)
		if err != nil {
			t.Fatal(err)
		}
		b, err := unix.Mmap(int(f.Fd()), 0, 3<<20, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 3<<20)
		if _, err := f.ReadAt(want[:2<<20], 1<<20); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b[1<<20:], want[:2<<20]) {
			t.Error("what is mapped and what is read differ")
		}
		unix.Munmap(b)
		f.Close()
	}
}
