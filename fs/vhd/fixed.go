package vhd

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// FixedFile presents a disk as the bytes of a fixed VHD file: the disk itself,
// rounded up to whole sectors with zeros, and a footer. The bytes are a
// function of the disk and the identity alone. It is a disk.Disk (of the
// file's bytes) so that holes stay holes when it is written out.
//
// Azure takes such files when the disk is a multiple of 1 MiB.
type FixedFile struct {
	d      disk.Disk
	size   int64 // of the disk in the VHD
	footer []byte
}

var (
	_ disk.Disk            = (*FixedFile)(nil)
	_ disk.ContextReaderAt = (*FixedFile)(nil)
)

// NewFixedFile presents d as a fixed VHD with the identity id. An empty disk
// and one of more than 2040 GiB are refused.
func NewFixedFile(d disk.Disk, id disk.GUID) (*FixedFile, error) {
	size := d.Size()
	if size <= 0 || size > maxSize {
		return nil, fmt.Errorf("vhd: present a disk of %d bytes: a VHD holds 1 byte to 2040 GiB", size)
	}
	size = (size + sector - 1) / sector * sector
	f := footer{kind: Fixed, size: size, headerOff: -1, id: id}
	return &FixedFile{d: d, size: size, footer: f.marshal()}, nil
}

// Size is the length of the file.
func (f *FixedFile) Size() int64 { return f.size + footerSize }

// ReadAt reads the bytes of the file.
func (f *FixedFile) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that gives up when ctx ends.
func (f *FixedFile) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n, end := disk.Clip(len(p), off, f.Size())
	p = p[:n]
	done := 0
	if inDisk := min(int64(n), f.d.Size()-off); inDisk > 0 {
		if err := disk.ReadFull(ctx, f.d, p[:inDisk], off); err != nil {
			return 0, fmt.Errorf("vhd: read %d bytes of the disk at %d: %w", inDisk, off, err)
		}
		done = int(inDisk)
	}
	for ; done < n && off+int64(done) < f.size; done++ {
		p[done] = 0
	}
	if done < n {
		copy(p[done:], f.footer[off+int64(done)-f.size:])
	}
	return n, end
}

// NextData returns the next extent of the file that may hold something other
// than zeros; the footer is the last one.
func (f *FixedFile) NextData(off int64) (start, end int64, err error) {
	off = max(off, 0)
	if off < f.size {
		start, end, err = f.d.NextData(off)
		if err != io.EOF {
			return start, end, err
		}
	}
	if off >= f.Size() {
		return 0, 0, io.EOF
	}
	return max(off, f.size), f.Size(), nil
}
