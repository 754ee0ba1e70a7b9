package repo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
)

// runKind is what the pages of a run are.
type runKind byte

const (
	runData   runKind = 0 // chunks at neighbouring slots
	runRepeat runKind = 1 // one chunk, again and again
	runHole   runKind = 2
	runLeft   runKind = 3
)

// run is some neighbouring pages of a segment.
type run struct {
	kind  runKind
	pages uint32
	first uint32 // page in the segment; not stored: the pages before add up to it
	pack  uint32 // in the segment's pack table
	slot  uint32
	slots uint32 // 1 for a repeat
	check [checkSize]byte
}

// segment is the map of 1 GiB of an image: runs without a gap.
type segment struct {
	packs []PackID
	runs  []run
	pages uint32

	verified bitset // runs whose check has been compared; loaded segments only
	blocksOf atomic.Pointer[blockBits]
}

const mapVersion = 1

// marshal gives the one form that a segment has.
func (s *segment) marshal() []byte {
	b := make([]byte, 0, 16+len(s.packs)*32+len(s.runs)*28)
	b = append(b, mapVersion)
	b = binary.AppendUvarint(b, uint64(len(s.packs)))
	for _, p := range s.packs {
		b = append(b, p.Lease[:]...)
		b = append(b, p.Pack[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(s.runs)))
	for i := range s.runs {
		r := &s.runs[i]
		b = binary.AppendUvarint(b, uint64(r.pages)<<2|uint64(r.kind))
		if r.kind == runData || r.kind == runRepeat {
			b = binary.AppendUvarint(b, uint64(r.pack))
			b = binary.AppendUvarint(b, uint64(r.slot))
			if r.kind == runData {
				b = binary.AppendUvarint(b, uint64(r.slots))
			}
			b = append(b, r.check[:]...)
		}
	}
	return b
}

// mapReader reads the bytes of a map; the first error stays.
type mapReader struct {
	b   []byte
	err error
}

func (m *mapReader) fail(format string, args ...any) {
	if m.err == nil {
		m.err = fmt.Errorf(format, args...)
	}
	m.b = nil
}

func (m *mapReader) uvarint(limit uint64, what string) uint64 {
	v, n := binary.Uvarint(m.b)
	if n <= 0 || v > limit {
		m.fail("bad %s", what)
		return 0
	}
	m.b = m.b[n:]
	return v
}

func (m *mapReader) bytes(n int) []byte {
	if len(m.b) < n {
		m.fail("too short")
		return make([]byte, n)
	}
	out := m.b[:n]
	m.b = m.b[n:]
	return out
}

func (m *mapReader) packs(limit uint64) []PackID {
	n := m.uvarint(limit, "number of packs")
	if uint64(len(m.b)) < n*32 {
		m.fail("too short")
		return nil
	}
	packs := make([]PackID, n)
	for i := range packs {
		b := m.bytes(32)
		copy(packs[i].Lease[:], b)
		copy(packs[i].Pack[:], b[16:])
	}
	return packs
}

// unmarshalSegment reads a segment that must cover exactly pages pages.
func unmarshalSegment(b []byte, pages uint32) (*segment, error) {
	m := &mapReader{b: b}
	if m.bytes(1)[0] != mapVersion {
		return nil, errors.New("unknown version of a segment")
	}
	s := &segment{packs: m.packs(uint64(pages)), pages: pages}
	n := m.uvarint(uint64(pages), "number of runs")
	if n > uint64(len(m.b)) {
		m.fail("too short")
		n = 0
	}
	s.runs = make([]run, 0, n)
	at := uint32(0)
	for range n {
		r := run{first: at}
		head := m.uvarint(uint64(pages)<<2|3, "run")
		r.kind, r.pages = runKind(head&3), uint32(head>>2)
		if r.kind == runData || r.kind == runRepeat {
			r.pack = uint32(m.uvarint(uint64(max(len(s.packs), 1)-1), "pack of a run"))
			r.slot = uint32(m.uvarint(maxSlots-1, "slot of a run"))
			r.slots = 1
			if r.kind == runData {
				r.slots = uint32(m.uvarint(uint64(maxSlots-r.slot), "slots of a run"))
			}
			copy(r.check[:], m.bytes(checkSize))
			if r.slots == 0 || len(s.packs) == 0 {
				m.fail("a run without slots")
			}
		}
		if m.err != nil {
			return nil, m.err
		}
		if r.pages == 0 || r.pages > pages-at {
			return nil, errors.New("the runs do not fit the segment")
		}
		at += r.pages
		s.runs = append(s.runs, r)
	}
	switch {
	case m.err != nil:
		return nil, m.err
	case at != pages:
		return nil, fmt.Errorf("the runs cover %d pages of %d", at, pages)
	case len(m.b) != 0:
		return nil, errors.New("bytes behind the segment")
	}
	return s, nil
}

// find returns the index of the run that holds a page.
func (s *segment) find(page uint32) int {
	lo, hi := 0, len(s.runs)
	for hi-lo > 1 {
		mid := int(uint(lo+hi) >> 1)
		if s.runs[mid].first <= page {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}

// blocks counts the blocks of block bytes before page `before` that hold data.
func (s *segment) blocks(block int64, before uint32) int64 {
	per := uint32(block / pageSize)
	var n int64
	next := uint32(0) // first block not counted yet
	for i := range s.runs {
		r := &s.runs[i]
		if r.first >= before {
			break
		}
		if r.kind != runData && r.kind != runRepeat {
			continue
		}
		from := max(r.first/per, next)
		to := (min(r.first+r.pages, before) + per - 1) / per
		if to > from {
			n += int64(to - from)
			next = to
		}
	}
	return n
}

// segmentRef finds a segment; a zero hash is a segment of holes.
type segmentRef struct {
	addr      Address
	hash      Hash
	allocated int64 // blocks
}

// marshalTable gives the one form of a table: up to 1,024 segments, trailing
// ones of holes left away.
func marshalTable(refs []segmentRef) []byte {
	for len(refs) > 0 && refs[len(refs)-1].hash.IsZero() {
		refs = refs[:len(refs)-1]
	}
	if len(refs) == 0 {
		return nil
	}
	index := map[PackID]int{}
	var packs []PackID
	for _, r := range refs {
		if _, ok := index[r.addr.Pack]; !ok && !r.hash.IsZero() {
			index[r.addr.Pack] = len(packs)
			packs = append(packs, r.addr.Pack)
		}
	}
	b := []byte{mapVersion}
	b = binary.AppendUvarint(b, uint64(len(packs)))
	for _, p := range packs {
		b = append(b, p.Lease[:]...)
		b = append(b, p.Pack[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(refs)))
	for _, r := range refs {
		if r.hash.IsZero() {
			b = append(b, 0)
			continue
		}
		b = binary.AppendUvarint(b, uint64(index[r.addr.Pack])+1)
		b = binary.AppendUvarint(b, uint64(r.addr.Slot))
		b = append(b, r.hash[:]...)
		b = binary.AppendUvarint(b, uint64(r.allocated))
	}
	return b
}

func unmarshalTable(b []byte) ([]segmentRef, error) {
	m := &mapReader{b: b}
	if m.bytes(1)[0] != mapVersion {
		return nil, errors.New("unknown version of a table")
	}
	packs := m.packs(tableSlots)
	n := m.uvarint(tableSlots, "number of segments")
	refs := make([]segmentRef, 0, n)
	for range n {
		var r segmentRef
		if p := m.uvarint(uint64(len(packs)), "pack of a segment"); p > 0 {
			r.addr = Address{Pack: packs[p-1], Slot: uint32(m.uvarint(maxSlots-1, "slot of a segment"))}
			copy(r.hash[:], m.bytes(32))
			r.allocated = int64(m.uvarint(segmentSize/unitSize, "blocks of a segment"))
		}
		refs = append(refs, r)
	}
	if m.err == nil && len(m.b) != 0 {
		m.fail("bytes behind the table")
	}
	return refs, m.err
}
