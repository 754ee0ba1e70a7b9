package vhd

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"time"

	"vitrine/fs/disk"
)

const footerSize = 512

// footer holds what matters of the 512 bytes that end every VHD file:
//
//	 0  8  "conectix"                   48  8  current size of the disk
//	 8  4  features, bit 1 always set   56  4  cylinders, heads, sectors
//	12  4  version 0x00010000           60  4  type
//	16  8  header, -1 when fixed        64  4  checksum
//	24  4  seconds since 2000           68 16  identity
//	28  4  creator                      84  1  saved state
//	32  4  creator's version            85  …  zeros
//	36  4  creator's system
//	40  8  original size
type footer struct {
	kind      Type
	size      int64
	headerOff int64
	id        disk.GUID
	length    int64 // of the footer at the end: 512, 511 from old writers, 0 when it is lost
	sound     bool  // the checksum is right
	damage    string
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// findFooter reads the footer at the end of the file or, when that one is
// damaged, its copy at the beginning. Where the end still says that the file is
// fixed there is no copy: its first bytes are the guest's. A wrong checksum is
// accepted of two copies that are alike.
func findFooter(r io.ReaderAt, size int64) (footer, error) {
	if size < footerSize {
		return footer{}, corrupt(0, "%d bytes are too few for a VHD", size)
	}
	tail := make([]byte, footerSize)
	if err := readFile(context.Background(), r, tail, size-footerSize, "footer"); err != nil {
		return footer{}, err
	}
	length := int64(footerSize)
	if !isFooter(tail) && isFooter(tail[1:]) {
		tail, length = append(tail[1:], 0), footerSize-1
	}
	f, damage := parseFooter(tail, size-length)
	f.length = length
	if damage == nil && f.kind == Fixed && f.size > size-length {
		return footer{}, corrupt(size-length+48, "a fixed disk of %d bytes in a file of %d", f.size, size)
	}
	if damage == nil && f.sound {
		return f, nil
	}
	if damage == nil {
		damage = corrupt(size-length+64, "wrong footer checksum")
	}
	if isFooter(tail) && Type(binary.BigEndian.Uint32(tail[60:])) == Fixed || size < 2*footerSize {
		return footer{}, damage
	}

	head := make([]byte, footerSize)
	if err := readFile(context.Background(), r, head, 0, "footer copy"); err != nil {
		return footer{}, err
	}
	spare, err := parseFooter(head, 0)
	switch {
	case err != nil || spare.kind == Fixed:
		return footer{}, damage
	case spare.sound:
		spare.damage = "the footer at the end is damaged; its copy at the beginning is used"
		return spare, nil
	case bytes.Equal(head, tail):
		f.damage = "the checksum of both footers is wrong"
		return f, nil
	}
	return footer{}, damage
}

func isFooter(b []byte) bool { return bytes.HasPrefix(b, []byte("conectix")) }

// parseFooter decodes and checks the footer b, which lies at off; whether its
// checksum is right is noted only.
func parseFooter(b []byte, off int64) (footer, error) {
	if !isFooter(b) {
		return footer{}, corrupt(off, "no footer")
	}
	if version := binary.BigEndian.Uint32(b[12:]); version>>16 != 1 {
		return footer{}, corrupt(off+12, "unknown version %#08x", version)
	}
	kind := Type(binary.BigEndian.Uint32(b[60:]))
	if kind != Fixed && kind != Dynamic && kind != Differencing {
		return footer{}, corrupt(off+60, "unknown disk type %d", uint32(kind))
	}
	size := binary.BigEndian.Uint64(b[48:])
	if !fits(size) {
		return footer{}, corrupt(off+48, "a disk of %d bytes", size)
	}
	return footer{
		kind:      kind,
		size:      int64(size),
		headerOff: int64(binary.BigEndian.Uint64(b[16:])),
		id:        disk.GUID(b[68:84]),
		sound:     binary.BigEndian.Uint32(b[64:]) == checksum(b, 64),
	}, nil
}

// marshal encodes the footer of a fixed disk. Every field is a function of f,
// so that the same disk always gives the same bytes.
func (f *footer) marshal() []byte {
	b := make([]byte, footerSize)
	copy(b, "conectix")
	binary.BigEndian.PutUint32(b[8:], 2)
	binary.BigEndian.PutUint32(b[12:], 0x00010000)
	binary.BigEndian.PutUint64(b[16:], uint64(f.headerOff))
	// QEMU takes the current size for the disk's size only from creators it
	// knows, and the geometry, which is smaller, from all others.
	copy(b[28:], "win ")
	binary.BigEndian.PutUint32(b[32:], 0x000A0000)
	copy(b[36:], "Wi2k")
	binary.BigEndian.PutUint64(b[40:], uint64(f.size))
	binary.BigEndian.PutUint64(b[48:], uint64(f.size))
	cylinders, heads, sectors := geometry(f.size)
	binary.BigEndian.PutUint16(b[56:], cylinders)
	b[58], b[59] = heads, sectors
	binary.BigEndian.PutUint32(b[60:], uint32(f.kind))
	copy(b[68:], f.id[:])
	binary.BigEndian.PutUint32(b[64:], checksum(b, 64))
	return b
}

// checksum is the one's complement of the sum of all bytes but the four at
// field, where the checksum itself lies.
func checksum(b []byte, field int) uint32 {
	var sum uint32
	for i, x := range b {
		if i < field || i >= field+4 {
			sum += uint32(x)
		}
	}
	return ^sum
}

// geometry computes cylinders, heads and sectors per track as the appendix of
// the specification does.
func geometry(size int64) (cylinders uint16, heads, sectors uint8) {
	total := min(size/sector, 65535*16*255)
	spt, h, tracks := int64(17), int64(0), int64(0)
	if total >= 65535*16*63 {
		spt, h = 255, 16
		tracks = total / spt
	} else {
		tracks = total / spt
		h = max(4, (tracks+1023)/1024)
		if tracks >= h*1024 || h > 16 {
			spt, h = 31, 16
			tracks = total / spt
		}
		if tracks >= h*1024 {
			spt = 63
			tracks = total / spt
		}
	}
	return uint16(tracks / h), uint8(h), uint8(spt)
}
