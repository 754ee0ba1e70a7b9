package ext4

import (
	"bytes"
	"encoding/binary"
	"fmt"
	iofs "io/fs"
)

const (
	tailMark = 0xDE // the type of the false entry that holds a block's checksum
	tailSize = 12
)

// entry is a name in a folder. name may be part of a cached block.
type entry struct {
	name  []byte
	inode uint32
	typ   uint8 // 0: not known
}

// fileType is the type that the entry says it has; ok is false when it does
// not say.
func (e entry) fileType() (t iofs.FileMode, ok bool) {
	switch e.typ {
	case 1:
		return 0, true
	case 2:
		return iofs.ModeDir, true
	case 3:
		return iofs.ModeDevice | iofs.ModeCharDevice, true
	case 4:
		return iofs.ModeDevice, true
	case 5:
		return iofs.ModeNamedPipe, true
	case 6:
		return iofs.ModeSocket, true
	case 7:
		return iofs.ModeSymlink, true
	}
	return 0, false
}

// recordLen decodes the length of an entry; blocks of 64 KiB need a bit more
// than 16 bits have.
func recordLen(stored uint16, blockSize int64) int {
	n := int(stored)
	if blockSize < 65536 {
		return n
	}
	if n == 65535 || n == 0 {
		return int(blockSize)
	}
	return n&65532 | n&3<<16
}

func folder(n *inode) string { return fmt.Sprintf("folder, inode %d,", n.number) }

// entries appends the entries in p, a block of folder n that begins at off or
// its inline data, to list. What comes before damage is kept.
func (fsys *FS) entries(n *inode, p []byte, off int64, list []entry) ([]entry, error) {
	le := binary.LittleEndian
	blockSize := fsys.super.blockSize
	encrypted := n.has(flagEncrypted)
	var damage error
	for at := 0; at < len(p); {
		if at+8 > len(p) {
			return list, corrupt(folder(n), off+int64(at), "an entry is cut off")
		}
		e := p[at:]
		length, nameLen := recordLen(le.Uint16(e[4:]), blockSize), int(e[6])
		number := le.Uint32(e)
		if length < 12 || length%4 != 0 || length > len(e) || 8+nameLen > length {
			return list, corrupt(folder(n), off+int64(at), "an entry with a name of %d bytes takes %d of %d", nameLen, length, len(e))
		}
		name := e[8 : 8+nameLen]
		switch {
		case number == 0 || string(name) == "." || string(name) == "..":
		case nameLen == 0 || !encrypted && bytes.ContainsAny(name, "/\x00"):
			damage = corrupt(folder(n), off+int64(at), "the name %.60q cannot be", name)
		case number > fsys.super.inodes:
			damage = corrupt(folder(n), off+int64(at), "%.60q is inode %d of %d", name, number, fsys.super.inodes)
		default:
			typ := e[7]
			if !fsys.super.has(incompatFiletype) {
				typ = 0
			}
			list = append(list, entry{name, number, typ})
		}
		at += length
	}
	return list, damage
}

// isIndexBlock reports whether block p of a folder holds index entries behind
// a false, empty entry that covers all of it.
func (fsys *FS) isIndexBlock(n *inode, first bool, p []byte) bool {
	if !n.has(flagIndex) || !fsys.super.hasCompat(compatDirIndex) {
		return false
	}
	le := binary.LittleEndian
	return first || le.Uint32(p) == 0 && recordLen(le.Uint16(p[4:]), fsys.super.blockSize) == len(p)
}

// verifyFolderBlock checks the checksum of a block of a folder.
func (fsys *FS) verifyFolderBlock(n *inode, first bool, p []byte, off int64) error {
	if !fsys.super.checksums() {
		return nil
	}
	if fsys.isIndexBlock(n, first, p) {
		return fsys.verifyIndexBlock(n, p, off)
	}
	le := binary.LittleEndian
	tail := p[len(p)-tailSize:]
	if le.Uint32(tail) != 0 || le.Uint16(tail[4:]) != tailSize || tail[6] != 0 || tail[7] != tailMark {
		return corrupt(folder(n), off, "the block has no checksum")
	}
	if got, want := le.Uint32(tail[8:]), crc32c(n.seed, p[:len(p)-tailSize]); got != want {
		return corrupt(folder(n), off, "the block's checksum is %08x, not %08x", got, want)
	}
	return nil
}

// verifyIndexBlock checks the checksum of a block of a folder's index.
func (fsys *FS) verifyIndexBlock(n *inode, p []byte, off int64) error {
	x, err := fsys.parseIndex(n, p, off)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	tail := x.start + 8*x.limit
	if tail+8 > len(p) {
		return corrupt(folder(n), off, "a block of its index has no room for its checksum")
	}
	want := crc32c(n.seed, p[:x.start+8*x.count])
	want = crc32cZeros(crc32c(want, p[tail:tail+4]), 4)
	if got := le.Uint32(p[tail+4:]); got != want {
		return corrupt(folder(n), off, "a block of its index has checksum %08x, not %08x", got, want)
	}
	return nil
}
