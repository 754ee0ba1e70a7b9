package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	superOff  = 1024
	superSize = 1024
	magic     = 0xEF53

	creatorLinux = 0

	stateValid   = 1
	stateError   = 2
	stateOrphans = 4

	flagUnsignedHash = 2

	rootInode = 2
)

// super is the superblock, as far as a reader needs it.
type super struct {
	inodes         uint32
	blocks         uint64
	firstData      uint64 // block where group 0 begins
	blockSize      int64
	clusterBlocks  uint64 // blocks of a cluster
	groupBlocks    uint64
	groupClusters  uint64
	groupInodes    uint32
	groups         uint32
	inodeSize      int64
	descSize       int64
	state          uint16
	creator        uint32
	compat         uint32
	incompat       uint32
	rocompat       uint32
	uuid           [16]byte
	label          string
	reservedGDT    uint64
	journalInode   uint32
	hashSeed       [4]uint32
	firstMetaBG    uint32
	backupGroups   [2]uint32
	hashDefault    uint8 // the hash function of new indexes
	unsignedHashes bool
	seed           uint32 // where the checksums of all metadata start
}

func (s *super) has(incompat uint32) bool       { return s.incompat&incompat != 0 }
func (s *super) hasCompat(compat uint32) bool   { return s.compat&compat != 0 }
func (s *super) hasRO(rocompat uint32) bool     { return s.rocompat&rocompat != 0 }
func (s *super) checksums() bool                { return s.hasRO(rocompatMetadataCsum) }
func (s *super) blockOff(block uint64) int64    { return int64(block) * s.blockSize }
func (s *super) groupStart(group uint32) uint64 { return s.firstData + uint64(group)*s.groupBlocks }

// groupEnd is the block behind the group.
func (s *super) groupEnd(group uint32) uint64 {
	return min(s.groupStart(group)+s.groupBlocks, s.blocks)
}

// holds reports whether n blocks from block on can belong to a file.
func (s *super) holds(block, n uint64) bool {
	return block > s.firstData && block < s.blocks && n <= s.blocks-block
}

// parseSuper reads a superblock and refuses one whose numbers make no sense.
func parseSuper(p []byte) (*super, error) {
	le := binary.LittleEndian
	bad := func(at int64, format string, args ...any) error {
		return corrupt("superblock", superOff+at, format, args...)
	}
	if len(p) < superSize || le.Uint16(p[56:]) != magic {
		return nil, fmt.Errorf("ext4: open volume: no ext2, ext3 or ext4 superblock")
	}
	s := &super{
		inodes:       le.Uint32(p[0:]),
		blocks:       uint64(le.Uint32(p[4:])),
		firstData:    uint64(le.Uint32(p[20:])),
		groupBlocks:  uint64(le.Uint32(p[32:])),
		groupInodes:  le.Uint32(p[40:]),
		state:        le.Uint16(p[58:]),
		creator:      le.Uint32(p[72:]),
		inodeSize:    128,
		descSize:     32,
		uuid:         [16]byte(p[104:120]),
		label:        string(p[120:136]),
		reservedGDT:  uint64(le.Uint16(p[206:])),
		journalInode: le.Uint32(p[224:]),
		firstMetaBG:  le.Uint32(p[260:]),
		hashDefault:  p[252],
	}
	if i := bytes.IndexByte(p[120:136], 0); i >= 0 {
		s.label = s.label[:i]
	}
	if le.Uint32(p[76:]) > 0 {
		s.inodeSize = int64(le.Uint16(p[88:]))
		s.compat, s.incompat, s.rocompat = le.Uint32(p[92:]), le.Uint32(p[96:]), le.Uint32(p[100:])
	}
	if names := unsupported(s.incompat); names != nil {
		return nil, &UnsupportedError{names}
	}
	for i := range s.hashSeed {
		s.hashSeed[i] = le.Uint32(p[236+4*i:])
	}
	s.backupGroups = [2]uint32{le.Uint32(p[0x24C:]), le.Uint32(p[0x250:])}
	s.unsignedHashes = le.Uint32(p[352:])&flagUnsignedHash != 0

	s.seed = crc32c(^uint32(0), s.uuid[:])
	if s.has(incompatCsumSeed) {
		s.seed = le.Uint32(p[0x270:])
	}
	if s.checksums() {
		if p[373] != 1 {
			return nil, bad(373, "checksum type %d is unknown", p[373])
		}
		if got, want := le.Uint32(p[0x3FC:]), crc32c(^uint32(0), p[:0x3FC]); got != want {
			return nil, bad(0x3FC, "checksum is %08x, not %08x", got, want)
		}
	}

	logBlock, logCluster := le.Uint32(p[24:]), le.Uint32(p[28:])
	if logBlock > 6 {
		return nil, bad(24, "block size 2^%d KiB", logBlock)
	}
	s.blockSize = 1024 << logBlock
	s.clusterBlocks, s.groupClusters = 1, s.groupBlocks
	if s.hasRO(rocompatBigalloc) {
		if logCluster < logBlock || logCluster-logBlock > 20 {
			return nil, bad(28, "cluster size 2^%d KiB of blocks of 2^%d KiB", logCluster, logBlock)
		}
		s.clusterBlocks = 1 << (logCluster - logBlock)
		s.groupClusters = uint64(le.Uint32(p[36:]))
		if s.groupClusters*s.clusterBlocks != s.groupBlocks {
			return nil, bad(36, "%d clusters of %d blocks in groups of %d blocks", s.groupClusters, s.clusterBlocks, s.groupBlocks)
		}
	}
	perBlock := uint64(s.blockSize) * 8 // bits in a bitmap
	if s.groupClusters == 0 || s.groupClusters > perBlock || s.groupClusters%8 != 0 {
		return nil, bad(32, "%d clusters in a group", s.groupClusters)
	}
	if s.inodeSize < 128 || s.inodeSize > s.blockSize || bits.OnesCount64(uint64(s.inodeSize)) != 1 {
		return nil, bad(88, "inode size %d", s.inodeSize)
	}
	if s.groupInodes == 0 || uint64(s.groupInodes) > perBlock {
		return nil, bad(40, "%d inodes in a group", s.groupInodes)
	}
	if s.has(incompat64Bit) {
		s.blocks |= uint64(le.Uint32(p[336:])) << 32
		s.descSize = int64(le.Uint16(p[254:]))
		if s.descSize < 64 || s.descSize > 1024 || bits.OnesCount64(uint64(s.descSize)) != 1 {
			return nil, bad(254, "descriptor size %d", s.descSize)
		}
	}
	if s.blocks >= 1<<48 || s.firstData > 1 || s.blocks <= s.firstData {
		return nil, bad(4, "%d blocks from block %d on", s.blocks, s.firstData)
	}
	groups := (s.blocks - s.firstData + s.groupBlocks - 1) / s.groupBlocks
	if groups*uint64(s.groupInodes) != uint64(s.inodes) {
		return nil, bad(0, "%d inodes in %d groups of %d", s.inodes, groups, s.groupInodes)
	}
	s.groups = uint32(groups) // no more than there are inodes
	return s, nil
}

// kind names the file system as people do: by the features it uses.
func (s *super) kind() string {
	const incompatExt3 = incompatFiletype | incompatRecover | incompatMetaBG
	switch {
	case s.incompat&^incompatExt3 != 0 || s.rocompat&^rocompatExt3 != 0:
		return "ext4"
	case s.hasCompat(compatJournal):
		return "ext3"
	}
	return "ext2"
}
