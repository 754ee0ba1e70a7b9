package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
	iofs "io/fs"
	"time"
)

const (
	flagEncrypted  = 0x800
	flagIndex      = 0x1000
	flagExtents    = 0x80000
	flagEAInode    = 0x200000
	flagInlineData = 0x10000000
	flagCasefold   = 0x40000000

	modeType    = 0xF000
	modeFIFO    = 0x1000
	modeChar    = 0x2000
	modeDir     = 0x4000
	modeBlock   = 0x6000
	modeRegular = 0x8000
	modeLink    = 0xA000
	modeSocket  = 0xC000

	inlineSize = 60 // of the block map, which short content may take instead
)

// inode is a file or a folder without a name.
type inode struct {
	number     uint32
	off        int64  // on the volume
	raw        []byte // as stored
	mode       uint16
	uid, gid   uint32
	size       int64
	links      uint16
	flags      uint32
	generation uint32
	sectors    uint64 // i_blocks as stored
	xattrBlock uint64
	seed       uint32 // where the checksums of its blocks start

	modified, accessed, changed, born time.Time
}

func (n *inode) is(typ uint16) bool    { return n.mode&modeType == typ }
func (n *inode) has(flags uint32) bool { return n.flags&flags != 0 }
func (n *inode) blockMap() []byte      { return n.raw[40:100] }

func (n *inode) String() string { return fmt.Sprintf("inode %d", n.number) }

func (n *inode) corrupt(off int64, format string, args ...any) error {
	return corrupt(n.String(), off, format, args...)
}

// inode reads an inode and verifies it.
func (fsys *FS) inode(ctx context.Context, number uint32) (*inode, error) {
	s := fsys.super
	if number == 0 || number > s.inodes {
		return nil, corrupt(fmt.Sprintf("inode %d", number), 0, "the volume has %d inodes", s.inodes)
	}
	g, err := fsys.group(ctx, (number-1)/s.groupInodes)
	if err != nil {
		return nil, err
	}
	at := int64((number-1)%s.groupInodes) * s.inodeSize
	block := g.inodeTable + uint64(at/s.blockSize)
	p, err := fsys.block(ctx, block)
	if err != nil {
		return nil, fmt.Errorf("ext4: read inode %d: %w", number, err)
	}
	at %= s.blockSize
	return fsys.parseInode(number, s.blockOff(block)+at, p[at:at+s.inodeSize])
}

func (fsys *FS) parseInode(number uint32, off int64, p []byte) (*inode, error) {
	s, le := fsys.super, binary.LittleEndian
	n := &inode{
		number:     number,
		off:        off,
		raw:        p,
		mode:       le.Uint16(p[0:]),
		uid:        uint32(le.Uint16(p[2:])) | uint32(le.Uint16(p[120:]))<<16,
		gid:        uint32(le.Uint16(p[24:])) | uint32(le.Uint16(p[122:]))<<16,
		links:      le.Uint16(p[26:]),
		flags:      le.Uint32(p[32:]),
		generation: le.Uint32(p[100:]),
		sectors:    uint64(le.Uint32(p[28:])) | uint64(le.Uint16(p[116:]))<<32,
		xattrBlock: uint64(le.Uint32(p[104:])) | uint64(le.Uint16(p[118:]))<<32,
		seed:       crc32cNumber(crc32cNumber(s.seed, number), le.Uint32(p[100:])),
	}
	extra := int64(0) // bytes behind the first 128 that are in use
	if s.inodeSize > 128 {
		extra = int64(le.Uint16(p[128:]))
		if extra%4 != 0 || extra > s.inodeSize-128 {
			return nil, n.corrupt(off+128, "%d extra bytes in an inode of %d", extra, s.inodeSize)
		}
	}
	if s.checksums() && s.creator == creatorLinux {
		if got, want := n.checksum(extra); got != want {
			return nil, n.corrupt(off, "checksum is %08x, not %08x", got, want)
		}
	}
	switch n.mode & modeType {
	case modeFIFO, modeChar, modeDir, modeBlock, modeRegular, modeLink, modeSocket:
	default:
		return nil, n.corrupt(off, "mode is %06o", n.mode)
	}
	if n.links == 0 {
		return nil, n.corrupt(off, "it is deleted, but has a name")
	}
	size := uint64(le.Uint32(p[4:]))
	if n.is(modeRegular) || s.has(incompatLargeDir) && n.is(modeDir) {
		size |= uint64(le.Uint32(p[108:])) << 32
	}
	if size > uint64(s.blockSize)<<32 {
		return nil, n.corrupt(off+4, "size is %d", size)
	}
	n.size = int64(size)
	if n.has(flagInlineData) && !s.has(incompatInlineData) || n.has(flagExtents) && !s.has(incompatExtents) {
		return nil, n.corrupt(off+32, "flags are %08x on a volume without that feature", n.flags)
	}

	stamp := func(seconds int, extraAt int64) time.Time {
		t := int64(int32(le.Uint32(p[seconds:])))
		if extraAt+4 > 128+extra {
			return time.Unix(t, 0)
		}
		x := le.Uint32(p[extraAt:])
		return time.Unix(t+int64(x&3)<<32, min(int64(x>>2), 999_999_999))
	}
	n.accessed, n.changed, n.modified = stamp(8, 140), stamp(12, 132), stamp(16, 136)
	if 148 <= 128+extra {
		n.born = stamp(144, 148)
	}
	return n, nil
}

// checksum returns the checksum that the inode has, and the one that it must
// have. Where there is no room for the upper half, both are cut to the lower.
func (n *inode) checksum(extra int64) (got, want uint32) {
	le, p := binary.LittleEndian, n.raw
	crc := crc32c(n.seed, p[:124])
	crc = crc32cZeros(crc, 2)
	crc = crc32c(crc, p[126:128])
	got = uint32(le.Uint16(p[124:]))
	if len(p) == 128 {
		return got, crc & 0xFFFF
	}
	if extra < 4 {
		return got, crc32c(crc, p[128:]) & 0xFFFF
	}
	crc = crc32c(crc, p[128:130])
	crc = crc32cZeros(crc, 2)
	return got | uint32(le.Uint16(p[130:]))<<16, crc32c(crc, p[132:])
}

// fileMode is the mode in the words of io/fs.
func (n *inode) fileMode() iofs.FileMode {
	m := iofs.FileMode(n.mode & 0o777)
	if n.mode&0o4000 != 0 {
		m |= iofs.ModeSetuid
	}
	if n.mode&0o2000 != 0 {
		m |= iofs.ModeSetgid
	}
	if n.mode&0o1000 != 0 {
		m |= iofs.ModeSticky
	}
	return m | typeOfMode(n.mode)
}

func typeOfMode(mode uint16) iofs.FileMode {
	switch mode & modeType {
	case modeDir:
		return iofs.ModeDir
	case modeLink:
		return iofs.ModeSymlink
	case modeFIFO:
		return iofs.ModeNamedPipe
	case modeSocket:
		return iofs.ModeSocket
	case modeChar:
		return iofs.ModeDevice | iofs.ModeCharDevice
	case modeBlock:
		return iofs.ModeDevice
	}
	return 0
}

// notice says why the content cannot be given; "" when it can.
func (n *inode) notice() string {
	if n.has(flagEncrypted) && (n.is(modeRegular) || n.is(modeLink)) {
		return encryptedNotice
	}
	return ""
}
