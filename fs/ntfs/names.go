package ntfs

import (
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// Code units that a path cannot hold are shown in private-use areas: unpaired
// surrogates D800–DFFF as U+10D800–U+10DFFF, NUL, slash and the dots of "."
// and ".." as U+F000 and the character.
const (
	loneSurrogates = 0x100000
	loneASCII      = 0xF000
)

// appendName appends a name in UTF-16LE to b as UTF-8, fit to be a part of a path.
func appendName(b []byte, name string) []byte {
	start := len(b)
	b = appendText(b, name, true)
	if s := string(b[start:]); s == "." || s == ".." {
		b = b[:start]
		for range s {
			b = utf8.AppendRune(b, loneASCII+'.')
		}
	}
	return b
}

// appendText appends UTF-16LE to b as UTF-8; escape keeps slash and NUL out.
func appendText(b []byte, name string, escape bool) []byte {
	for i := 0; i+1 < len(name); i += 2 {
		u := rune(name[i]) | rune(name[i+1])<<8
		switch {
		case escape && (u == 0 || u == '/'):
			u += loneASCII
		case utf16.IsSurrogate(u):
			next := rune(0)
			if i+3 < len(name) {
				next = rune(name[i+2]) | rune(name[i+3])<<8
			}
			if r := utf16.DecodeRune(u, next); r != unicode.ReplacementChar {
				u, i = r, i+2
			} else {
				u += loneSurrogates
			}
		}
		b = utf8.AppendRune(b, u)
	}
	return b
}

// encodings returns the UTF-16LE names that a part of a path can mean, the
// literal one first.
func encodings(s string) []string {
	literal := encode(s, false)
	if strings.IndexFunc(s, func(r rune) bool { return unescape(r) != r }) < 0 {
		return []string{literal}
	}
	return []string{literal, encode(s, true)}
}

func encode(s string, lone bool) string {
	b := make([]byte, 0, 2*len(s))
	for _, r := range s {
		if lone {
			r = unescape(r)
		}
		if r > 0xFFFF {
			hi, lo := utf16.EncodeRune(r)
			b = le.AppendUint16(b, uint16(hi))
			r = lo
		}
		b = le.AppendUint16(b, uint16(r))
	}
	return string(b)
}

// unescape returns the code unit that a private-use character stands for.
func unescape(r rune) rune {
	switch {
	case r >= loneSurrogates+0xD800 && r <= loneSurrogates+0xDFFF:
		return r - loneSurrogates
	case r == loneASCII || r == loneASCII+'/' || r == loneASCII+'.':
		return r - loneASCII
	}
	return r
}

// upcase maps code units to upper case, as the volume's $UpCase has it.
type upcase []uint16

const upcaseBytes = 2 * 65536

// parseUpcase decodes $UpCase; units that it lacks are their own upper case.
func parseUpcase(b []byte) upcase {
	t := make(upcase, 65536)
	for i := range t {
		t[i] = uint16(i)
		if 2*i+1 < len(b) {
			t[i] = le.Uint16(b[2*i:])
		}
	}
	return t
}

// defaultUpcase stands in for a $UpCase that cannot be read.
func defaultUpcase() upcase {
	t := make(upcase, 65536)
	for i := range t {
		t[i] = uint16(i)
		if r := unicode.ToUpper(rune(i)); r <= 0xFFFF {
			t[i] = uint16(r)
		}
	}
	return t
}

// compare orders two names in UTF-16LE as an index of names does: by upper
// case, then as they are. folded is the order by upper case alone.
func (t upcase) compare(a, b string) (folded, exact int) {
	n := min(len(a), len(b)) &^ 1
	for i := 0; i < n; i += 2 {
		x, y := uint16(a[i])|uint16(a[i+1])<<8, uint16(b[i])|uint16(b[i+1])<<8
		if x == y {
			continue
		}
		if u, v := t[x], t[y]; u != v {
			if u < v {
				return -1, -1
			}
			return 1, 1
		}
		if exact == 0 {
			if exact = 1; x < y {
				exact = -1
			}
		}
	}
	switch {
	case len(a) < len(b):
		return -1, -1
	case len(a) > len(b):
		return 1, 1
	}
	return 0, exact
}
