package ext4

import (
	"context"
	"encoding/binary"
	"fmt"

	"vitrine/fs/disk"
)

const (
	groupBlocksUninit = 2 // the block bitmap was never written
)

// group is a group's descriptor.
type group struct {
	number      uint32
	off         int64 // of the descriptor on the volume
	blockBitmap uint64
	inodeBitmap uint64
	inodeTable  uint64
	freeBlocks  uint32 // clusters, in fact
	flags       uint16
	bitmapCsum  uint32
}

// inodeTableBlocks is the length of every group's inode table.
func (s *super) inodeTableBlocks() uint64 {
	return (uint64(s.groupInodes)*uint64(s.inodeSize) + uint64(s.blockSize) - 1) / uint64(s.blockSize)
}

// hasSuper reports whether the group begins with a copy of the superblock.
func (s *super) hasSuper(group uint32) bool {
	switch {
	case group == 0:
		return true
	case s.hasCompat(compatSparseSuper):
		return group == s.backupGroups[0] || group == s.backupGroups[1]
	case group == 1 || !s.hasRO(rocompatSparseSuper):
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < uint64(group) {
			power *= base
		}
		if power == uint64(group) {
			return true
		}
	}
	return false
}

// descBlock is the block that holds the n-th block of descriptors.
func (s *super) descBlock(n uint32) uint64 {
	superBlock := uint64(0)
	if s.blockSize == 1024 {
		superBlock = 1
	}
	if !s.has(incompatMetaBG) || n < s.firstMetaBG {
		return superBlock + 1 + uint64(n)
	}
	first := n * uint32(s.blockSize/s.descSize)
	block := s.groupStart(first)
	if s.hasSuper(first) {
		block++
	}
	if s.blockSize == 1024 && n == 0 && s.firstData == 0 {
		block++
	}
	return block
}

// descBlocks is the number of blocks that all descriptors take.
func (s *super) descBlocks() uint32 {
	perBlock := uint32(s.blockSize / s.descSize)
	return (s.groups-1)/perBlock + 1
}

// baseBlocks is how many blocks at the start of the group hold copies of the
// superblock and of descriptors, as ext4_num_base_meta_clusters counts them.
func (s *super) baseBlocks(group uint32) uint64 {
	var n uint64
	if s.hasSuper(group) {
		n = 1
	}
	perBlock := uint32(s.blockSize / s.descSize)
	if !s.has(incompatMetaBG) || group/perBlock < s.firstMetaBG {
		if n == 0 {
			return 0
		}
		descs := uint64(s.descBlocks())
		if s.has(incompatMetaBG) {
			descs = uint64(s.firstMetaBG)
		}
		return n + descs + s.reservedGDT
	}
	if at := group % perBlock; at < 2 || at == perBlock-1 {
		n++
	}
	return n
}

// group reads the descriptor of a group.
func (fsys *FS) group(ctx context.Context, number uint32) (group, error) {
	s := fsys.super
	perBlock := uint32(s.blockSize / s.descSize)
	block := s.descBlock(number / perBlock)
	p, err := fsys.block(ctx, block)
	if err != nil {
		return group{}, fmt.Errorf("ext4: read descriptor of group %d: %w", number, err)
	}
	at := int64(number%perBlock) * s.descSize
	p = p[at : at+s.descSize]
	le := binary.LittleEndian
	g := group{
		number:      number,
		off:         s.blockOff(block) + at,
		blockBitmap: uint64(le.Uint32(p[0:])),
		inodeBitmap: uint64(le.Uint32(p[4:])),
		inodeTable:  uint64(le.Uint32(p[8:])),
		freeBlocks:  uint32(le.Uint16(p[12:])),
		flags:       le.Uint16(p[18:]),
		bitmapCsum:  uint32(le.Uint16(p[24:])),
	}
	if s.descSize >= 64 {
		g.blockBitmap |= uint64(le.Uint32(p[32:])) << 32
		g.inodeBitmap |= uint64(le.Uint32(p[36:])) << 32
		g.inodeTable |= uint64(le.Uint32(p[40:])) << 32
		g.freeBlocks |= uint32(le.Uint16(p[44:])) << 16
		g.bitmapCsum |= uint32(le.Uint16(p[56:])) << 16
	}
	if got, want := le.Uint16(p[30:]), s.descChecksum(number, p); s.groupChecksums() && got != want {
		return group{}, g.corrupt("descriptor's checksum is %04x, not %04x", got, want)
	}
	if n := s.inodeTableBlocks(); g.inodeTable <= s.firstData || g.inodeTable >= s.blocks || n > s.blocks-g.inodeTable {
		return group{}, g.corrupt("inode table at block %d", g.inodeTable)
	}
	return g, nil
}

func (g *group) corrupt(format string, args ...any) error {
	return corrupt(fmt.Sprintf("group %d", g.number), g.off, format, args...)
}

func (s *super) groupChecksums() bool {
	return s.hasRO(rocompatMetadataCsum | rocompatGDTCsum)
}

// descChecksum is what the checksum of descriptor p has to be.
func (s *super) descChecksum(number uint32, p []byte) uint16 {
	if s.checksums() {
		crc := crc32cNumber(s.seed, number)
		crc = crc32c(crc, p[:30])
		crc = crc32cZeros(crc, 2)
		return uint16(crc32c(crc, p[32:]))
	}
	var n [4]byte
	binary.LittleEndian.PutUint32(n[:], number)
	crc := crc16(^uint16(0), s.uuid[:])
	crc = crc16(crc, n[:])
	crc = crc16(crc, p[:30])
	return crc16(crc, p[32:])
}

// systemBlocks returns the blocks that hold the file system's own tables: no
// file can lie there. Groups that cannot be read contribute only the blocks
// that need no reading; the first such error is returned beside the set.
func (fsys *FS) systemBlocks(ctx context.Context) (*disk.Set, error) {
	fsys.systemLock.Lock()
	defer fsys.systemLock.Unlock()
	if fsys.system != nil {
		return fsys.system, nil
	}
	s := fsys.super
	set := new(disk.Set)
	var first error
	for n := range s.groups {
		start := s.groupStart(n)
		set.Add(int64(start), int64(min(start+s.baseBlocks(n), s.groupEnd(n))))
		g, err := fsys.group(ctx, n)
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if first == nil {
				first = err
			}
			continue
		}
		set.Add(int64(g.blockBitmap), int64(g.blockBitmap+1))
		set.Add(int64(g.inodeBitmap), int64(g.inodeBitmap+1))
		set.Add(int64(g.inodeTable), int64(g.inodeTable+s.inodeTableBlocks()))
	}
	if first == nil || isDamage(first) {
		fsys.system = set
	}
	return set, first
}
