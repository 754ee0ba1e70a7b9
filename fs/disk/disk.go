// Package disk defines what every virtual disk can do, whatever holds it: a
// VHDX at the source, an image in the repository, a raw file. The formats
// (fs/vhdx, fs/vhd, fs/raw) read and present disks; nothing here knows of a
// format or of the repository.
//
//	Disk    bytes with a size and knowledge of where data may lie
//	Extent  a run of bytes of a disk
//	Set     a sorted set of extents
//	hole    an extent that reads as zeros and costs nothing
package disk

import (
	"context"
	"io"
)

// Disk is a virtual disk, read at byte offsets. It is safe for concurrent use.
//
// ReadAt follows io.ReaderAt: reading past Size gives io.EOF, holes read as
// zeros, any offset and length is accepted.
//
// NextData returns the first extent [start,end) at or behind off that may hold
// something other than zeros, cut to begin at off at the earliest; io.EOF when
// nothing but zeros follows. Extents are neither empty nor past Size.
type Disk interface {
	io.ReaderAt
	Size() int64
	NextData(off int64) (start, end int64, err error)
}

// ContextReaderAt is a disk (or a presented file) whose reads can be given up:
// a cancelled ctx ends the read with ctx.Err().
type ContextReaderAt interface {
	ReadAtContext(ctx context.Context, p []byte, off int64) (int, error)
}

// Blocks is offered by a disk that knows, without reading its map, which of
// its aligned blocks of BlockSize bytes hold data: rank and select over them.
// A block counts as allocated when any byte of it lies in an extent that
// NextData reports. The numbers never change for one disk.
type Blocks interface {
	BlockSize() int64
	// Allocated is the number of allocated blocks.
	Allocated() int64
	// Rank returns how many blocks before block are allocated, and whether
	// block itself is.
	Rank(ctx context.Context, block int64) (before int64, allocated bool, err error)
	// Select returns the allocated block that has n allocated ones before it.
	Select(ctx context.Context, n int64) (block int64, err error)
}

// ReadAt reads from r, giving up when ctx ends if r can.
func ReadAt(ctx context.Context, r io.ReaderAt, p []byte, off int64) (int, error) {
	if c, ok := r.(ContextReaderAt); ok {
		return c.ReadAtContext(ctx, p, off)
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return r.ReadAt(p, off)
}
