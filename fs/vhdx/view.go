package vhdx

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// view is the file as it stands after the log was replayed: the bytes of the
// file, over them the writes of the log, behind its end zeros up to the size
// that the log gave it.
type view struct {
	r        io.ReaderAt
	fileSize int64
	size     int64    // at least fileSize
	patches  *patches // nil when the log is empty
}

// read fills p from off on. All of it has to lie below the size of the view.
func (v *view) read(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off > v.size || int64(len(p)) > v.size-off {
		return corrupt("file", off, "%d bytes are needed and the file ends at %d", len(p), v.size)
	}
	inFile := min(int64(len(p)), max(0, v.fileSize-off))
	if inFile > 0 {
		if err := disk.ReadFull(ctx, v.r, p[:inFile], off); err != nil {
			return fmt.Errorf("vhdx: read %d bytes at offset %d: %w", inFile, off, err)
		}
	}
	clear(p[inFile:])
	if v.patches != nil {
		v.patches.apply(p, off)
	}
	return nil
}

// extents is a file that knows its own holes, such as a raw.Disk: what it
// calls no data reads as zeros.
type extents interface {
	NextData(off int64) (start, end int64, err error)
}

const (
	// smallHole is a hole of the file that is not worth two extents.
	smallHole = 64 << 10
	// maxJoined bounds an extent that is joined over small holes.
	maxJoined = 16 << 20
)

// data returns the first of the n bytes at off that are not in a hole of the
// file, and where the next hole begins; ok is false when all are. Without
// knowledge of holes all is data.
func (v *view) data(off, n int64) (start, end int64, ok bool) {
	h, knows := v.r.(extents)
	if !knows || v.patches != nil {
		return off, off + n, true
	}
	start, end, err := h.NextData(off)
	if err == io.EOF || err == nil && start >= off+n {
		return 0, 0, false
	}
	if err != nil || start < off || end <= start {
		return off, off + n, true // a doubt is for the read
	}
	for end < off+n && end-start < maxJoined {
		s, e, err := h.NextData(end)
		if err != nil || s-end > smallHole || e <= end {
			break
		}
		end = e
	}
	return start, min(end, off+n), true
}
