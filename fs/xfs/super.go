package xfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"math/bits"
	"strings"

	"vitrine/fs/disk"
)

// super is what readers need of the superblock.
type super struct {
	v5         bool
	ftype      bool // directory entries tell the type
	foldCase   bool // directories ignore the case of ASCII letters
	blockLog   uint
	blockSize  int64
	blocks     uint64
	agBlocks   uint32
	agCount    uint32
	agLog      uint // bits of an fsblock that number a block inside its AG
	sector     int64
	inodeSize  int
	inopLog    uint // bits of an inode number that number it inside its block
	dirSize    int64
	root       uint64
	logStart   uint64
	logBlocks  uint32
	uuid       [16]byte
	metaUUID   [16]byte // what metadata blocks carry
	label      string
	roUnknown  uint32 // features that do not matter to readers of files
	logUnknown uint32
}

// The features that files are read with, by their bits.
const (
	versionBits     = 0x000f
	versionKnown    = 0xfff0 &^ 0x0200 // all but shared read-only volumes
	versionDirV2    = 0x2000
	versionFoldCase = 0x4000
	versionMore     = 0x8000

	moreKnown = 0x02 | 0x08 | 0x80 | moreFtype // lazy counters, attr2, 32-bit project ids
	moreFtype = 0x200
	moreCRC   = 0x100

	incompatFtype    = 0x01
	incompatMetaUUID = 0x04
	incompatRepair   = 0x10
	// ftype, sparse inodes, meta_uuid, bigtime, nrext64, exchange-range, parent
	// pointers: the last two change nothing that is read here.
	incompatKnown = 0x01 | 0x02 | 0x04 | 0x08 | 0x20 | 0x40 | 0x80

	roCompatKnown  = 0x0f // finobt, rmapbt, reflink, inobtcount
	logCompatKnown = 0x01 // logged extended attributes
)

// A feature is a bit of the superblock and its name.
type feature struct {
	bit  uint32
	name string
}

func refusedVersions() []feature {
	return []feature{{0x0200, "shared read-only volumes"}}
}

func refusedMore() []feature {
	return []feature{{0x01, "features2 bit 0"}, {0x10, "version 4 parent pointers"}, {moreCRC, "checksums on version 4"}}
}

func refusedIncompat() []feature {
	return []feature{{incompatRepair, "needsrepair (an interrupted xfs_repair)"}, {0x100, "metadata directories"}, {0x200, "zoned realtime"}, {0x400, "zone gaps"}}
}

// FeatureError says that a volume uses features that are not understood.
type FeatureError struct {
	Features []string
}

func (e *FeatureError) Error() string {
	return "xfs: open volume: unsupported features: " + strings.Join(e.Features, ", ")
}

// Hint says what can be done.
func (e *FeatureError) Hint() string {
	return "attach the disk to a Linux machine whose kernel knows these features"
}

// unsupported returns an error that names the bits of have that are not in
// known.
func unsupported(set string, have, known uint32, names []feature) error {
	rest := have &^ known
	if rest == 0 {
		return nil
	}
	e := new(FeatureError)
	for _, f := range names {
		if rest&f.bit != 0 {
			e.Features = append(e.Features, f.name)
			rest &^= f.bit
		}
	}
	if rest != 0 {
		e.Features = append(e.Features, fmt.Sprintf("%s %#x", set, rest))
	}
	return e
}

const superMagic = "XFSB"

// Probe reports whether r begins with an XFS superblock.
func Probe(r io.ReaderAt, size int64) bool {
	var b [8]byte
	if size < 1<<16 || disk.ReadFull(context.Background(), r, b[:], 0) != nil || string(b[:4]) != superMagic {
		return false
	}
	bs := binary.BigEndian.Uint32(b[4:])
	return bs >= 512 && bs <= 1<<16 && bs&(bs-1) == 0
}

// parseSuper decodes a superblock; b is as much of the volume's beginning as a
// sector can be long.
func parseSuper(b []byte) (*super, error) {
	if len(b) < 512 || string(b[:4]) != superMagic {
		return nil, damaged("superblock", 0, "no XFS signature")
	}
	u16, u32, u64 := binary.BigEndian.Uint16, binary.BigEndian.Uint32, binary.BigEndian.Uint64
	s := &super{
		blockSize: int64(u32(b[4:])), blocks: u64(b[8:]), logStart: u64(b[48:]), root: u64(b[56:]),
		agBlocks: u32(b[84:]), agCount: u32(b[88:]), logBlocks: u32(b[96:]), sector: int64(u16(b[102:])),
		inodeSize: int(u16(b[104:])), label: string(bytes.TrimRight(b[108:120], "\x00")),
		blockLog: uint(b[120]), inopLog: uint(b[123]), agLog: uint(b[124]),
	}
	copy(s.uuid[:], b[32:])
	s.metaUUID = s.uuid
	if i := strings.IndexByte(s.label, 0); i >= 0 {
		s.label = s.label[:i]
	}

	version := uint32(u16(b[100:]))
	more := u32(b[200:])
	switch version & versionBits {
	case 4:
		if err := unsupported("version", version&^versionBits, versionKnown, refusedVersions()); err != nil {
			return nil, err
		}
		if version&versionMore == 0 {
			more = 0
		}
		if err := unsupported("features2", more, moreKnown, refusedMore()); err != nil {
			return nil, err
		}
		if version&versionDirV2 == 0 {
			return nil, &FeatureError{[]string{"version 1 directories"}}
		}
		s.ftype = more&moreFtype != 0
	case 5:
		incompat := u32(b[216:])
		if err := unsupported("incompat", incompat, incompatKnown, refusedIncompat()); err != nil {
			return nil, err
		}
		s.v5 = true
		s.ftype = incompat&incompatFtype != 0
		s.roUnknown = u32(b[212:]) &^ roCompatKnown
		s.logUnknown = u32(b[220:]) &^ logCompatKnown
		if incompat&incompatMetaUUID != 0 {
			copy(s.metaUUID[:], b[248:])
		}
	default:
		return nil, &FeatureError{[]string{fmt.Sprintf("superblock version %d", version&versionBits)}}
	}
	s.foldCase = version&versionFoldCase != 0
	if err := s.validate(b); err != nil {
		return nil, err
	}
	if s.v5 && !checksumHolds(b[:s.sector], 224) {
		return nil, damaged("superblock", 0, "wrong checksum")
	}
	return s, nil
}

// validate checks the geometry, so that no later arithmetic can overflow.
func (s *super) validate(b []byte) error {
	bad := func(what string, n any) error {
		return damaged("superblock", 0, fmt.Sprintf("%s %v", what, n))
	}
	if s.blockLog < 9 || s.blockLog > 16 || s.blockSize != 1<<s.blockLog {
		return bad("block size", s.blockSize)
	}
	if s.sector < 512 || s.sector > 1<<15 || s.sector&(s.sector-1) != 0 || s.sector > s.blockSize || int(s.sector) > len(b) {
		return bad("sector size", s.sector)
	}
	if n := s.inodeSize; n < 256 || n > 2048 || n&(n-1) != 0 || int64(n)<<s.inopLog != s.blockSize {
		return bad("inode size", n)
	}
	if s.v5 && s.inodeSize < 512 {
		return bad("inode size", s.inodeSize)
	}
	dirLog := s.blockLog + uint(b[192])
	if b[192] > 16 || dirLog > 16 {
		return bad("directory block shift", b[192])
	}
	s.dirSize = 1 << dirLog
	if s.agBlocks < 16 || s.agLog != uint(bits.Len32(s.agBlocks-1)) {
		return bad("blocks in an allocation group", s.agBlocks)
	}
	if s.agCount == 0 || s.blocks == 0 || s.blocks > math.MaxInt64>>s.blockLog {
		return bad("allocation groups", s.agCount)
	}
	if uint64(s.agCount-1)*uint64(s.agBlocks) >= s.blocks || uint64(s.agCount)*uint64(s.agBlocks) < s.blocks {
		return bad("blocks", s.blocks)
	}
	if s.agLog+s.inopLog > 40 {
		return bad("inodes in an allocation group", s.agLog+s.inopLog)
	}
	if b[126] != 0 {
		return bad("mkfs or growfs was not finished: inprogress", b[126])
	}
	return nil
}

// place returns the byte offset of n blocks from fsblock on; ok is false when
// they are not inside one allocation group of the volume.
func (s *super) place(fsblock, n uint64) (off int64, ok bool) {
	ag := fsblock >> s.agLog
	in := fsblock & (1<<s.agLog - 1)
	if ag >= uint64(s.agCount) || n == 0 || n > uint64(s.agBlocks) || in+n > uint64(s.agBlocks) {
		return 0, false
	}
	first := ag*uint64(s.agBlocks) + in
	if first+n > s.blocks {
		return 0, false
	}
	return int64(first) << s.blockLog, true
}

// inodePlace returns the byte offset of an inode.
func (s *super) inodePlace(ino uint64) (off int64, ok bool) {
	off, ok = s.place(ino>>s.inopLog, 1)
	return off + int64(ino&(1<<s.inopLog-1))*int64(s.inodeSize), ok
}

// agLength returns the number of blocks of an allocation group.
func (s *super) agLength(ag uint32) uint32 {
	return uint32(min(uint64(s.agBlocks), s.blocks-uint64(ag)*uint64(s.agBlocks)))
}
