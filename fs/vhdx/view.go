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
