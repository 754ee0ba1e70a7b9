package fs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"vitrine/fs/disk"
	"vitrine/repo"
)

// source is the bytes of an opened file: an image, or an image presented as a
// VHDX.
type source interface {
	disk.Disk
	disk.ContextReaderAt
	Prefetch(off, n int64)
}

// imageFile is a file whose bytes are an image of the repository: a flat disk,
// a configuration file or, with disk, a VHDX.
type imageFile struct {
	t       *Tree
	ino     uint64
	ref     repo.ImageRef
	disk    *repo.Disk // nil: the image as it is
	time    time.Time
	machine string // for messages, with place
	place   string

	sizeOnce sync.Mutex
	sized    bool
	size     int64
}

// open returns the file's bytes, from the disks opened before if it can.
// Nothing is read.
func (f *imageFile) open(ctx context.Context) (source, error) {
	if s, ok := f.t.disks.get(f.ino); ok {
		return s, nil
	}
	img, err := f.t.repo.OpenImage(ctx, f.ref)
	if err != nil {
		return nil, fmt.Errorf("fs: open %s: %w", f.where(), err)
	}
	var s source = img
	if f.disk != nil {
		if s, err = present(img, f.disk); err != nil {
			return nil, fmt.Errorf("fs: present %s: %w", f.where(), err)
		}
	}
	f.t.disks.put(f.ino, s)
	return s, nil
}

func (f *imageFile) where() string { return f.machine + "/" + f.place }

// Stat gives size 0 to a file that cannot be opened: it stays visible, and
// opening it tells why.
func (f *imageFile) Stat(ctx context.Context) (Info, error) {
	size, err := f.length(ctx)
	if err != nil {
		return Info{}, err
	}
	i := Info{Ino: f.ino, Mode: fileMode, Size: size, Alloc: size, Links: 1, Time: f.time}
	if !f.t.o.Full {
		i.Alloc = min(size, f.allocated(size))
	}
	return i, nil
}

// allocated counts the bytes that are not holes: those in chunks and, of a
// VHDX, what comes before its blocks.
func (f *imageFile) allocated(size int64) int64 {
	data := max(0, f.ref.Data)
	if f.disk != nil && f.ref.Block > 0 && f.ref.Allocated >= 0 && f.ref.Allocated <= size/f.ref.Block {
		data += size - f.ref.Allocated*f.ref.Block
	}
	return data
}

func (f *imageFile) length(ctx context.Context) (int64, error) {
	if f.disk == nil {
		return max(0, f.ref.Size), nil
	}
	f.sizeOnce.Lock()
	defer f.sizeOnce.Unlock()
	if f.sized {
		return f.size, nil
	}
	s, err := f.open(ctx)
	switch {
	case err == nil:
		f.size = s.Size()
	case ctx.Err() != nil:
		return 0, ctx.Err()
	default:
		f.t.failed(ctx, f.where(), err)
	}
	f.sized = true
	return f.size, nil
}

func (f *imageFile) Open(ctx context.Context) (Handle, error) {
	s, err := f.open(ctx)
	if err != nil {
		f.t.failed(ctx, f.where(), err)
		return nil, err
	}
	f.t.meter.handles.Add(1)
	h := &imageHandle{f: f, s: s}
	h.close = sync.OnceFunc(func() { f.t.meter.handles.Add(-1) })
	return h, nil
}

// imageHandle reads an image and fetches ahead of who reads it in order.
type imageHandle struct {
	f     *imageFile
	s     source
	ahead readAhead
	close func()
}

var _ Extenter = (*imageHandle)(nil)

func (h *imageHandle) Close() error {
	h.close()
	return nil
}

func (h *imageHandle) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("fs: read %s: negative offset", h.f.where())
	}
	if off >= h.s.Size() {
		return 0, io.EOF
	}
	if at, n := h.ahead.read(off, int64(len(p)), h.s.Size()); n > 0 {
		h.s.Prefetch(at, n)
	}
	start := time.Now()
	n, err := h.s.ReadAtContext(ctx, p, off)
	h.f.t.meter.read(n, time.Since(start))
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("fs: read %s at %d: %w", h.f.where(), off, err)
		h.f.t.failed(ctx, h.f.where(), err)
	}
	return n, err
}

func (h *imageHandle) NextData(ctx context.Context, off int64) (int64, error) {
	if h.f.t.o.Full {
		return nextOfFull(off, h.s.Size(), off)
	}
	return h.seek(ctx, func(context.Context) (int64, error) {
		start, _, err := h.s.NextData(off)
		return start, err
	})
}

func (h *imageHandle) NextHole(ctx context.Context, off int64) (int64, error) {
	size := h.s.Size()
	if h.f.t.o.Full || off >= size {
		return nextOfFull(off, size, size)
	}
	return h.seek(ctx, func(ctx context.Context) (int64, error) { return nextHole(ctx, h.s, off) })
}

// nextOfFull answers for a file that is all data.
func nextOfFull(off, size, answer int64) (int64, error) {
	if off >= size {
		return 0, io.EOF
	}
	return answer, nil
}

// nextHole returns the end of the extents that follow off without a gap.
func nextHole(ctx context.Context, d disk.Disk, off int64) (int64, error) {
	for ctx.Err() == nil {
		start, end, err := d.NextData(off)
		switch {
		case errors.Is(err, io.EOF):
			return off, nil
		case err != nil:
			return 0, err
		case start > off:
			return off, nil
		case end <= off:
			return 0, fmt.Errorf("fs: extent [%d,%d) at %d is empty", start, end, off)
		}
		off = end
	}
	return 0, ctx.Err()
}

// seek runs f, which may read the disk's map and does not always know ctx, so
// that whoever asks can be killed meanwhile. Close does not wait for it either:
// it ends when the store answers, and touches nothing of the tree.
func (h *imageHandle) seek(ctx context.Context, f func(ctx context.Context) (int64, error)) (int64, error) {
	type answer struct {
		off int64
		err error
	}
	done := make(chan answer, 1)
	go func() {
		off, err := f(ctx)
		done <- answer{off, err}
	}()
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case a := <-done:
		if a.err != nil && !errors.Is(a.err, io.EOF) {
			h.f.t.failed(ctx, h.f.where(), a.err)
		}
		return a.off, a.err
	}
}
