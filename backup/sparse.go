package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"vitrine/fs/disk"
)

const (
	piece = 4 << 20  // what one goroutine reads at a time
	unit  = 64 << 10 // zeros of this size and alignment are not written
)

// CopySparse writes d into an empty file and returns how many bytes were not
// zeros; what is, becomes a hole. Several pieces are read at a time, so that
// decoding keeps every processor busy. add is told of bytes that are done with,
// holes too, from one goroutine at a time.
func CopySparse(ctx context.Context, f *os.File, d disk.Disk, add func(int64)) (int64, error) {
	size := d.Size()
	if err := f.Truncate(size); err != nil {
		return 0, err
	}
	var written atomic.Int64
	workers := min(max(runtime.GOMAXPROCS(0), 2), 8)
	bufs := make(chan []byte, workers)
	for range workers {
		bufs <- nil
	}
	g, gctx := errgroup.WithContext(ctx)
	told := int64(0)
	for off := int64(0); off < size && gctx.Err() == nil; {
		start, end, err := d.NextData(off)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			g.Go(func() error { return err })
			break
		}
		for start < end && gctx.Err() == nil {
			from, to := start, min(end, (start/piece+1)*piece)
			start = to
			add(to - told)
			told = to
			buf := <-bufs
			g.Go(func() error {
				if buf == nil {
					buf = make([]byte, piece)
				}
				defer func() { bufs <- buf }()
				n, err := copyPiece(gctx, f, d, buf[:to-from], from)
				written.Add(n)
				return err
			})
		}
		off = end
	}
	err := g.Wait()
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		add(size - told)
	}
	return written.Load(), err
}

// copyPiece copies len(buf) bytes at off, leaving out zeros.
func copyPiece(ctx context.Context, f *os.File, d disk.Disk, buf []byte, off int64) (int64, error) {
	n, err := disk.ReadAt(ctx, d, buf, off)
	if n < len(buf) {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, err
	}
	var written int64
	end := off + int64(len(buf))
	for pos := off; pos < end; {
		// A run of units that are not zero goes out in one write.
		stop := pos
		for stop < end {
			next := min(end, (stop/unit+1)*unit)
			if allZero(buf[stop-off : next-off]) {
				break
			}
			stop = next
		}
		if stop > pos {
			if _, err := f.WriteAt(buf[pos-off:stop-off], pos); err != nil {
				return written, err
			}
			written += stop - pos
		}
		pos = min(end, (stop/unit+1)*unit)
	}
	return written, nil
}

var zeros [unit]byte

func allZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }
