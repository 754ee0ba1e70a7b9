package fat

import (
	"encoding/binary"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/text/encoding/charmap"
)

// oemRune decodes a byte of a short name, as code page 437.
func oemRune(c byte) rune { return charmap.CodePage437.DecodeByte(c) }

// shortName decodes the 11 bytes of a short name. Windows keeps in flags that
// a part of it was typed in lower case.
func shortName(b []byte, flags byte) string {
	base, ext := decodeOEM(b[:8]), strings.TrimRight(decodeExt(b[8:11]), " ")
	if flags&0x08 != 0 {
		base = strings.ToLower(base)
	}
	if flags&0x10 != 0 {
		ext = strings.ToLower(ext)
	}
	if ext == "" {
		return base
	}
	return base + "." + ext
}

func decodeExt(b []byte) string {
	var s strings.Builder
	for _, c := range b {
		s.WriteRune(oemRune(c))
	}
	return s.String()
}

// shortSum is the sum of a short name by which long names know it.
func shortSum(b []byte) byte {
	var sum byte
	for _, c := range b[:11] {
		sum = sum<<7 | sum>>1
		sum += c
	}
	return sum
}

// longName collects the entries of a long name, which come last part first.
type longName struct {
	units []uint16
	next  int // number of the part that must come; 0: complete
	sum   byte
	live  bool
}

const maxParts = 20 // of 13 letters

// add takes an entry of a long name. A part that does not fit what came before
// begins anew or drops what was collected.
func (l *longName) add(e []byte) {
	number := int(e[0] & 0x1f)
	if e[0]&0x40 != 0 {
		*l = longName{next: number, sum: e[13], live: number > 0 && number <= maxParts}
		l.units = make([]uint16, number*13)
	}
	if !l.live || number != l.next || e[13] != l.sum || number == 0 {
		*l = longName{}
		return
	}
	l.next--
	part := l.units[l.next*13:]
	for i := range 5 {
		part[i] = binary.LittleEndian.Uint16(e[1+2*i:])
	}
	for i := range 6 {
		part[5+i] = binary.LittleEndian.Uint16(e[14+2*i:])
	}
	for i := range 2 {
		part[11+i] = binary.LittleEndian.Uint16(e[28+2*i:])
	}
}

// take returns the name if it is complete and belongs to the short name, and
// begins anew.
func (l *longName) take(short []byte) (string, bool) {
	done := *l
	*l = longName{}
	if !done.live || done.next != 0 || done.sum != shortSum(short) {
		return "", false
	}
	units := done.units
	for i, u := range units {
		if u == 0 {
			units = units[:i]
			break
		}
	}
	if len(units) == 0 || len(units) > 255 {
		return "", false
	}
	return string(utf16.Decode(units)), true
}

// badName reports whether a name cannot be shown as one.
func badName(name string) bool {
	return name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00")
}

// fold puts a name into the upper case of the volume.
func (v *FS) fold(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case v.upcase == nil:
			return unicode.ToUpper(r)
		case r < 0x10000:
			return rune(v.upcase[r])
		}
		return r
	}, s)
}
