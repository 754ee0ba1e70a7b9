package ntfs

import (
	"fmt"
)

// Numbers of the records that every volume has.
const (
	recMFT     = 0
	recMirror  = 1
	recLogFile = 2
	recVolume  = 3
	recRoot    = 5
	recBitmap  = 6
	recBoot    = 7
	recUpCase  = 10
	recSecure  = 9
	firstUser  = 24 // records below are the format's own
)

const mftBlockSize = 64 << 10

// fixup undoes the fixups of a record or index block, in place. The stride is
// 512 bytes, whatever the sectors of the disk.
func fixup(b []byte, magic string) error {
	if len(b) < 48 || string(b[:4]) != magic {
		if len(b) >= 4 && string(b[:4]) == "BAAD" {
			return fmt.Errorf("marked as torn by Windows")
		}
		return fmt.Errorf("no %s signature", magic)
	}
	off, n := int(le.Uint16(b[4:])), int(le.Uint16(b[6:]))
	if n != len(b)/512+1 || off < 8 || off+2*n > len(b) || off+2*n > 512-2 {
		return fmt.Errorf("%d fixups at %d", n, off)
	}
	for i := 1; i < n; i++ {
		end := i*512 - 2
		if b[end] != b[off] || b[end+1] != b[off+1] {
			return fmt.Errorf("torn write in its sector %d", i-1)
		}
		b[end], b[end+1] = b[off+2*i], b[off+2*i+1]
	}
	return nil
}

func recordName(n uint64) string { return fmt.Sprintf("MFT record %d", n) }

// record returns MFT record n, checked and with its fixups undone.
func (f *FS) record(n uint64) ([]byte, error) {
	size := f.geo.record
	if n >= uint64(f.mft.size/size) {
		return nil, damage(recordName(n), "behind the end of $MFT (%d records)", f.mft.size/size)
	}
	b := make([]byte, size)
	off := int64(n) * size
	if err := f.readMFT(b, off); err != nil {
		return nil, fmt.Errorf("ntfs: read MFT record %d: %w", n, err)
	}
	if err := checkRecord(b); err != nil {
		at, _ := f.mft.place(off)
		return nil, &DamageError{recordName(n), at, err.Error()}
	}
	return b, nil
}

// readMFT reads bytes of $MFT that lie in one record, by way of the cache.
func (f *FS) readMFT(p []byte, off int64) error {
	block := off / mftBlockSize * mftBlockSize
	key := cacheKey{kind: mftBlock, part: block}
	if v, ok := f.cache.get(key); ok {
		if b := v.([]byte); copy(p, b[min(off-block, int64(len(b))):]) == len(p) {
			return nil
		}
	}
	n := min(mftBlockSize, f.mft.size-block)
	b := make([]byte, n)
	if f.mft.readFull(b, block) != nil {
		return f.mft.readFull(p, off) // a bad neighbour does not count
	}
	f.cache.put(key, b, n)
	if copy(p, b[off-block:]) != len(p) {
		return f.mft.readFull(p, off)
	}
	return nil
}

// checkRecord undoes the fixups of a record and checks its header.
func checkRecord(b []byte) error {
	if err := fixup(b, "FILE"); err != nil {
		return err
	}
	first, used := int(le.Uint16(b[20:])), int(le.Uint32(b[24:]))
	if first < 42 || first%8 != 0 || used < first || used > len(b) {
		return fmt.Errorf("attributes from %d to %d", first, used)
	}
	return nil
}

// attribute types
const (
	atStandard   = 0x10
	atList       = 0x20
	atFileName   = 0x30
	atVolumeName = 0x60
	atVolumeInfo = 0x70
	atData       = 0x80
	atIndexRoot  = 0x90
	atIndexAlloc = 0xA0
	atBitmap     = 0xB0
	atReparse    = 0xC0
	atEA         = 0xE0
	atEnd        = 0xFFFFFFFF
)

// flags of an attribute
const (
	flagCompression = 0x00FF
	flagLZNT1       = 0x0001
	flagEncrypted   = 0x4000
)

// attr is an attribute, or one piece of it, as a record holds it.
type attr struct {
	typ      uint32
	id       uint16
	flags    uint16
	name     string // UTF-16LE, as it stands
	resident bool
	value    []byte // resident
	low      int64  // first VCN of this piece
	high     int64
	body     []byte // the whole attribute, when not resident
	runs     []byte
}

// attributes decodes the attributes of a checked record.
func attributes(b []byte) ([]attr, error) {
	var all []attr
	used := int(le.Uint32(b[24:]))
	for off := int(le.Uint16(b[20:])); ; {
		if off+4 > used {
			return all, fmt.Errorf("attributes without an end")
		}
		if le.Uint32(b[off:]) == atEnd {
			return all, nil
		}
		if off+24 > used {
			return all, fmt.Errorf("attribute at %d is cut off", off)
		}
		n := int(le.Uint32(b[off+4:]))
		if n < 24 || n%8 != 0 || n > used-off {
			return all, fmt.Errorf("attribute at %d of %d bytes", off, n)
		}
		a, err := parseAttr(b[off : off+n : off+n])
		if err != nil {
			return all, fmt.Errorf("attribute at %d: %w", off, err)
		}
		all = append(all, a)
		off += n
	}
}

func parseAttr(b []byte) (attr, error) {
	a := attr{typ: le.Uint32(b), flags: le.Uint16(b[12:]), id: le.Uint16(b[14:]), resident: b[8] == 0}
	if n := 2 * int(b[9]); n > 0 {
		off := int(le.Uint16(b[10:]))
		if off < 24 || off+n > len(b) {
			return a, fmt.Errorf("name of %d bytes at %d", n, off)
		}
		a.name = string(b[off : off+n])
	}
	if a.resident {
		n, off := int64(le.Uint32(b[16:])), int64(le.Uint16(b[20:]))
		if off < 24 && n > 0 || off+n > int64(len(b)) {
			return a, fmt.Errorf("value of %d bytes at %d", n, off)
		}
		if n > 0 {
			a.value = b[off : off+n : off+n]
		}
		return a, nil
	}
	if len(b) < 64 {
		return a, fmt.Errorf("header of %d bytes", len(b))
	}
	a.low, a.high = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	off := int(le.Uint16(b[32:]))
	if off < 64 || off >= len(b) || a.low < 0 || a.high < -1 {
		return a, fmt.Errorf("runs at %d for VCN %d to %d", off, a.low, a.high)
	}
	a.body, a.runs = b, b[off:]
	return a, nil
}
