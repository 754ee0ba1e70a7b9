package vhd

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf16"

	"vitrine/fs/disk"
)

const headerSize = 1024

// header holds what matters of the 1024 bytes that describe a dynamic or
// differencing file:
//
//	 0  8  "cxsparse"                 36  4  checksum
//	 8  8  -1                         40 16  identity of the parent
//	16  8  offset of the table        56  4  parent's time, seconds since 2000
//	24  4  version 0x00010000         60  4  reserved
//	28  4  entries of the table       64 512 name of the parent, UTF-16 big-endian
//	32  4  block size                576  …  8 locators of 24 bytes
type header struct {
	tableOff  int64
	entries   int64
	blockSize int64
	parent    Parent
	locators  []locator
	sound     bool // the checksum is right
}

// Parent is what a differencing file says of its parent. Only the identity is
// binding; names and paths are hints written by another machine, which must
// never be followed as they are.
type Parent struct {
	ID   disk.GUID
	Name string
	Time time.Time // when the parent was written, as far as the child knows
}

// locator says where in the file a path to the parent lies.
type locator struct {
	platform string // W2ru: relative, W2ku: absolute, both UTF-16 little-endian
	off      int64
	length   int64
}

// unmarshal decodes and checks the header b, which lies at off.
func (h *header) unmarshal(b []byte, off int64) error {
	if !bytes.HasPrefix(b, []byte("cxsparse")) {
		return corrupt(off, "no header")
	}
	if version := binary.BigEndian.Uint32(b[24:]); version>>16 != 1 {
		return corrupt(off+24, "unknown header version %#08x", version)
	}
	size := binary.BigEndian.Uint32(b[32:])
	if bits.OnesCount32(size) != 1 || size < sector || size > maxBlock {
		return corrupt(off+32, "block size %d", size)
	}
	h.sound = binary.BigEndian.Uint32(b[36:]) == checksum(b, 36)
	h.tableOff = int64(binary.BigEndian.Uint64(b[16:]))
	h.entries = int64(binary.BigEndian.Uint32(b[28:]))
	h.blockSize = int64(size)
	h.parent = Parent{
		ID:   disk.GUID(b[40:56]),
		Name: decodeUTF16(b[64:576], binary.BigEndian),
		Time: epoch.Add(time.Duration(binary.BigEndian.Uint32(b[56:])) * time.Second),
	}
	for i := range 8 {
		x := b[576+24*i:]
		l := locator{
			platform: string(x[:4]),
			length:   int64(binary.BigEndian.Uint32(x[8:])),
			off:      int64(binary.BigEndian.Uint64(x[16:])),
		}
		if l.platform == "W2ru" || l.platform == "W2ku" {
			h.locators = append(h.locators, l)
		}
	}
	return nil
}

// bitmap is the length of a block's bitmap: one bit per sector, whole sectors.
func (h *header) bitmap() int64 {
	return (h.blockSize/sector + 8*sector - 1) / (8 * sector) * sector
}

// Parent returns what a differencing file says of its parent; the zero value
// for other files.
func (m *Image) Parent() Parent {
	if m.Type() != Differencing {
		return Parent{}
	}
	return m.header.parent
}

// ParentPaths returns the Windows paths at which the parent was, the relative
// one first as a rule. They are hints to compare names with, hostile as all of
// the file: not to be opened.
func (m *Image) ParentPaths(ctx context.Context) ([]string, error) {
	if m.Type() != Differencing {
		return nil, nil
	}
	var paths []string
	for _, l := range m.header.locators {
		if l.length == 0 || l.length > 64<<10 || l.length%2 != 0 || l.off < 0 || l.off > m.fileSize-l.length {
			return nil, corrupt(m.footer.headerOff+576, "parent locator %s of %d bytes at %d", l.platform, l.length, l.off)
		}
		b := make([]byte, l.length)
		if err := m.read(ctx, b, l.off, "parent locator"); err != nil {
			return nil, err
		}
		paths = append(paths, decodeUTF16(b, binary.LittleEndian))
	}
	return paths, nil
}

// decodeUTF16 decodes b up to the first zero.
func decodeUTF16(b []byte, order binary.ByteOrder) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		u := order.Uint16(b)
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return string(utf16.Decode(units))
}
