package ext4

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"

	"vitrine/fs/disk"
)

// maxExtents bounds what Extents returns.
const maxExtents = 1 << 20

// Free yields what the block bitmaps call free, in bytes of the volume and in
// order. Every group is checked against its checksums, its count of free
// blocks and the places of the file system's own tables; after an error
// nothing of what was yielded should be trusted. A volume that is not
// Consistent yields only an error.
func (fsys *FS) Free(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		if fsys.doubt != "" {
			yield(disk.Extent{}, errors.New("ext4: list free blocks: "+fsys.doubt))
			return
		}
		system, err := fsys.systemBlocks(ctx)
		if err != nil {
			yield(disk.Extent{}, fmt.Errorf("ext4: list free blocks: %w", err))
			return
		}
		s := fsys.super
		var open disk.Extent
		for n := range s.groups {
			free, err := fsys.freeOfGroup(ctx, n, system)
			if err != nil {
				yield(disk.Extent{}, fmt.Errorf("ext4: list free blocks: %w", err))
				return
			}
			for start, end := range free.All() {
				x := disk.Extent{Off: start * s.blockSize, Len: (end - start) * s.blockSize}
				if open.Len > 0 && open.End() == x.Off {
					open.Len += x.Len
					continue
				}
				if open.Len > 0 && !yield(open, nil) {
					return
				}
				open = x
			}
		}
		if open.Len > 0 {
			yield(open, nil)
		}
	}
}

// freeOfGroup returns the free blocks of a group.
func (fsys *FS) freeOfGroup(ctx context.Context, number uint32, system *disk.Set) (*disk.Set, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s := fsys.super
	g, err := fsys.group(ctx, number)
	if err != nil {
		return nil, err
	}
	start, end := s.groupStart(number), s.groupEnd(number)
	free := new(disk.Set)
	if g.flags&groupBlocksUninit != 0 && s.groupChecksums() {
		// The bitmap was never written: only the tables are in use.
		free.Add(int64(start), int64(end))
		for from, to := range system.Within(int64(start), int64(end)) {
			ratio := int64(s.clusterBlocks)
			from -= (from - int64(start)) % ratio
			to += (ratio - (to-int64(start))%ratio) % ratio
			free.Remove(from, to)
		}
		return free, g.count(free, s.clusterBlocks)
	}
	if g.blockBitmap <= s.firstData || g.blockBitmap >= s.blocks {
		return nil, g.corrupt("block bitmap at block %d", g.blockBitmap)
	}
	p, err := fsys.block(ctx, g.blockBitmap)
	if err != nil {
		return nil, fmt.Errorf("read bitmap of group %d: %w", number, err)
	}
	if s.checksums() {
		mask := ^uint32(0)
		if s.descSize < 64 {
			mask = 0xFFFF
		}
		if want := crc32c(s.seed, p[:s.groupClusters/8]) & mask; g.bitmapCsum != want {
			return nil, corrupt(fmt.Sprintf("bitmap of group %d", number), s.blockOff(g.blockBitmap), "checksum is %08x, not %08x", g.bitmapCsum, want)
		}
	}
	clusters := (end - start + s.clusterBlocks - 1) / s.clusterBlocks
	for at := uint64(0); at < clusters; {
		at = nextBit(p, at, clusters, false)
		used := nextBit(p, at, clusters, true)
		free.Add(int64(start+at*s.clusterBlocks), int64(min(start+used*s.clusterBlocks, end)))
		at = used
	}
	for from, to := range system.Within(int64(start), int64(end)) {
		if free.Overlaps(from, to) {
			return nil, corrupt(fmt.Sprintf("bitmap of group %d", number), s.blockOff(g.blockBitmap), "it calls tables of the file system free")
		}
	}
	return free, g.count(free, s.clusterBlocks)
}

// count compares the free clusters with the number in the descriptor.
func (g *group) count(free *disk.Set, clusterBlocks uint64) error {
	clusters, ratio := uint64(0), int64(clusterBlocks)
	for from, to := range free.All() {
		clusters += uint64((to - from + ratio - 1) / ratio)
	}
	if clusters != uint64(g.freeBlocks) {
		return g.corrupt("%d clusters are free, not %d", clusters, g.freeBlocks)
	}
	return nil
}

// nextBit returns the first bit of p at or behind at, and before end, that is
// set as wanted; end when there is none.
func nextBit(p []byte, at, end uint64, set bool) uint64 {
	for at < end {
		b := p[at/8]
		if !set {
			b = ^b
		}
		if b >>= at % 8; b != 0 {
			return min(at+uint64(bits.TrailingZeros8(b)), end)
		}
		at += 8 - at%8
	}
	return end
}

// Extents returns where on the volume the content of a file lies, in the order
// of the file, whether it was written or only allocated. Content inside of the
// inode lies nowhere.
func (fsys *FS) Extents(name string) ([]disk.Extent, error) {
	ctx := context.Background()
	n, err := fsys.resolve(ctx, name, true)
	if err == nil && !n.is(modeRegular) {
		err = errSpecial
	}
	if err != nil {
		return nil, pathError("extents", name, err)
	}
	if n.has(flagInlineData) {
		return nil, nil
	}
	var list []disk.Extent
	var l *leaf
	for block := uint64(0); ; {
		r, err := fsys.nextRun(ctx, n, &l, block, allocated)
		if err == io.EOF {
			return list, nil
		}
		if err == nil && len(list) == maxExtents {
			err = errTooMany
		}
		if err != nil {
			return nil, pathError("extents", name, err)
		}
		block = r.end()
		x := disk.Extent{Off: int64(r.block) * fsys.blockSize, Len: int64(r.count) * fsys.blockSize}
		if i := len(list) - 1; i >= 0 && list[i].End() == x.Off {
			list[i].Len += x.Len
			continue
		}
		list = append(list, x)
	}
}
