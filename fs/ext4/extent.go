package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
)

const (
	extentMagic    = 0xF30A
	extentMaxDepth = 5
	extentMaxLen   = 32768 // longer ones are allocated but not written
)

// extentLeaf walks the inode's extent tree down to the leaf of a block.
func (fsys *FS) extentLeaf(ctx context.Context, n *inode, block uint64) (*leaf, error) {
	le := binary.LittleEndian
	node, off := n.blockMap(), n.off+40
	first, end := uint64(0), uint64(maxBlocks) // what the node is responsible for
	depth := -1                                // of the root it is not known yet
	for {
		entries, err := n.extentNode(node, off, depth)
		if err != nil {
			return nil, err
		}
		depth = int(le.Uint16(node[6:]))
		if depth == 0 {
			return n.extents(node, off, entries, first, end)
		}
		// The last entry that begins at or before block, and the next.
		child := -1
		childFirst, childEnd := first, end
		before := first
		for i := range entries {
			start := uint64(le.Uint32(node[12+12*i:]))
			if start < before || start >= end || i > 0 && start == before {
				return nil, n.corrupt(off, "index %d of its extents begins at block %d, not in [%d,%d)", i, start, before, end)
			}
			before = start
			if start > block {
				childEnd = start
				break
			}
			child, childFirst = i, start
		}
		if child < 0 {
			return &leaf{first: first, end: childEnd}, nil
		}
		p := node[12+12*child:]
		number := uint64(le.Uint32(p[4:])) | uint64(le.Uint16(p[8:]))<<32
		if !fsys.super.holds(number, 1) {
			return nil, n.corrupt(off, "a node of its extents is at block %d", number)
		}
		if node, err = fsys.block(ctx, number); err != nil {
			return nil, fmt.Errorf("ext4: read extents of inode %d: %w", n.number, err)
		}
		off, first, end = fsys.super.blockOff(number), childFirst, childEnd
		if fsys.super.checksums() {
			if err := n.extentChecksum(node, off); err != nil {
				return nil, err
			}
		}
	}
}

// extentNode checks the header of a node below one of depth above (-1: it is
// the root) and returns the number of entries.
func (n *inode) extentNode(node []byte, off int64, above int) (int, error) {
	le := binary.LittleEndian
	entries, room, depth := int(le.Uint16(node[2:])), int(le.Uint16(node[4:])), int(le.Uint16(node[6:]))
	switch {
	case le.Uint16(node) != extentMagic:
		return 0, n.corrupt(off, "a node of its extents has no magic number")
	case depth > extentMaxDepth || above >= 0 && depth != above-1:
		return 0, n.corrupt(off, "a node of its extents has depth %d", depth)
	case room > (len(node)-12)/12 || entries > room || entries == 0 && depth > 0:
		return 0, n.corrupt(off, "a node of its extents has %d of %d entries in %d bytes", entries, room, len(node))
	}
	return entries, nil
}

func (n *inode) extentChecksum(node []byte, off int64) error {
	le := binary.LittleEndian
	tail := 12 + 12*int(le.Uint16(node[4:]))
	if tail+4 > len(node) {
		return n.corrupt(off, "a node of its extents has no room for its checksum")
	}
	if got, want := le.Uint32(node[tail:]), crc32c(n.seed, node[:tail]); got != want {
		return n.corrupt(off, "a node of its extents has checksum %08x, not %08x", got, want)
	}
	return nil
}

// extents reads the entries of a node of depth 0.
func (n *inode) extents(node []byte, off int64, entries int, first, end uint64) (*leaf, error) {
	le := binary.LittleEndian
	l := &leaf{first: first, end: end, runs: make([]run, 0, entries)}
	next := first
	for i := range entries {
		p := node[12+12*i:]
		r := run{
			first:   uint64(le.Uint32(p)),
			count:   uint64(le.Uint16(p[4:])),
			block:   uint64(le.Uint32(p[8:])) | uint64(le.Uint16(p[6:]))<<32,
			written: true,
		}
		if r.count > extentMaxLen {
			r.count, r.written = r.count-extentMaxLen, false
		}
		if r.count == 0 || r.first < next || r.end() > end {
			return nil, n.corrupt(off, "extent %d has %d blocks from block %d on, not in [%d,%d)", i, r.count, r.first, next, end)
		}
		next = r.end()
		l.add(r)
	}
	return l, nil
}
