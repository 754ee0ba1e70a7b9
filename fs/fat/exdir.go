package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"
	"unicode/utf16"
)

// The types of exFAT directory entries.
const (
	exInUse   = 0x80
	exBitmap  = 0x81
	exUpcase  = 0x82
	exLabel   = 0x83
	exFile    = 0x85
	exStream  = 0xc0
	exName    = 0xc1
	exBenign  = 0x20
	exPartial = 0x40 // belongs to the set of the primary entry before
)

// exNode decodes the next set of entries that is a file; none is left when the
// node has no name.
func (c *cursor) exNode(ctx context.Context) (node, error) {
	for {
		e, place, err := c.s.next(ctx)
		if e == nil || err != nil {
			return node{}, err
		}
		switch e[0] {
		case exFile:
			c.begin = c.s.told()
			return c.exSet(ctx, bytes.Clone(e), place)
		case exBitmap, exUpcase, exLabel:
			continue
		}
		if e[0]&(exInUse|exPartial|exBenign) == exInUse {
			return node{}, damaged("directory entry", place, fmt.Sprintf("unknown type %#x", e[0]))
		}
	}
}

// exSet reads the rest of a set and decodes it.
func (c *cursor) exSet(ctx context.Context, set []byte, place int64) (node, error) {
	count := int(set[1])
	for range count {
		e, at, err := c.s.next(ctx)
		if err != nil {
			return node{}, err
		}
		if e == nil {
			return node{}, damaged("directory entry", place, "its set is cut off")
		}
		if e[0]&(exInUse|exPartial) != exInUse|exPartial {
			c.s.back()
			return node{}, damaged("directory entry", at, fmt.Sprintf("type %#x within a set", e[0]))
		}
		set = append(set, e...)
	}
	if exSum(set) != binary.LittleEndian.Uint16(set[2:]) {
		return node{}, damaged("directory entry", place, "wrong checksum")
	}
	n, reason := parseSet(set, place)
	if reason != "" {
		return node{}, damaged("directory entry", place, reason)
	}
	return n, nil
}

// back makes next return the last entry again.
func (s *stream) back() { s.at -= entrySize }

// exSum is the checksum of a set.
func exSum(set []byte) uint16 {
	var sum uint16
	for i, b := range set {
		if i != 2 && i != 3 {
			sum = (sum<<15 | sum>>1) + uint16(b)
		}
	}
	return sum
}

// parseSet decodes a set whose checksum holds, or says why not.
func parseSet(set []byte, place int64) (node, string) {
	u16, u32, u64 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	if len(set) < 3*entrySize || set[entrySize] != exStream {
		return node{}, "no stream extension"
	}
	file, stream := set[:entrySize], set[entrySize:2*entrySize]
	attr := u16(file[4:])
	size, valid := u64(stream[24:]), u64(stream[8:])
	if size > math.MaxInt64 || valid > size {
		return node{}, fmt.Sprintf("%d of %d bytes are valid", valid, size)
	}
	n := node{
		id: uint64(place) / entrySize, place: place, dir: attr&attrDir != 0, readOnly: attr&attrReadOnly != 0,
		contiguous: stream[1]&2 != 0, size: int64(size), valid: int64(valid), first: u32(stream[20:]),
		btime: exTime(u32(file[8:]), file[20], file[22]),
		mtime: exTime(u32(file[12:]), file[21], file[23]),
		atime: exTime(u32(file[16:]), 0, file[24]),
	}
	letters := int(stream[3])
	units := make([]uint16, 0, 255)
	for rest := set[2*entrySize:]; len(rest) > 0; rest = rest[entrySize:] {
		if rest[0] != exName {
			if rest[0]&exBenign == 0 {
				return node{}, fmt.Sprintf("unknown type %#x within a set", rest[0])
			}
			continue
		}
		for i := 0; i < 15 && len(units) < letters; i++ {
			units = append(units, u16(rest[2+2*i:]))
		}
	}
	if len(units) < letters || letters == 0 {
		return node{}, fmt.Sprintf("a name of %d letters", letters)
	}
	n.name = string(utf16.Decode(units))
	if badName(n.name) {
		return node{}, fmt.Sprintf("the name %q", n.name)
	}
	return n, ""
}

// exTime decodes a time of exFAT with its distance from UTC in quarters of an
// hour; without one it is taken as UTC.
func exTime(stamp uint32, tens, zone uint8) time.Time {
	at := time.UTC
	if zone&0x80 != 0 {
		quarters := int(int8(zone<<1)) >> 1
		at = time.FixedZone("", quarters*15*60)
	}
	return dosTime(uint16(stamp>>16), uint16(stamp), tens, at)
}
