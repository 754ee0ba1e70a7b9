package vhdx

import (
	"cmp"
	"container/heap"
	"slices"
)

// patches are the writes of a log, last write wins, laid over the file. Data is
// kept in sectors of the log (4 KiB); stretches of zeros are kept as ranges and
// never expanded. They do not change once finish was called.
type patches struct {
	sectors map[int64]patch
	zeros   []zeroRange
	serial  int
}

type patch struct {
	serial int
	data   []byte
}

type zeroRange struct {
	start, end int64
	serial     int
}

// addSector notes a write of logSector bytes. The patches keep data.
func (p *patches) addSector(off int64, data []byte) {
	if p.sectors == nil {
		p.sectors = map[int64]patch{}
	}
	p.serial++
	p.sectors[off] = patch{serial: p.serial, data: data}
}

func (p *patches) addZeros(start, end int64) {
	p.serial++
	p.zeros = append(p.zeros, zeroRange{start: start, end: end, serial: p.serial})
}

// finish drops sectors that a later range of zeros covers and merges the
// ranges, so that apply can lay the sectors over the ranges.
func (p *patches) finish() {
	slices.SortFunc(p.zeros, func(a, b zeroRange) int { return cmp.Compare(a.start, b.start) })
	p.dropZeroed()

	merged := p.zeros[:0]
	for _, z := range p.zeros {
		if n := len(merged); n > 0 && z.start <= merged[n-1].end {
			merged[n-1].end = max(merged[n-1].end, z.end)
			continue
		}
		merged = append(merged, z)
	}
	p.zeros = slices.Clip(merged)
}

// dropZeroed goes through sectors and ranges in the order of the file, with
// the ranges that have begun in a heap, latest write first.
func (p *patches) dropZeroed() {
	offsets := make([]int64, 0, len(p.sectors))
	for off := range p.sectors {
		offsets = append(offsets, off)
	}
	slices.Sort(offsets)

	var begun latestFirst
	rest := p.zeros
	for _, off := range offsets {
		for len(rest) > 0 && rest[0].start <= off {
			heap.Push(&begun, rest[0])
			rest = rest[1:]
		}
		for len(begun) > 0 && begun[0].end <= off {
			heap.Pop(&begun)
		}
		if len(begun) > 0 && begun[0].serial > p.sectors[off].serial {
			delete(p.sectors, off)
		}
	}
}

// apply lays the patches over b, the bytes of the file at off.
func (p *patches) apply(b []byte, off int64) {
	end := off + int64(len(b))
	at, _ := slices.BinarySearchFunc(p.zeros, off, func(z zeroRange, off int64) int {
		if z.end <= off {
			return -1
		}
		return 1
	})
	for ; at < len(p.zeros) && p.zeros[at].start < end; at++ {
		clear(b[max(p.zeros[at].start, off)-off : min(p.zeros[at].end, end)-off])
	}

	if len(p.sectors) == 0 {
		return
	}
	for sector := off / logSector * logSector; sector < end; sector += logSector {
		patch, ok := p.sectors[sector]
		if !ok {
			continue
		}
		from := max(sector, off)
		copy(b[from-off:], patch.data[from-sector:])
	}
}

// latestFirst is a heap of ranges by falling serial.
type latestFirst []zeroRange

func (h latestFirst) Len() int           { return len(h) }
func (h latestFirst) Less(i, j int) bool { return h[i].serial > h[j].serial }
func (h latestFirst) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *latestFirst) Push(x any)        { *h = append(*h, x.(zeroRange)) }
func (h *latestFirst) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
