package lvm

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"vitrine/fs/disk"
)

const (
	sector    = 512
	scanned   = 4 // sectors that may hold a label
	areaMagic = " LVM2 x[5A%r0N*>"
	maxAreas  = 16
)

// checksum is LVM's: CRC-32 without the inversions, from a start of its own.
func checksum(b []byte) uint32 {
	return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b)
}

// area is a run of bytes of a member.
type area struct{ off, len int64 }

// label is what a member says of itself.
type label struct {
	id    string
	areas []area // with metadata
}

// readLabel returns the label of a member; nil where d is none. The second
// result says, where there is a label that is of no use, why.
func readLabel(ctx context.Context, d disk.Disk) (*label, string, error) {
	b := make([]byte, min(scanned*sector, d.Size()))
	if err := disk.ReadFull(ctx, d, b, 0); err != nil {
		return nil, "", fmt.Errorf("lvm: read label: %w", err)
	}
	why := ""
	for n := 0; (n+1)*sector <= len(b); n++ {
		s := b[n*sector:][:sector]
		if string(s[:8]) != "LABELONE" || string(s[24:32]) != "LVM2 001" {
			continue
		}
		l, err := parseLabel(s, int64(n))
		if err == nil {
			return l, "", nil
		}
		why = err.Error()
	}
	return nil, why, nil
}

func parseLabel(s []byte, at int64) (*label, error) {
	le := binary.LittleEndian
	if checksum(s[20:]) != le.Uint32(s[16:]) {
		return nil, damage("label in sector %d: the checksum is wrong", at)
	}
	if le.Uint64(s[8:]) != uint64(at) {
		return nil, damage("label in sector %d: it says to be that of sector %d", at, le.Uint64(s[8:]))
	}
	off := le.Uint32(s[20:])
	if off < 32 || off > sector-40 {
		return nil, damage("label in sector %d: its header is at %d", at, off)
	}
	h := s[off:]
	l := &label{id: dashed(string(h[:32]))}
	// Two lists of areas, data and metadata, each ended by an empty one.
	h = h[40:]
	for list := 0; list < 2; {
		if len(h) < 16 {
			return nil, damage("label in sector %d: its list of areas does not end", at)
		}
		off, n := le.Uint64(h), le.Uint64(h[8:])
		h = h[16:]
		switch {
		case off == 0 && n == 0:
			list++
		case off > 1<<62 || n > 1<<62:
			return nil, damage("label in sector %d: an area at %d", at, off)
		case list == 1 && len(l.areas) < maxAreas:
			l.areas = append(l.areas, area{int64(off), int64(n)})
		}
	}
	return l, nil
}

// dashed gives the form in which the metadata writes an identity.
func dashed(id string) string {
	if len(id) != 32 {
		return id
	}
	return id[:6] + "-" + id[6:10] + "-" + id[10:14] + "-" + id[14:18] + "-" + id[18:22] + "-" + id[22:26] + "-" + id[26:]
}

// readArea returns the committed text in a metadata area; "" where there is
// none.
func readArea(ctx context.Context, d disk.Disk, a area) (string, error) {
	b := make([]byte, sector)
	if err := disk.ReadFull(ctx, d, b, a.off); err != nil {
		return "", fmt.Errorf("lvm: read metadata area at %d: %w", a.off, err)
	}
	le := binary.LittleEndian
	switch {
	case string(b[4:20]) != areaMagic:
		return "", damage("metadata area at %d: no header", a.off)
	case checksum(b[4:]) != le.Uint32(b):
		return "", damage("metadata area at %d: the checksum of its header is wrong", a.off)
	case le.Uint32(b[20:]) != 1:
		return "", damage("metadata area at %d: version %d", a.off, le.Uint32(b[20:]))
	case le.Uint64(b[24:]) != uint64(a.off):
		return "", damage("metadata area at %d: it says to be at %d", a.off, le.Uint64(b[24:]))
	}
	size := le.Uint64(b[32:])
	off, n, sum, flags := le.Uint64(b[40:]), le.Uint64(b[48:]), le.Uint32(b[56:]), le.Uint32(b[60:])
	if off == 0 || n == 0 || flags&1 != 0 {
		return "", nil
	}
	// The text lies in a ring behind the header.
	if size > 1<<62 || off < sector || off >= size || n > size-sector || n > maxText {
		return "", damage("metadata area at %d: text of %d bytes at %d in %d", a.off, n, off, size)
	}
	text := make([]byte, n)
	first := min(n, size-off)
	if err := disk.ReadFull(ctx, d, text[:first], a.off+int64(off)); err != nil {
		return "", fmt.Errorf("lvm: read metadata at %d: %w", a.off+int64(off), err)
	}
	if err := disk.ReadFull(ctx, d, text[first:], a.off+sector); err != nil {
		return "", fmt.Errorf("lvm: read metadata at %d: %w", a.off+sector, err)
	}
	if checksum(text) != sum {
		return "", damage("metadata area at %d: the checksum of its text is wrong", a.off)
	}
	return string(text), nil
}
