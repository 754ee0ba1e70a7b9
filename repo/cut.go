package repo

import (
	"bytes"

	"github.com/zeebo/xxh3"
)

// Geometry of images. All of it is part of the format.
const (
	pageSize    = 4 << 10
	unitSize    = 64 << 10 // holes are whole units
	spanSize    = 16 << 20 // no chunk crosses a multiple of this: cutting is local
	segmentSize = 1 << 30  // what one segment of a map covers
	tableSize   = 1 << 40  // what one table covers: 1,024 segments

	unitPages    = unitSize / pageSize
	spanPages    = spanSize / pageSize
	segmentPages = segmentSize / pageSize
	tableSlots   = tableSize / segmentSize

	minChunkPages = 4
	maxChunkPages = 64
	cutMask       = 7
)

// pieceKind is what some pages of an image are.
type pieceKind byte

const (
	pieceData pieceKind = iota
	pieceHole
	pieceLeft // left out
)

// pagesOf is the number of pages that n bytes take.
func pagesOf(n int64) int64 { return (n + pageSize - 1) / pageSize }

// spanBuffer holds one span while it is cut: its bytes and what each page is.
// The bytes of a unit are there once the unit has been loaded.
type spanBuffer struct {
	data  []byte // spanSize, or the whole image where that is less
	kinds [spanPages]pieceKind
}

var zeros [unitSize]byte

// classify decides what the pages of a loaded unit are: left out where left
// says so; the others are a hole when all of them are zero, else data. A unit
// that was not touched is zero whatever the buffer holds.
func (b *spanBuffer) classify(unit, pages int, touched bool, left func(page int) bool) {
	first := unit * unitPages
	last := min(first+unitPages, pages)
	zero := func(p, q int) bool {
		return !touched || bytes.Equal(b.data[p*pageSize:q*pageSize], zeros[:(q-p)*pageSize])
	}
	if left == nil {
		kind := pieceData
		if zero(first, last) {
			kind = pieceHole
		}
		for p := first; p < last; p++ {
			b.kinds[p] = kind
		}
		return
	}
	kind := pieceHole
	for p := first; p < last; p++ {
		b.kinds[p] = pieceHole
		if left(p) {
			b.kinds[p] = pieceLeft
		} else if !zero(p, p+1) {
			kind = pieceData
		}
	}
	for p := first; p < last && kind == pieceData; p++ {
		if b.kinds[p] == pieceHole {
			b.kinds[p] = pieceData
		}
	}
}

// cutSpan cuts the pages [from,to) of a span. A cut must lie at from, and to
// is the end of the span or of the image. load is called before a unit is
// looked at. After every cut at a page p, stop(p) may end it there.
//
// A chunk ends after a page whose hash has its low bits zero, when it has
// minChunkPages; after maxChunkPages; and where data meets something else.
// What is cut depends on nothing before the last cut: a full and an
// incremental backup of the same bytes cut alike.
func cutSpan(seed uint64, b *spanBuffer, from, to int, load func(unit int) error, stop func(p int) bool, emit func(kind pieceKind, p, n int) error) (end int, err error) {
	open := from // first page of the piece that is growing
	for p := from; p < to; p++ {
		if p == open && p > from && stop != nil && stop(p) {
			return p, nil
		}
		if p == from || p%unitPages == 0 {
			if err := load(p / unitPages); err != nil {
				return p, err
			}
		}
		if p > open && b.kinds[p] != b.kinds[open] {
			if err := emit(b.kinds[open], open, p-open); err != nil {
				return p, err
			}
			open = p
			if stop != nil && stop(p) {
				return p, nil
			}
		}
		kind := b.kinds[p]
		n := p + 1 - open
		switch {
		case kind != pieceData:
			// A hole may be left at any unit: nothing that follows depends on it.
			if stop != nil && (p+1)%unitPages == 0 && p+1 < to && stop(p+1) {
				return p + 1, emit(kind, open, n)
			}
		case n == maxChunkPages, n >= minChunkPages && xxh3.HashSeed(b.data[p*pageSize:(p+1)*pageSize], seed)&cutMask == 0:
			if err := emit(kind, open, n); err != nil {
				return p, err
			}
			open = p + 1
		}
	}
	if open < to {
		return to, emit(b.kinds[open], open, to-open)
	}
	return to, nil
}
