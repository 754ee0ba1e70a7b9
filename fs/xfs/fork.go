package xfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sort"
	"sync"
)

const (
	extentSize = 16
	maxLevels  = 10
)

// An extent maps count blocks of a file, from block off on, to fsblock start.
type extent struct {
	off, count uint64
	start      uint64
	unwritten  bool // allocated, reads as zeros
}

func (e extent) end() uint64 { return e.off + e.count }

// fork finds the extents of an inode's data fork. It is safe for concurrent
// use and keeps one leaf of the B-tree.
type fork struct {
	v *FS
	n *inode

	mu     sync.Mutex
	leaf   []extent // sorted
	lo, hi uint64   // the leaf has all extents that begin in [lo,hi)
}

func (v *FS) fork(n *inode) *fork { return &fork{v: v, n: n} }

// find returns the first extent that ends behind block blk; ok is false when
// there is none.
func (f *fork) find(ctx context.Context, blk uint64) (e extent, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if blk < f.lo || blk >= f.hi {
			if err := f.load(ctx, blk); err != nil {
				f.leaf, f.lo, f.hi = nil, 0, 0
				return extent{}, false, err
			}
		}
		i := sort.Search(len(f.leaf), func(i int) bool { return f.leaf[i].end() > blk })
		if i < len(f.leaf) {
			return f.leaf[i], true, nil
		}
		if f.hi == math.MaxUint64 {
			return extent{}, false, nil
		}
		blk = f.hi // leaves are not empty: the next one answers
	}
}

// load fetches the leaf that has what begins at or before blk.
func (f *fork) load(ctx context.Context, blk uint64) error {
	f.lo, f.hi, f.leaf = 0, math.MaxUint64, f.leaf[:0]
	switch f.n.format {
	case formatExtents:
		off, _ := f.v.sb.inodePlace(f.n.number)
		return f.decode(f.n.fork[:f.n.extents*extentSize], off)
	case formatBtree:
		return f.descend(ctx, blk)
	}
	return nil
}

func (f *fork) object() string { return fmt.Sprintf("extent map of inode %d", f.n.number) }

// decode appends the records of b, read at byte off, to the leaf.
func (f *fork) decode(b []byte, off int64) error {
	past := f.lo
	for ; len(b) >= extentSize; b = b[extentSize:] {
		e := parseExtent(b)
		if e.off < past || e.off >= f.hi || e.count == 0 || e.end() > math.MaxInt64>>f.v.sb.blockLog {
			return damaged(f.object(), off, fmt.Sprintf("an extent of %d blocks at block %d, out of order", e.count, e.off))
		}
		if _, ok := f.v.sb.place(e.start, e.count); !ok && !f.n.realtime {
			return damaged(f.object(), off, fmt.Sprintf("an extent of %d blocks at fsblock %d, outside the volume", e.count, e.start))
		}
		past = e.end()
		f.leaf = append(f.leaf, e)
	}
	return nil
}

func parseExtent(b []byte) extent {
	l0, l1 := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return extent{
		off:       l0 << 1 >> 10,
		count:     l1 & (1<<21 - 1),
		start:     l0&(1<<9-1)<<43 | l1>>21,
		unwritten: l0>>63 != 0,
	}
}

// descend walks the B-tree from its root in the inode to the leaf for blk.
func (f *fork) descend(ctx context.Context, blk uint64) error {
	place, _ := f.v.sb.inodePlace(f.n.number)
	b := f.n.fork
	if len(b) < 4 {
		return damaged(f.object(), place, "no room for a root")
	}
	level, count := int(binary.BigEndian.Uint16(b)), int(binary.BigEndian.Uint16(b[2:]))
	if level == 0 || level > maxLevels {
		return damaged(f.object(), place, fmt.Sprintf("a root of level %d", level))
	}
	b = b[4:]
	for {
		child, err := f.choose(b, count, blk, place)
		if err != nil {
			return err
		}
		level--
		off, ok := f.v.sb.place(child, 1)
		if !ok {
			return damaged(f.object(), place, fmt.Sprintf("a child at fsblock %d, outside the volume", child))
		}
		place = off
		if b, count, err = f.node(ctx, off, level); err != nil {
			return err
		}
		if level == 0 {
			return f.decode(b[:count*extentSize], off)
		}
	}
}

// choose finds the child for blk among count keys and pointers that fill b,
// and narrows [lo,hi) to what the child has.
func (f *fork) choose(b []byte, count int, blk uint64, place int64) (uint64, error) {
	most := len(b) / 16
	if count == 0 || count > most {
		return 0, damaged(f.object(), place, fmt.Sprintf("%d children", count))
	}
	key := func(i int) uint64 { return binary.BigEndian.Uint64(b[8*i:]) }
	i := max(sort.Search(count, func(i int) bool { return key(i) > blk })-1, 0)
	if i > 0 {
		f.lo = max(f.lo, key(i))
	}
	if i+1 < count {
		f.hi = min(f.hi, key(i+1))
	}
	if f.lo > blk || f.hi <= blk {
		return 0, damaged(f.object(), place, "keys out of order")
	}
	return binary.BigEndian.Uint64(b[8*(most+i):]), nil
}

// node reads a block of the B-tree and returns what is behind its header.
func (f *fork) node(ctx context.Context, off int64, level int) ([]byte, int, error) {
	b, err := f.v.pages.read(ctx, off, int(f.v.sb.blockSize))
	if err != nil {
		return nil, 0, err
	}
	magic, header := "BMAP", 24
	if f.v.sb.v5 {
		magic, header = "BMA3", 72
	}
	if string(b[:4]) != magic {
		return nil, 0, damaged(f.object(), off, "no signature")
	}
	if reason := f.v.prove(b, off, longLayout(), f.n.number); reason != "" {
		return nil, 0, damaged(f.object(), off, reason)
	}
	have, count := int(binary.BigEndian.Uint16(b[4:])), int(binary.BigEndian.Uint16(b[6:]))
	if have != level || count == 0 || count > len(b[header:])/extentSize {
		return nil, 0, damaged(f.object(), off, fmt.Sprintf("a block of level %d with %d records where level %d belongs", have, count, level))
	}
	return b[header:], count, nil
}
