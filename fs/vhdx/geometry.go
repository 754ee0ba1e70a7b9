package vhdx

import "fmt"

const (
	kib = 1 << 10
	mib = 1 << 20

	maxDiskSize = 64 << 40
	minBlock    = 1 * mib
	maxBlock    = 256 * mib

	// bitmapBits is the number of sectors that one bitmap of 1 MiB describes.
	bitmapBits  = 8 * mib
	bitmapBytes = 1 * mib

	batEntryBytes = 8
)

// geometry is the arithmetic between a virtual disk and its BAT. The BAT is
// interleaved for all types of disk: perBitmap entries of blocks, then the
// entry of the bitmap that describes their sectors.
type geometry struct {
	size      int64 // of the virtual disk
	block     int64
	sector    int64
	perBitmap int64 // the chunk ratio of [MS-VHDX]
}

func newGeometry(size, block, sector int64) (geometry, error) {
	g := geometry{size: size, block: block, sector: sector}
	if sector != 512 && sector != 4096 {
		return g, fmt.Errorf("logical sector size %d is neither 512 nor 4096", sector)
	}
	if block < minBlock || block > maxBlock || block&(block-1) != 0 {
		return g, fmt.Errorf("block size %d is not a power of two from 1 to 256 MiB", block)
	}
	if size <= 0 || size > maxDiskSize {
		return g, fmt.Errorf("virtual size %d is not from 1 byte to 64 TiB", uint64(size))
	}
	if size%sector != 0 {
		return g, fmt.Errorf("virtual size %d is not a multiple of the sector size %d", size, sector)
	}
	g.perBitmap = bitmapBits * sector / block
	return g, nil
}

// blocks is the number of blocks of the virtual disk.
func (g geometry) blocks() int64 {
	return (g.size + g.block - 1) / g.block
}

// bitmaps is the number of bitmaps that a differencing disk has room for.
func (g geometry) bitmaps() int64 {
	return (g.blocks() + g.perBitmap - 1) / g.perBitmap
}

// entries is the number of BAT entries.
func (g geometry) entries(differencing bool) int64 {
	if differencing {
		return g.bitmaps() * (g.perBitmap + 1)
	}
	return g.blocks() + (g.blocks()-1)/g.perBitmap
}

// entryOf is the index of a block's BAT entry.
func (g geometry) entryOf(block int64) int64 {
	return block + block/g.perBitmap
}

// bitmapEntryOf is the index of the BAT entry of a block's bitmap.
func (g geometry) bitmapEntryOf(block int64) int64 {
	return block/g.perBitmap*(g.perBitmap+1) + g.perBitmap
}

// firstBlockFrom is the block of the first BAT entry at or behind index that
// belongs to a block. It may lie behind the last block.
func (g geometry) firstBlockFrom(index int64) int64 {
	return index/(g.perBitmap+1)*g.perBitmap + min(index%(g.perBitmap+1), g.perBitmap)
}

// firstBit is the bit of a block's first sector in its bitmap.
func (g geometry) firstBit(block int64) int64 {
	return block % g.perBitmap * (g.block / g.sector)
}

// visible is the number of bytes of a block that belong to the disk: all of
// it but in the last block.
func (g geometry) visible(block int64) int64 {
	return min(g.block, g.size-block*g.block)
}

func roundUp(n, unit int64) int64 {
	return (n + unit - 1) / unit * unit
}
