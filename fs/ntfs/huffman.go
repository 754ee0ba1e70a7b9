package ntfs

import "errors"

var errPacked = errors.New("packed data makes no sense")

// bitReader takes bits from 16-bit words, the highest bit first, as XPRESS and
// LZX do. Behind the end it gives zeros; over tells when that went too far.
type bitReader struct {
	src  []byte
	at   int
	bits uint64 // left-aligned
	have int
	over int // words taken behind the end
}

// ensure makes n ≤ 32 bits ready.
func (r *bitReader) ensure(n int) {
	for r.have < n {
		w := uint64(0)
		if r.at+2 <= len(r.src) {
			w = uint64(r.src[r.at]) | uint64(r.src[r.at+1])<<8
			r.at += 2
		} else {
			r.over++
		}
		r.bits |= w << (48 - r.have)
		r.have += 16
	}
}

// take returns n ≤ 17 bits.
func (r *bitReader) take(n int) int {
	r.ensure(n)
	v := r.bits >> 1 >> (63 - n)
	r.bits <<= n
	r.have -= n
	return int(v)
}

// bytes returns n bytes that stand between the words.
func (r *bitReader) bytes(n int) ([]byte, error) {
	if n > len(r.src)-r.at {
		return nil, errPacked
	}
	b := r.src[r.at : r.at+n]
	r.at += n
	return b, nil
}

const (
	maxCode   = 16
	tableBits = 10
)

// huffman decodes a canonical code: short codes by a table, longer ones by
// the first code of every length.
type huffman struct {
	table  [1 << tableBits]uint16 // symbol<<5 | length; 0 for longer codes
	sorted [512]uint16            // symbols by length, then value
	first  [maxCode + 1]uint32    // of each length, left-aligned to maxCode bits
	index  [maxCode + 1]uint16    // of its symbol in sorted
	count  [maxCode + 1]uint16
}

// build makes the code whose lengths are given, at most 512 of them, none
// above maxCode. Codes that are incomplete are none, but for one of no symbols.
func (h *huffman) build(lengths []uint8) error {
	h.count = [maxCode + 1]uint16{}
	for _, n := range lengths {
		h.count[n]++
	}
	clear(h.table[:])
	if int(h.count[0]) == len(lengths) {
		h.count[0] = 0
		return nil
	}
	h.count[0] = 0
	code, at := uint32(0), uint16(0)
	var next [maxCode + 1]uint16
	for n := 1; n <= maxCode; n++ {
		h.first[n], h.index[n], next[n] = code, at, at
		code += uint32(h.count[n]) << (maxCode - n)
		at += h.count[n]
	}
	if code != 1<<maxCode {
		return errPacked
	}
	for sym, n := range lengths {
		if n == 0 {
			continue
		}
		i := next[n]
		next[n]++
		h.sorted[i] = uint16(sym)
		if n <= tableBits {
			from := (h.first[n] + uint32(i-h.index[n])<<(maxCode-n)) >> (maxCode - tableBits)
			for k := from; k < from+1<<(tableBits-n); k++ {
				h.table[k] = uint16(sym)<<5 | uint16(n)
			}
		}
	}
	return nil
}

// symbol reads a symbol; limit is the longest code that the format allows.
func (r *bitReader) symbol(h *huffman, limit int) (int, error) {
	r.ensure(limit)
	if e := h.table[r.bits>>(64-tableBits)]; e != 0 {
		n := int(e & 31)
		r.bits <<= n
		r.have -= n
		return int(e >> 5), nil
	}
	code := uint32(r.bits >> (64 - maxCode))
	for n := tableBits + 1; n <= limit; n++ {
		if i := (code - h.first[n]) >> (maxCode - n); code >= h.first[n] && i < uint32(h.count[n]) {
			r.bits <<= n
			r.have -= n
			return int(h.sorted[uint32(h.index[n])+i]), nil
		}
	}
	return 0, errPacked
}
