package xfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	iofs "io/fs"
)

// The formats of a fork.
const (
	formatDevice  = 0
	formatLocal   = 1
	formatExtents = 2
	formatBtree   = 3
)

// The bits of a mode that tell the type.
const (
	typeMask    = 0xf000
	typeFIFO    = 0x1000
	typeChar    = 0x2000
	typeDir     = 0x4000
	typeBlock   = 0x6000
	typeRegular = 0x8000
	typeSymlink = 0xa000
	typeSocket  = 0xc000
)

const (
	inodeMagic   = "IN"
	coreSize     = 100 // versions 1 and 2
	coreSize3    = 176
	flagRealtime = 1
	flag2Reflink = 2
	flag2Bigtime = 8
	flag2Extents = 0x10 // counts of extents are 48 and 32 bits wide
)

// inode is a decoded inode; it is not changed after it was read.
type inode struct {
	number   uint64
	mode     uint16
	format   uint8
	uid, gid uint32
	links    uint32
	size     int64
	extents  uint64 // of the data fork
	blocks   uint64
	realtime bool
	shared   bool // may share blocks with other files
	atime    time.Time
	mtime    time.Time
	ctime    time.Time
	crtime   time.Time // zero before version 3
	fork     []byte    // the data fork's bytes inside the inode
}

// inode reads and checks an inode that a directory names.
func (v *FS) inode(ctx context.Context, number uint64) (*inode, error) {
	off, ok := v.sb.inodePlace(number)
	if !ok {
		return nil, damaged(fmt.Sprintf("inode %d", number), 0, "its number is outside the volume")
	}
	b, err := v.pages.read(ctx, off, v.sb.inodeSize)
	if err != nil {
		return nil, fmt.Errorf("xfs: read inode %d: %w", number, err)
	}
	n, reason := v.parseInode(b, off, number)
	if reason != "" {
		return nil, damaged(fmt.Sprintf("inode %d", number), off, reason)
	}
	return n, nil
}

// parseInode decodes an inode, or says why not.
func (v *FS) parseInode(b []byte, off int64, number uint64) (*inode, string) {
	u16, u32, u64 := binary.BigEndian.Uint16, binary.BigEndian.Uint32, binary.BigEndian.Uint64
	if string(b[:2]) != inodeMagic {
		return nil, "no signature"
	}
	n := &inode{
		number: number, mode: u16(b[2:]), format: b[5],
		uid: u32(b[8:]), gid: u32(b[12:]), links: u32(b[16:]),
		extents: uint64(u32(b[76:])), blocks: u64(b[64:]), realtime: u16(b[90:])&flagRealtime != 0,
	}
	core := coreSize
	var flags2 uint64
	switch version := b[4]; {
	case version == 3 && v.sb.v5:
		core = coreSize3
		if !v.pages.replayed(off, len(b)) && !checksumHolds(b, 100) {
			return nil, "wrong checksum"
		}
		if have := u64(b[152:]); have != number {
			return nil, fmt.Sprintf("it says to be inode %d", have)
		}
		if [16]byte(b[160:]) != v.sb.metaUUID {
			return nil, "it belongs to another volume"
		}
		flags2 = u64(b[120:])
		n.crtime = timestamp(b[144:], flags2)
	case version == 1 && !v.sb.v5:
		n.links = uint32(u16(b[6:]))
	case version == 2 && !v.sb.v5:
	default:
		return nil, fmt.Sprintf("unknown version %d", version)
	}
	n.shared = flags2&flag2Reflink != 0
	n.atime, n.mtime, n.ctime = timestamp(b[32:], flags2), timestamp(b[40:], flags2), timestamp(b[48:], flags2)
	if flags2&flag2Extents != 0 {
		n.extents = u64(b[24:])
	}

	size := u64(b[56:])
	if size > math.MaxInt64 {
		return nil, fmt.Sprintf("size %d", size)
	}
	n.size = int64(size)
	if n.mode == 0 {
		return nil, "it is free"
	}
	literal := b[core:]
	if end := int(b[82]) * 8; end > len(literal) {
		return nil, fmt.Sprintf("fork offset %d", end)
	} else if end > 0 {
		literal = literal[:end]
	}
	n.fork = literal
	return n, n.checkFork()
}

// checkFork says what is wrong with the data fork for the type of the inode.
func (n *inode) checkFork() string {
	mapped := n.format == formatExtents || n.format == formatBtree
	switch n.mode & typeMask {
	case typeRegular:
		if !mapped {
			return fmt.Sprintf("a file of format %d", n.format)
		}
	case typeDir, typeSymlink:
		if !mapped && n.format != formatLocal {
			return fmt.Sprintf("a directory or link of format %d", n.format)
		}
	case typeChar, typeBlock, typeFIFO, typeSocket:
		if n.format != formatDevice {
			return fmt.Sprintf("a special file of format %d", n.format)
		}
	default:
		return fmt.Sprintf("unknown type %#x", n.mode)
	}
	switch n.format {
	case formatLocal:
		if n.size > int64(len(n.fork)) {
			return fmt.Sprintf("%d bytes of content inside the inode", n.size)
		}
	case formatExtents:
		if n.extents > uint64(len(n.fork)/extentSize) {
			return fmt.Sprintf("%d extents inside the inode", n.extents)
		}
	}
	return ""
}

// timestamp decodes a time, in the form that the inode's flags tell.
func timestamp(b []byte, flags2 uint64) time.Time {
	if flags2&flag2Bigtime != 0 {
		t := binary.BigEndian.Uint64(b)
		return time.Unix(int64(t/1e9)+math.MinInt32, int64(t%1e9)).UTC()
	}
	sec, nsec := int32(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint32(b[4:])
	return time.Unix(int64(sec), int64(nsec%1e9)).UTC()
}

func (n *inode) isDir() bool     { return n.mode&typeMask == typeDir }
func (n *inode) isSymlink() bool { return n.mode&typeMask == typeSymlink }

// fileMode translates a mode of Unix.
func fileMode(mode uint16) iofs.FileMode {
	m := iofs.FileMode(mode & 0o777)
	switch mode & typeMask {
	case typeDir:
		m |= iofs.ModeDir
	case typeSymlink:
		m |= iofs.ModeSymlink
	case typeFIFO:
		m |= iofs.ModeNamedPipe
	case typeSocket:
		m |= iofs.ModeSocket
	case typeChar:
		m |= iofs.ModeDevice | iofs.ModeCharDevice
	case typeBlock:
		m |= iofs.ModeDevice
	}
	if mode&0o4000 != 0 {
		m |= iofs.ModeSetuid
	}
	if mode&0o2000 != 0 {
		m |= iofs.ModeSetgid
	}
	if mode&0o1000 != 0 {
		m |= iofs.ModeSticky
	}
	return m
}

// notice says why the content of a file cannot be given, or nothing.
func (v *FS) notice(n *inode) string {
	if n.mode&typeMask != typeRegular {
		return ""
	}
	if n.realtime && n.size > 0 {
		return "its content lies on the realtime device of the volume, which is another disk"
	}
	if v.unfinished[n.number] {
		return "the log ends within a change of where its content lies; mounting the volume on Linux finishes that change"
	}
	return ""
}

// info is the iofs.FileInfo of an inode, and what its Sys returns.
type info struct {
	*inode
	name   string
	reason string
}

var _ iofs.FileInfo = info{}

func (i info) Name() string        { return i.name }
func (i info) Size() int64         { return i.size }
func (i info) Mode() iofs.FileMode { return fileMode(i.mode) }
func (i info) ModTime() time.Time  { return i.mtime }
func (i info) IsDir() bool         { return i.isDir() }
func (i info) Sys() any            { return i }

// Inode is the inode's number.
func (i info) Inode() uint64 { return i.number }

// Links is the number of names.
func (i info) Links() int { return int(i.links) }

// Owner is the user and the group that own the file.
func (i info) Owner() (uid, gid uint32, ok bool) { return i.uid, i.gid, true }

// BirthTime is when the file was made; zero when the volume does not tell.
func (i info) BirthTime() time.Time { return i.crtime }

// AccessTime is when the content was last read.
func (i info) AccessTime() time.Time { return i.atime }

// ChangeTime is when the inode was last changed.
func (i info) ChangeTime() time.Time { return i.ctime }

// Notice says why the content cannot be given, or nothing.
func (i info) Notice() string { return i.reason }
