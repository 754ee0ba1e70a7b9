package part

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Class says what can be done with a volume's content.
type Class int

// The classes of content.
const (
	// FileSystem: a file system that one of the file system packages may open.
	FileSystem Class = iota + 1
	// PhysicalVolume: a member of an LVM2 group.
	PhysicalVolume
	// SwapSpace: Linux swap; see ReadSwap.
	SwapSpace
	// NotOpened: known by name only; Advice says what to do.
	NotOpened
	// Mirror: a whole copy of a file system whose RAID header lies behind it.
	Mirror
)

// Content is what a signature on a volume stands for.
type Content struct {
	Kind  string // "BitLocker", "LUKS", "ext4", …
	Class Class
	// Advice is, for what is not opened, a sentence saying what it is and what
	// to do.
	Advice string
}

// Contents are the contents that one volume shows signs of.
type Contents []Content

// signature is some bytes that a format keeps at a fixed place.
type signature struct {
	off   int64
	magic string
	kind  string
	class Class
}

// head bytes of a volume hold all signatures but the few looked for by hand.
const head = 72 << 10

// signatures are in the order in which they count: what wraps a file system
// before the file systems.
func signatures() []signature {
	return []signature{
		{3, "-FVE-FS-", kindBitLocker, NotOpened},
		{424, "\x3b\xd6\x67\x49\x29\x2e\xd8\x4a\x83\x99\xf6\xa3\x39\xe3\xd0\x01", kindBitLocker, NotOpened},
		{0, "LUKS\xba\xbe", kindLUKS, NotOpened},
		{4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", kindMD, NotOpened},
		{0, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00", kindMD, NotOpened},
		{4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81", kindBcache, NotOpened},
		{0, "dmvdo001", kindVDO, NotOpened},
		{0, "LABELONE", kindLVM, PhysicalVolume},
		{512, "LABELONE", kindLVM, PhysicalVolume},
		{1024, "LABELONE", kindLVM, PhysicalVolume},
		{1536, "LABELONE", kindLVM, PhysicalVolume},
		{0, "bluestore block device", kindCeph, NotOpened},
		{512 * 6, "PRIVHEAD", kindLDM, NotOpened},
		{3, "NTFS    ", "NTFS", FileSystem},
		{3, "EXFAT   ", "exFAT", FileSystem},
		{3, "ReFS\x00\x00\x00\x00", kindReFS, NotOpened},
		{0, "XFSB", "XFS", FileSystem},
		{1080, "\x53\xef", "ext", FileSystem},
		{54, "FAT1", "FAT", FileSystem},
		{82, "FAT32", "FAT", FileSystem},
		{65536 + 64, "_BHRfS_M", kindBtrfs, NotOpened},
		{1024, "H+\x00\x04", kindHFS, NotOpened},
		{1024, "HX\x00\x05", kindHFS, NotOpened},
		{32, "NXSB", kindAPFS, NotOpened},
		{1024, "\x10\x20\xf5\xf2", "F2FS", NotOpened},
		{1024, "\xe2\xe1\xf5\xe0", "EROFS", NotOpened},
		{0, "hsqs", "SquashFS", NotOpened},
		{4096 + 24, "\xc6\x85\x73\xf6\x66\xce\x90\xa9\xd9\x6a\x60\xcf\x80\x3d\xf7\xef", "bcachefs", NotOpened},
		{32769, "CD001", "ISO 9660", NotOpened},
		{32768, "JFS1", "JFS", NotOpened},
		{65536 + 52, "ReIsEr", "ReiserFS", NotOpened},
		{65536 + 1372, "\x19\x01\x54\x19", "UFS", NotOpened},
		{8192 + 1372, "\x19\x01\x54\x19", "UFS", NotOpened},
	}
}

// Identify returns what the signatures on a volume say it holds: nothing, one
// content, or several, the one that counts first. Two contents mean that one
// of them is what an earlier use left behind.
func Identify(r io.ReaderAt, size int64) (Contents, error) {
	b := make([]byte, min(head, max(size, 0)))
	if err := readAt(r, b, 0); err != nil {
		return nil, fmt.Errorf("part: read first bytes of volume: %w", err)
	}
	var list Contents
	put := func(kind string, class Class) {
		if !slices.ContainsFunc(list, func(c Content) bool { return c.Kind == kind }) {
			list = append(list, Content{kind, class, advice(kind, class)})
		}
	}
	swap, err := ReadSwap(r, size)
	if err != nil {
		return nil, err
	}
	for _, s := range signatures() {
		if s.class == FileSystem && swap != nil {
			put(kindSwap, SwapSpace)
		}
		if s.off+int64(len(s.magic)) <= int64(len(b)) && string(b[s.off:][:len(s.magic)]) == s.magic {
			put(s.kind, s.class)
		}
	}
	kind, class, err := mdAtEnd(r, size)
	if err != nil {
		return nil, err
	}
	if kind != "" {
		put(kind, class)
	}
	if len(list) > 0 {
		return list, nil
	}
	far, err := farSignature(r, size)
	if err != nil {
		return nil, err
	}
	if far != "" {
		put(far, NotOpened)
	}
	return list, nil
}

// mdAtEnd looks for the header of a Linux RAID that lies behind the data.
func mdAtEnd(r io.ReaderAt, size int64) (kind string, class Class, err error) {
	const magic = 0xa92b4efc
	b := make([]byte, 256)
	for _, at := range []int64{size&^4095 - 8192, size&^65535 - 65536} {
		if at < 65536 || at+int64(len(b)) > size {
			continue
		}
		if err := readAt(r, b, at); err != nil {
			return "", 0, fmt.Errorf("part: read end of volume: %w", err)
		}
		le := binary.LittleEndian
		if le.Uint32(b) != magic {
			continue
		}
		level, major := le.Uint32(b[28:]), le.Uint32(b[4:])
		if major == 1 {
			// Superblock 1.0 names its own sector.
			if le.Uint64(b[144:])*512 != uint64(at) {
				continue
			}
			level = le.Uint32(b[72:])
		} else if major != 0 {
			continue
		}
		if level == 1 {
			return kindMirror, Mirror, nil
		}
		return kindMD, NotOpened, nil
	}
	return "", 0, nil
}

// farSignature looks for what begins far inside a volume.
func farSignature(r io.ReaderAt, size int64) (string, error) {
	const uberblocks, length, magic = 128 << 10, 128 << 10, 0x00bab10c
	if size >= 1<<20 {
		b := make([]byte, length)
		if err := readAt(r, b, uberblocks); err != nil {
			return "", fmt.Errorf("part: read volume at %d: %w", uberblocks, err)
		}
		hits := 0
		for ; len(b) > 0; b = b[1024:] {
			if binary.LittleEndian.Uint64(b) == magic || binary.BigEndian.Uint64(b) == magic {
				hits++
			}
		}
		if hits >= 4 {
			return kindZFS, nil
		}
	}
	const vmfs = 1 << 20
	if size >= vmfs+512 {
		b := make([]byte, 4)
		if err := readAt(r, b, vmfs); err != nil {
			return "", fmt.Errorf("part: read volume at %d: %w", vmfs, err)
		}
		if string(b) == "\x0d\xd0\x01\xc0" {
			return "VMFS", nil
		}
	}
	return "", nil
}
