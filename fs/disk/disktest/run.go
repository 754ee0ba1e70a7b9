package disktest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"vitrine/fs/disk"
)

// Oracle is what a disk must read as; *bytes.Reader is one, and so is every
// disk that is known to be right.
type Oracle interface {
	io.ReaderAt
	Size() int64
}

// most bounds what the suite reads of a gap or walks of a huge disk.
const (
	most        = 32 << 20
	mostExtents = 20000
)

// Run checks that the disks which open returns keep the contract of disk.Disk
// and of the optional interfaces they have, and read as the oracle says. Each
// subtest opens anew; open cleans up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) (disk.Disk, Oracle)) {
	run := func(name string, check func(t *testing.T, d disk.Disk, want Oracle)) {
		t.Run(name, func(t *testing.T) {
			d, want := open(t)
			check(t, d, want)
		})
	}
	run("Size", checkSize)
	run("Edges", checkEdges)
	run("RandomReads", checkRandom)
	run("ConcurrentReads", checkConcurrent)
	run("NextData", checkNextData)
	run("Context", checkContext)
	run("Blocks", checkBlocks)
}

func checkSize(t *testing.T, d disk.Disk, want Oracle) {
	if got := d.Size(); got != want.Size() {
		t.Fatalf("size: got %d, want %d", got, want.Size())
	}
}

// checkRead reads n bytes at off from both and compares bytes, count and error.
func checkRead(t *testing.T, read func(p []byte, off int64) (int, error), want Oracle, off int64, n int) {
	t.Helper()
	got := bytes.Repeat([]byte{0xAA}, n)
	count, err := read(got, off)
	expected := int(min(int64(n), max(want.Size()-off, 0)))
	if count != expected {
		t.Errorf("read %d bytes at %d of %d: got %d (%v), want %d", n, off, want.Size(), count, err, expected)
		return
	}
	switch {
	case count < n && err != io.EOF:
		t.Errorf("read %d bytes at %d of %d: got error %v, want EOF", n, off, want.Size(), err)
	case count == n && err != nil && (err != io.EOF || off+int64(n) < want.Size()):
		t.Errorf("read %d bytes at %d of %d: got error %v", n, off, want.Size(), err)
	}
	exact := make([]byte, count)
	if m, err := want.ReadAt(exact, off); m != count {
		t.Fatalf("the oracle gives %d of %d bytes at %d: %v", m, count, off, err)
	}
	if i := mismatch(got[:count], exact); i >= 0 {
		t.Errorf("read %d bytes at %d: byte %d: got %#02x, want %#02x", n, off, off+int64(i), got[i], exact[i])
	}
}

func mismatch(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

// edges are the offsets at which reads go wrong: those of sectors, pages and
// blocks, both ends of the disk and of its first and last extents.
func edges(d disk.Disk) []int64 {
	size := d.Size()
	at := []int64{0, 512, 4096, 65536, 1 << 20, 2 << 20, 32 << 20, size, size - 512, size - 4096, size / 2, size/2 - size/2%4096}
	off := int64(0)
	for range 12 {
		start, end, err := d.NextData(off)
		if err != nil {
			break
		}
		at = append(at, start, end)
		off = end
	}
	return at
}

func checkEdges(t *testing.T, d disk.Disk, want Oracle) {
	for _, edge := range edges(d) {
		for _, off := range []int64{edge - 1, edge, edge + 1} {
			if off < 0 {
				continue
			}
			for _, n := range []int{0, 1, 2, 511, 512, 513, 4096, 4097, 70001} {
				checkRead(t, d.ReadAt, want, off, n)
			}
		}
		if t.Failed() {
			return
		}
	}
	checkRead(t, d.ReadAt, want, 0, int(min(d.Size()+10, 5<<20)))
	for _, off := range []int64{-1, math.MinInt64} {
		for _, n := range []int{1, 4096} {
			if got, err := d.ReadAt(make([]byte, n), off); got != 0 || err == nil || err == io.EOF {
				t.Errorf("read %d bytes at %d: got %d, %v; want an error", n, off, got, err)
			}
		}
	}
	for _, off := range []int64{d.Size() + 1<<30, math.MaxInt64 - 10, math.MaxInt64} {
		if got, err := d.ReadAt(make([]byte, 100), off); got != 0 || err != io.EOF {
			t.Errorf("read behind the end at %d: got %d, %v; want EOF", off, got, err)
		}
	}
}

func randomReads(t *testing.T, d disk.Disk, want Oracle, seed uint64, count int) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for range count {
		off := rng.Int64N(d.Size() + 1)
		if rng.IntN(2) == 0 { // near data
			if start, _, err := d.NextData(off); err == nil {
				off = max(start-rng.Int64N(9000), 0)
			}
		}
		checkRead(t, d.ReadAt, want, off, rng.IntN(1<<rng.IntN(20)))
		if t.Failed() {
			return
		}
	}
}

func checkRandom(t *testing.T, d disk.Disk, want Oracle) {
	randomReads(t, d, want, 1, 300)
}

func checkConcurrent(t *testing.T, d disk.Disk, want Oracle) {
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() { randomReads(t, d, want, uint64(i)+10, 40) })
	}
	readers.Wait()
}

func checkNextData(t *testing.T, d disk.Disk, want Oracle) {
	size := d.Size()
	data := new(disk.Set)
	off := int64(0)
	for range mostExtents {
		start, end, err := d.NextData(off)
		if err != nil {
			if err != io.EOF {
				t.Fatalf("NextData(%d): %v", off, err)
			}
			checkZero(t, want, off, size)
			off = size
			break
		}
		if start < off || end <= start || end > size {
			t.Fatalf("NextData(%d): got [%d,%d) of a disk of %d bytes", off, start, end, size)
		}
		checkZero(t, want, off, start)
		data.Add(start, end)
		off = end
	}
	seen := off // the walk went no further on a disk with very many extents

	for _, off := range []int64{size, size + 1, math.MaxInt64} {
		if start, end, err := d.NextData(off); err != io.EOF {
			t.Errorf("NextData(%d) of %d bytes: got [%d,%d), %v; want EOF", off, size, start, end, err)
		}
	}
	rng := rand.New(rand.NewPCG(1, 3))
	for range 300 {
		if seen == 0 {
			return
		}
		off := rng.Int64N(seen)
		first, _, ok := data.Next(off)
		start, end, err := d.NextData(off)
		switch {
		case !ok && seen == size && err != io.EOF:
			t.Fatalf("NextData(%d): got [%d,%d), %v; a walk from 0 found nothing there", off, start, end, err)
		case ok && (err != nil || start != first || end <= start):
			t.Fatalf("NextData(%d): got [%d,%d), %v; a walk from 0 found data at %d", off, start, end, err, first)
		case ok && end <= seen && !data.Contains(start, end):
			t.Fatalf("NextData(%d): got [%d,%d), of which a walk from 0 found only a part", off, start, end)
		}
	}
}

// checkZero checks that the oracle holds zeros in [start,end): in all of it, or
// at both ends and in the middle of a huge extent.
func checkZero(t *testing.T, want Oracle, start, end int64) {
	t.Helper()
	if end-start > most {
		checkZero(t, want, start, start+page)
		checkZero(t, want, start+(end-start)/2, start+(end-start)/2+page)
		start = end - page
	}
	buf := make([]byte, min(end-start, 1<<20))
	zeros := make([]byte, len(buf))
	for start < end {
		p := buf[:min(int64(len(buf)), end-start)]
		if err := disk.ReadFull(t.Context(), want, p, start); err != nil {
			t.Fatalf("the oracle: read at %d: %v", start, err)
		}
		if i := mismatch(p, zeros[:len(p)]); i >= 0 {
			t.Fatalf("byte %d is %#02x and in no extent of NextData", start+int64(i), p[i])
		}
		start += int64(len(p))
	}
}

func checkContext(t *testing.T, d disk.Disk, want Oracle) {
	r, ok := d.(disk.ContextReaderAt)
	if !ok {
		t.Skip("the disk's reads cannot be given up")
	}
	read := func(p []byte, off int64) (int, error) { return r.ReadAtContext(t.Context(), p, off) }
	for _, off := range edges(d) {
		checkRead(t, read, want, max(off, 0), 5000)
	}
	start, end, err := d.NextData(0)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.ReadAtContext(ctx, make([]byte, min(end-start, 4096)), start); !errors.Is(err, context.Canceled) {
		t.Errorf("read with a cancelled context: got %v, want %v", err, context.Canceled)
	}
}

func checkBlocks(t *testing.T, d disk.Disk, want Oracle) {
	b, ok := d.(disk.Blocks)
	if !ok {
		t.Skip("the disk does not count blocks")
	}
	unit := b.BlockSize()
	if unit <= 0 {
		t.Fatalf("block size: got %d", unit)
	}
	var allocated []int64
	for off := int64(0); len(allocated) < mostExtents; {
		start, end, err := d.NextData(off)
		if err != nil {
			break
		}
		for block := start / unit; block*unit < end; block++ {
			if n := len(allocated); n == 0 || allocated[n-1] < block {
				allocated = append(allocated, block)
			}
		}
		off = end
	}
	if got := b.Allocated(); len(allocated) < mostExtents && got != int64(len(allocated)) {
		t.Errorf("allocated: got %d, want %d", got, len(allocated))
	}
	for n, block := range allocated {
		if got, err := b.Select(t.Context(), int64(n)); err != nil || got != block {
			t.Fatalf("Select(%d): got %d, %v; want %d", n, got, err, block)
		}
		if before, ok, err := b.Rank(t.Context(), block); err != nil || !ok || before != int64(n) {
			t.Fatalf("Rank(%d): got %d, %v, %v; want %d, true", block, before, ok, err, n)
		}
		next := block + 1
		if next*unit >= d.Size() || n+1 < len(allocated) && allocated[n+1] == next || n+1 == mostExtents {
			continue
		}
		if before, ok, err := b.Rank(t.Context(), next); err != nil || ok || before != int64(n)+1 {
			t.Fatalf("Rank(%d): got %d, %v, %v; want %d, false", next, before, ok, err, n+1)
		}
	}
	for _, n := range []int64{-1, b.Allocated(), math.MaxInt64} {
		if got, err := b.Select(t.Context(), n); err == nil {
			t.Errorf("Select(%d) of %d allocated blocks: got %d, want an error", n, b.Allocated(), got)
		}
	}
	if len(allocated) > 0 && allocated[0] > 0 {
		if before, ok, err := b.Rank(t.Context(), 0); err != nil || ok || before != 0 {
			t.Errorf("Rank(0): got %d, %v, %v; want 0, false", before, ok, err)
		}
	}
}
