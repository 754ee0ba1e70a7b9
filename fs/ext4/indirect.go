package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
)

const directBlocks = 12

// indirectLeaf finds the pointers to a block of a file without extents: twelve
// in the inode, then blocks of pointers, one to three levels of them. All
// pointers of one such block are a leaf.
func (fsys *FS) indirectLeaf(ctx context.Context, n *inode, block uint64) (*leaf, error) {
	if block < directBlocks {
		return pointers(n.blockMap()[:4*directBlocks], 0), nil
	}
	le := binary.LittleEndian
	perBlock := uint64(fsys.super.blockSize / 4)
	first, covers := uint64(directBlocks), perBlock // of the level's tree
	for level := range 3 {
		if block >= first+covers {
			first += covers
			covers *= perBlock
			continue
		}
		number := uint64(le.Uint32(n.blockMap()[4*(directBlocks+level):]))
		for {
			if number == 0 {
				return &leaf{first: first, end: first + covers}, nil
			}
			if !fsys.super.holds(number, 1) {
				return nil, n.corrupt(n.off+40, "a block of pointers is at block %d", number)
			}
			p, err := fsys.block(ctx, number)
			if err != nil {
				return nil, fmt.Errorf("ext4: read block map of inode %d: %w", n.number, err)
			}
			if covers == perBlock {
				return pointers(p, first), nil
			}
			covers /= perBlock
			at := (block - first) / covers
			first += at * covers
			number = uint64(le.Uint32(p[4*at:]))
		}
	}
	return nil, n.corrupt(n.off, "block %d is behind what its block map can reach", block)
}

// pointers reads block numbers, that of block first of the file in front.
func pointers(p []byte, first uint64) *leaf {
	count := uint64(len(p) / 4)
	l := &leaf{first: first, end: first + count}
	for i := range count {
		if number := binary.LittleEndian.Uint32(p[4*i:]); number != 0 {
			l.add(run{first: first + i, count: 1, block: uint64(number), written: true})
		}
	}
	return l
}
