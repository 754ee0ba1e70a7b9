package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"vitrine/fs/disk"
)

// overlay says which blocks the journal has newer than the volume, and where.
type overlay struct {
	blocks []patch // by block
}

// patch is a block that the journal replaces.
type patch struct {
	block  uint64
	source uint64 // the block of the volume where the journal keeps it
	escape bool   // its first four bytes were taken away
	bad    bool   // its copy in the journal is damaged
}

// makeOverlay orders the patches that a replay collected.
func makeOverlay(newest map[uint64]patch) overlay {
	var o overlay
	o.blocks = make([]patch, 0, len(newest))
	for _, p := range newest {
		o.blocks = append(o.blocks, p)
	}
	slices.SortFunc(o.blocks, func(a, b patch) int {
		if a.block < b.block {
			return -1
		}
		return 1
	})
	return o
}

// apply replaces what the journal has newer in p, which was read at off.
func (o *overlay) apply(ctx context.Context, v *volume, p []byte, off int64) error {
	if len(o.blocks) == 0 {
		return nil
	}
	first, end := uint64(off/v.blockSize), uint64((off+int64(len(p))+v.blockSize-1)/v.blockSize)
	i, _ := slices.BinarySearchFunc(o.blocks, first, func(p patch, block uint64) int {
		switch {
		case p.block < block:
			return -1
		case p.block > block:
			return 1
		}
		return 0
	})
	var buf []byte
	for ; i < len(o.blocks) && o.blocks[i].block < end; i++ {
		b := o.blocks[i]
		if b.bad {
			return corrupt(fmt.Sprintf("block %d", b.block), int64(b.source)*v.blockSize, "its newest state, in the journal, has a wrong checksum")
		}
		if buf == nil {
			buf = make([]byte, v.blockSize)
		}
		if err := disk.ReadFull(ctx, v.r, buf, int64(b.source)*v.blockSize); err != nil {
			return fmt.Errorf("ext4: read block %d of the journal: %w", b.source, err)
		}
		if b.escape {
			binary.BigEndian.PutUint32(buf, journalMagic)
		}
		at := int64(b.block)*v.blockSize - off
		copy(p[max(at, 0):], buf[max(-at, 0):])
	}
	return nil
}
