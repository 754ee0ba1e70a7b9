package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"sync/atomic"
	"time"

	"vitrine/fs/disk"
)

// NoticeError is why a file of a guest that is there cannot be read: it is
// encrypted, kept in a cloud, or no file at all.
type NoticeError struct{ Why string }

func (e *NoticeError) Error() string { return e.Why }

// guestHandle is an opened file of a guest.
type guestHandle struct {
	f      *guestFile
	file   iofs.File
	r      io.ReaderAt // nil where the file has a notice
	closed atomic.Bool
}

var _ Extenter = (*guestHandle)(nil)

// Close closes the file once.
func (h *guestHandle) Close() error {
	if h.closed.Swap(true) {
		return nil
	}
	h.f.f.t.meter.handles.Add(-1)
	return h.file.Close()
}

// ReadAt reads what the guest would read, or says why that cannot be had.
func (h *guestHandle) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	if h.r == nil {
		return 0, h.f.fail(ctx, "read", &NoticeError{h.f.info.Notice})
	}
	start := time.Now()
	err = guard(func() (err error) { n, err = disk.ReadAt(ctx, h.r, p, off); return err })
	h.f.f.t.meter.read(n, time.Since(start))
	if err != nil && !errors.Is(err, io.EOF) {
		return n, h.f.fail(ctx, fmt.Sprintf("read at %d", off), err)
	}
	return n, err
}

// next is disk.Disk's NextData, of a file that may not know its holes.
func (h *guestHandle) next(off int64) (start, end int64, err error) {
	size := h.f.info.Size
	if off >= size {
		return 0, 0, io.EOF
	}
	x, ok := h.file.(interface {
		NextData(off int64) (start, end int64, err error)
	})
	if !ok || h.f.f.t.o.Full {
		return off, size, nil
	}
	if start, end, err = x.NextData(off); err != nil {
		return 0, 0, err
	}
	if start < off || end <= start {
		return 0, 0, fmt.Errorf("data behind %d: extent [%d,%d) makes no sense", off, start, end)
	}
	if start >= size {
		return 0, 0, io.EOF
	}
	return start, min(end, size), nil
}

// NextData finds data.
func (h *guestHandle) NextData(ctx context.Context, off int64) (int64, error) {
	return h.seek(ctx, func() (int64, error) {
		start, _, err := h.next(off)
		return start, err
	})
}

// NextHole finds a hole.
func (h *guestHandle) NextHole(ctx context.Context, off int64) (int64, error) {
	if off >= h.f.info.Size {
		return 0, io.EOF
	}
	return h.seek(ctx, func() (int64, error) {
		for ctx.Err() == nil {
			start, end, err := h.next(off)
			switch {
			case err == io.EOF:
				return off, nil
			case err != nil:
				return 0, err
			case start > off:
				return off, nil
			}
			off = end
		}
		return 0, ctx.Err()
	})
}

func (h *guestHandle) seek(ctx context.Context, f func() (int64, error)) (int64, error) {
	if h.r == nil {
		return 0, h.f.fail(ctx, "seek in", &NoticeError{h.f.info.Notice})
	}
	at, err := wait(ctx, f)
	if err != nil && err != io.EOF {
		err = h.f.fail(ctx, "seek in", err)
	}
	return at, err
}
