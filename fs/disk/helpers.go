package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// errNegative is what reading at a negative offset gives.
var errNegative = errors.New("disk: negative offset")

// Clip says how much of a read of n bytes at off a disk of size bytes answers,
// and with which error: io.EOF when that is less than n, another one when off
// is negative. Every Disk begins its ReadAt with it.
func Clip(n int, off, size int64) (int, error) {
	if off < 0 {
		return 0, errNegative
	}
	if off >= size {
		if n == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if int64(n) > size-off {
		return int(size - off), io.EOF
	}
	return n, nil
}

// ReadFull reads exactly len(p) bytes at off; a disk that ends before gives
// io.ErrUnexpectedEOF. It gives up when ctx ends if r can.
func ReadFull(ctx context.Context, r io.ReaderAt, p []byte, off int64) error {
	n, err := ReadAt(ctx, r, p, off)
	if n == len(p) && (err == nil || err == io.EOF) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// Data yields the extents of d that may hold something other than zeros, in
// order; extents that touch are joined. After an error it ends.
func Data(d Disk) iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		var open Extent
		for off := int64(0); ; {
			start, end, err := d.NextData(off)
			if err == nil && (start < off || end <= start || end > d.Size()) {
				err = fmt.Errorf("disk: data behind %d: extent [%d,%d) of %d bytes makes no sense", off, start, end, d.Size())
			}
			if err != nil {
				if open.Len > 0 && !yield(open, nil) {
					return
				}
				if err != io.EOF {
					yield(Extent{}, err)
				}
				return
			}
			if open.Len > 0 && start != open.End() {
				if !yield(open, nil) {
					return
				}
				open = Extent{}
			}
			if open.Len == 0 {
				open.Off = start
			}
			open.Len = end - open.Off
			off = end
		}
	}
}

// ReadExtents reads all that may hold data on d, in disk order, at most
// len(buf) bytes at a time, and hands it to fn, which must not keep p. Pieces
// end at multiples of len(buf), so that a disk is always cut alike.
func ReadExtents(ctx context.Context, d Disk, buf []byte, fn func(p []byte, off int64) error) error {
	unit := int64(len(buf))
	for x, err := range Data(d) {
		if err != nil {
			return err
		}
		for off := x.Off; off < x.End(); {
			p := buf[:min(x.End()-off, unit-off%unit)]
			if err := ReadFull(ctx, d, p, off); err != nil {
				return fmt.Errorf("disk: read %d bytes at %d: %w", len(p), off, err)
			}
			if err := fn(p, off); err != nil {
				return err
			}
			off += int64(len(p))
		}
	}
	return nil
}

// Zeros returns a disk of size zeros.
func Zeros(size int64) Disk { return zeros(max(size, 0)) }

type zeros int64

func (z zeros) Size() int64 { return int64(z) }

func (z zeros) ReadAt(p []byte, off int64) (int, error) {
	n, err := Clip(len(p), off, int64(z))
	clear(p[:n])
	return n, err
}

func (z zeros) NextData(int64) (start, end int64, err error) { return 0, 0, io.EOF }

// Section returns the n bytes of d at off as a disk, cut to what d has there:
// a partition, for example.
func Section(d Disk, off, n int64) Disk {
	size := d.Size()
	off = min(max(off, 0), size)
	return &section{d, off, min(max(n, 0), size-off)}
}

type section struct {
	d         Disk
	off, size int64
}

var _ ContextReaderAt = (*section)(nil)

func (s *section) Size() int64 { return s.size }

func (s *section) ReadAt(p []byte, off int64) (int, error) {
	return s.ReadAtContext(context.Background(), p, off)
}

func (s *section) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, end := Clip(len(p), off, s.size)
	if n == 0 {
		return 0, end
	}
	got, err := ReadAt(ctx, s.d, p[:n], s.off+off)
	if got == n && (err == nil || err == io.EOF) {
		err = end
	}
	return got, err
}

func (s *section) NextData(off int64) (start, end int64, err error) {
	if off >= s.size {
		return 0, 0, io.EOF
	}
	start, end, err = s.d.NextData(s.off + max(off, 0))
	if err != nil {
		return 0, 0, err
	}
	if start >= s.off+s.size {
		return 0, 0, io.EOF
	}
	return start - s.off, min(end-s.off, s.size), nil
}
