package xfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"vitrine/fs/disk"
)

// Free yields the extents of the volume that it says are free, in order; after
// an error it ends, and nothing that came before is to be trusted. The few
// blocks that each allocation group sets aside for its trees are not among them.
func (v *FS) Free(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if v.doubt != "" {
			yield(disk.Extent{}, fmt.Errorf("xfs: free space cannot be trusted: %s", v.doubt))
			return
		}
		for ag := range v.sb.agCount {
			w := &freeWalk{v: v, ctx: ctx, ag: ag, yield: yield, limit: v.sb.agLength(ag)}
			if err := w.run(); err != nil {
				if !w.stopped {
					yield(disk.Extent{}, err)
				}
				return
			}
			if w.stopped {
				return
			}
		}
	}
}

// freeWalk yields the free extents of an allocation group.
type freeWalk struct {
	v       *FS
	ctx     context.Context
	ag      uint32
	yield   func(disk.Extent, error) bool
	limit   uint32 // blocks of the group
	past    uint32 // everything below was told
	total   uint64 // free blocks found
	visits  uint32
	stopped bool
}

func (w *freeWalk) object() string { return fmt.Sprintf("free space of allocation group %d", w.ag) }

func (w *freeWalk) place(blk uint32) int64 {
	return (int64(w.ag)*int64(w.v.sb.agBlocks) + int64(blk)) << w.v.sb.blockLog
}

// headers is how many blocks the group's four header sectors take.
func (w *freeWalk) headers() uint32 {
	return uint32((4*w.v.sb.sector + w.v.sb.blockSize - 1) >> w.v.sb.blockLog)
}

func (w *freeWalk) run() error {
	sb := w.v.sb
	off := w.place(0) + sb.sector
	b, err := w.v.pages.read(w.ctx, off, int(sb.sector))
	if err != nil {
		return err
	}
	u32 := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	switch {
	case string(b[:4]) != "XAGF":
		return damaged(w.object(), off, "no signature")
	case sb.v5 && !checksumHolds(b, 216):
		return damaged(w.object(), off, "wrong checksum")
	case sb.v5 && [16]byte(b[64:]) != sb.metaUUID:
		return damaged(w.object(), off, "it belongs to another volume")
	case u32(4) != 1 || u32(8) != w.ag || u32(12) != w.limit:
		return damaged(w.object(), off, fmt.Sprintf("it describes %d blocks of group %d", u32(12), u32(8)))
	case u32(28) == 0 || u32(28) > maxLevels:
		return damaged(w.object(), off, fmt.Sprintf("a tree of %d levels", u32(28)))
	}
	w.past = w.headers()
	if err := w.walk(u32(16), int(u32(28))-1); err != nil || w.stopped {
		return err
	}
	if w.total != uint64(u32(52)) {
		return damaged(w.object(), off, fmt.Sprintf("%d free blocks, found %d", u32(52), w.total))
	}
	return nil
}

// walk visits the block of the tree at blk, which must be of a level.
func (w *freeWalk) walk(blk uint32, level int) error {
	sb := w.v.sb
	off := w.place(blk)
	if blk < w.headers() || blk >= w.limit {
		return damaged(w.object(), w.place(0), fmt.Sprintf("a tree block at %d", blk))
	}
	if w.visits++; w.visits > w.limit {
		return damaged(w.object(), off, "the tree runs in a circle")
	}
	b, err := w.v.pages.read(w.ctx, off, int(sb.blockSize))
	if err != nil {
		return err
	}
	magic, header := "ABTB", 16
	if sb.v5 {
		magic, header = "AB3B", 56
	}
	if string(b[:4]) != magic {
		return damaged(w.object(), off, "no signature")
	}
	if reason := w.v.prove(b, off, shortLayout(), uint64(w.ag)); reason != "" {
		return damaged(w.object(), off, reason)
	}
	have, count := int(binary.BigEndian.Uint16(b[4:])), int(binary.BigEndian.Uint16(b[6:]))
	b = b[header:]
	size := 8
	if level > 0 {
		size = 12
	}
	most := len(b) / size
	if have != level || count > most {
		return damaged(w.object(), off, fmt.Sprintf("a block of level %d with %d records where level %d belongs", have, count, level))
	}
	for i := range count {
		if level > 0 {
			if err := w.walk(binary.BigEndian.Uint32(b[8*most+4*i:]), level-1); err != nil || w.stopped {
				return err
			}
			continue
		}
		if err := w.record(binary.BigEndian.Uint32(b[8*i:]), binary.BigEndian.Uint32(b[8*i+4:]), off); err != nil || w.stopped {
			return err
		}
	}
	return nil
}

// record tells one free extent of n blocks.
func (w *freeWalk) record(blk, n uint32, off int64) error {
	if n == 0 || blk < w.past || blk > w.limit || n > w.limit-blk {
		return damaged(w.object(), off, fmt.Sprintf("%d free blocks at %d, out of order", n, blk))
	}
	x := disk.Extent{Off: w.place(blk), Len: int64(n) << w.v.sb.blockLog}
	if w.v.overlapsLog(x) {
		return damaged(w.object(), off, "the log is free")
	}
	w.past = blk + n
	w.total += uint64(n)
	w.stopped = !w.yield(x, nil)
	return nil
}
