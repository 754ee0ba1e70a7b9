package raw

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sync/errgroup"

	"vitrine/fs/disk"
)

// Target is what Write writes to: an *os.File, or something that fails like
// one.
type Target interface {
	io.WriterAt
	Truncate(size int64) error
	Sync() error
}

// WriteOptions say how to write. The zero value is right.
type WriteOptions struct {
	Workers int // pieces that are read and written at a time; 0: as the processors suggest
	Piece   int // bytes of a piece; 0: 1 MiB. Memory is Workers times Piece.

	// Progress is told how many bytes of the source are dealt with, holes
	// included; the calls add up to its size and never overlap.
	Progress func(n int64)
}

// zeroUnit is the least that is left out of a piece because it is all zeros.
const zeroUnit = 64 << 10

// Write writes src into dst, which must be empty, and returns how many bytes
// it wrote: holes of src, and aligned 64 KiB of zeros, become holes of dst. src
// is a disk or a presented file. Write returns when everything is durable in
// dst; to make its name durable is left to the caller. After an error what is
// in dst is of no use.
func Write(ctx context.Context, dst Target, src disk.Disk, o WriteOptions) (int64, error) {
	file, isFile := dst.(*os.File)
	if isFile {
		info, err := file.Stat()
		if err != nil {
			return 0, fmt.Errorf("raw: %w", err)
		}
		if !info.Mode().IsRegular() || info.Size() != 0 {
			return 0, fmt.Errorf("raw: write %s: not an empty file", file.Name())
		}
		if err := prepare(file); err != nil {
			return 0, fmt.Errorf("raw: make %s sparse: %w", file.Name(), err)
		}
	}
	if err := dst.Truncate(src.Size()); err != nil {
		return 0, fmt.Errorf("raw: set size: %w", err)
	}

	w := &writer{dst: dst, file: file, src: src, o: o}
	if w.o.Workers <= 0 {
		w.o.Workers = min(max(2*runtime.GOMAXPROCS(0), 4), 16)
	}
	if w.o.Piece <= 0 {
		w.o.Piece = 1 << 20
	}
	if err := w.run(ctx); err != nil {
		return w.written, err
	}
	if err := dst.Sync(); err != nil {
		return w.written, fmt.Errorf("raw: sync: %w", err)
	}
	return w.written, nil
}

type writer struct {
	dst  Target
	file *os.File // dst, when it is one
	src  disk.Disk
	o    WriteOptions

	mu      sync.Mutex // guards written and the calls of Progress
	written int64
}

// run cuts the source's data into pieces; every worker reads one piece and
// writes it, so that reading and writing overlap and the order of the disk is
// nearly kept.
func (w *writer) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	pieces := make(chan disk.Extent)
	group.Go(func() error {
		defer close(pieces)
		return w.cut(ctx, pieces)
	})
	for range w.o.Workers {
		group.Go(func() error {
			buf := make([]byte, w.o.Piece)
			for x := range pieces {
				if err := w.copy(ctx, buf[:x.Len], x.Off); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// cut sends the extents of the source, cut at multiples of a piece.
func (w *writer) cut(ctx context.Context, pieces chan<- disk.Extent) error {
	unit := int64(w.o.Piece)
	done := int64(0)
	for x, err := range disk.Data(w.src) {
		if err != nil {
			return fmt.Errorf("raw: find data: %w", err)
		}
		w.progress(0, x.Off-done)
		for off := x.Off; off < x.End(); {
			piece := disk.Extent{Off: off, Len: min(x.End()-off, unit-off%unit)}
			select {
			case pieces <- piece:
			case <-ctx.Done():
				return ctx.Err()
			}
			off = piece.End()
		}
		done = x.End()
	}
	w.progress(0, w.src.Size()-done)
	return nil
}

// copy reads len(p) bytes at off and writes what is not zero.
func (w *writer) copy(ctx context.Context, p []byte, off int64) error {
	if err := disk.ReadFull(ctx, w.src, p, off); err != nil {
		return fmt.Errorf("raw: read %d bytes at %d: %w", len(p), off, err)
	}
	written := int64(0)
	for start, end := nextNonzero(p, off, 0); start < len(p); start, end = nextNonzero(p, off, end) {
		n, err := w.dst.WriteAt(p[start:end], off+int64(start))
		if err == nil && n < end-start {
			err = io.ErrShortWrite
		}
		if err != nil {
			return fmt.Errorf("raw: write %d bytes at %d: %w", end-start, off+int64(start), err)
		}
		written += int64(n)
	}
	if w.file != nil && written > 0 {
		if err := startWriteback(w.file, off, int64(len(p))); err != nil {
			return fmt.Errorf("raw: write %d bytes at %d: %w", len(p), off, err)
		}
	}
	w.progress(written, int64(len(p)))
	return nil
}

func (w *writer) progress(written, n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.written += written
	if w.o.Progress != nil && n > 0 {
		w.o.Progress(n)
	}
}

// nextNonzero returns the first run of units of p at or behind from that are
// not all zeros; off is the place of p on the disk, on which units are aligned.
// start is len(p) when nothing but zeros follows.
func nextNonzero(p []byte, off int64, from int) (start, end int) {
	start = from
	for start < len(p) {
		next := unitEnd(p, off, start)
		if !isZero(p[start:next]) {
			break
		}
		start = next
	}
	for end = start; end < len(p); {
		next := unitEnd(p, off, end)
		if isZero(p[end:next]) {
			break
		}
		end = next
	}
	return start, end
}

func unitEnd(p []byte, off int64, i int) int {
	return int(min(int64(i)+zeroUnit-(off+int64(i))%zeroUnit, int64(len(p))))
}

// isZero compares p with itself one byte further on: all bytes are then alike.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}
