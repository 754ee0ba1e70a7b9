package raw_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/raw"
)

func create(t testing.TB) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestWriteMakesTheSameDisk(t *testing.T) {
	for _, size := range []int64{0, 1, 511, 64 << 10, 5<<20 + 77} {
		for _, o := range []raw.WriteOptions{{}, {Workers: 1, Piece: 4096}, {Workers: 3, Piece: 100_000}} {
			want := disktest.Sparse(uint64(size), size, 3)
			total := int64(0)
			o.Progress = func(n int64) { total += n }
			f := create(t)
			written, err := raw.Write(t.Context(), f, disktest.Memory(want), o)
			if err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.Name())
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %+v: the file differs from the disk: %v", size, o, err)
			}
			if total != size || written > size {
				t.Errorf("%d bytes, %+v: progress says %d, written %d", size, o, total, written)
			}
		}
	}
}

// opaque is a disk that does not know its holes.
type opaque struct{ disk.Disk }

func (o opaque) NextData(off int64) (int64, int64, error) {
	if off >= o.Size() {
		return 0, 0, io.EOF
	}
	return off, o.Size(), nil
}

func TestWriteLeavesHoles(t *testing.T) {
	data := make([]byte, 32<<20)
	disktest.Fill(data[16<<20:16<<20+64<<10], 1)
	data[20<<20] = 1
	for name, c := range map[string]struct {
		src  disk.Disk
		want int64
	}{
		"known holes":   {disktest.Memory(data), 64<<10 + 4096},
		"unknown holes": {opaque{disktest.Memory(data)}, 128 << 10},
		"64 TiB":        {disktest.Scattered(1, 8<<40, 100), 100 * 4096},
	} {
		f := create(t)
		written, err := raw.Write(t.Context(), f, c.src, raw.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if written != c.want {
			t.Errorf("%s: wrote %d bytes, want %d", name, written, c.want)
		}
		if c.src.Size() > 1<<30 {
			continue
		}
		disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
			d, err := raw.Open(f, time.Now().Add(time.Hour))
			if err != nil {
				t.Fatal(err)
			}
			return d, bytes.NewReader(data)
		})
	}
}

func TestWriteRefusesAFileWithContent(t *testing.T) {
	f := create(t)
	if _, err := f.WriteString("precious"); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write(t.Context(), f, disk.Zeros(4096), raw.WriteOptions{}); err == nil {
		t.Error("a file with content is overwritten")
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "precious" {
		t.Errorf("got %q, %v", got, err)
	}
}

var errBroken = errors.New("broken")

// faulty is a target or a disk of which one operation fails.
type faulty struct {
	disk.Disk
	truncate, sync, write, read, next error
	short                             bool
	hits                              atomic.Int64
}

func (f *faulty) hit(err error) error {
	if err != nil {
		f.hits.Add(1)
	}
	return err
}

func (f *faulty) Truncate(int64) error { return f.hit(f.truncate) }
func (f *faulty) Sync() error          { return f.hit(f.sync) }

func (f *faulty) WriteAt(p []byte, off int64) (int, error) {
	if f.short && off > 1<<20 {
		f.hits.Add(1)
		return len(p) - 1, nil
	}
	if f.write != nil && off > 1<<20 {
		return len(p) / 2, f.hit(f.write)
	}
	return len(p), nil
}

func (f *faulty) ReadAt(p []byte, off int64) (int, error) {
	if f.read != nil && off > 1<<20 {
		return len(p) / 2, f.hit(f.read)
	}
	return f.Disk.ReadAt(p, off)
}

func (f *faulty) NextData(off int64) (int64, int64, error) {
	if f.next != nil && off > 1<<20 {
		return 0, 0, f.hit(f.next)
	}
	return f.Disk.NextData(off)
}

func TestWriteReportsEveryFailure(t *testing.T) {
	for name, f := range map[string]*faulty{
		"truncate":       {truncate: errBroken},
		"sync":           {sync: errBroken},
		"write":          {write: errBroken},
		"short write":    {short: true},
		"read":           {read: errBroken},
		"short read":     {read: io.EOF},
		"next data":      {next: errBroken},
		"end of nothing": {next: io.ErrUnexpectedEOF},
	} {
		f.Disk = disktest.Memory(disktest.Sparse(1, 8<<20, 2))
		_, err := raw.Write(t.Context(), f, f, raw.WriteOptions{})
		if err == nil || f.hits.Load() == 0 {
			t.Errorf("%s: got %v after %d faults", name, err, f.hits.Load())
		}
		if f.short && !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%s: got %v, want %v", name, err, io.ErrShortWrite)
		}
	}
}

func TestWriteEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	src := disktest.Memory(disktest.Random(1, 8<<20))
	_, err := raw.Write(ctx, create(t), src, raw.WriteOptions{Piece: 4096, Progress: func(int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

func BenchmarkWrite(b *testing.B) {
	data := disktest.Random(1, 512<<20)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		f := create(b)
		if _, err := raw.Write(b.Context(), f, opaque{disktest.Memory(data)}, raw.WriteOptions{}); err != nil {
			b.Fatal(err)
		}
		f.Close()
		os.Remove(f.Name())
	}
}
