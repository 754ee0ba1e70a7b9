package xfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sort"

	iofs "io/fs"
)

// nameHash is the hash by which directories find names.
func nameHash(s string) uint32 {
	var h uint32
	for ; len(s) >= 4; s = s[4:] {
		h = uint32(s[0])<<21 ^ uint32(s[1])<<14 ^ uint32(s[2])<<7 ^ uint32(s[3]) ^ bits.RotateLeft32(h, 28)
	}
	switch len(s) {
	case 3:
		return uint32(s[0])<<14 ^ uint32(s[1])<<7 ^ uint32(s[2]) ^ bits.RotateLeft32(h, 21)
	case 2:
		return uint32(s[0])<<7 ^ uint32(s[1]) ^ bits.RotateLeft32(h, 14)
	case 1:
		return uint32(s[0]) ^ bits.RotateLeft32(h, 7)
	}
	return h
}

// maxHops bounds how many index blocks may have names of one hash.
const maxHops = 1024

// index is a sorted list of pairs of a hash and a number.
type index []byte

func (x index) count() int         { return len(x) / 8 }
func (x index) hash(i int) uint32  { return binary.BigEndian.Uint32(x[8*i:]) }
func (x index) value(i int) uint32 { return binary.BigEndian.Uint32(x[8*i+4:]) }

// first returns the first pair whose hash is h or more.
func (x index) first(h uint32) int {
	return sort.Search(x.count(), func(i int) bool { return x.hash(i) >= h })
}

// search finds a name through the index.
func (d *directory) search(ctx context.Context, name string) (entry, error) {
	e, ok, err := d.fork.find(ctx, 0)
	if err != nil {
		return entry{}, err
	}
	if !ok || e.off > 0 {
		return entry{}, damaged(d.object(), 0, "no first block")
	}
	x, err := d.data(ctx, 0, e)
	if err != nil {
		return entry{}, err
	}
	hash := nameHash(name)
	if x.leaf {
		found, ok, _, err := d.match(ctx, index(x.b[x.end:len(x.b)-8]), hash, name)
		return answer(found, ok, err)
	}
	return d.descend(ctx, hash, name)
}

func answer(e entry, ok bool, err error) (entry, error) {
	if err == nil && !ok {
		err = iofs.ErrNotExist
	}
	return e, err
}

// match looks at the entries that a leaf has for a hash. ended is false when
// the next leaf may have more of them.
func (d *directory) match(ctx context.Context, x index, hash uint32, name string) (e entry, ok, ended bool, err error) {
	per := uint64(d.v.sb.dirSize)
	for i := x.first(hash); i < x.count(); i++ {
		if x.hash(i) != hash {
			return entry{}, false, true, nil
		}
		if x.value(i) == 0 {
			continue // a name that was removed
		}
		at := uint64(x.value(i)) * entryAlign
		blk := at / per * per >> d.v.sb.blockLog
		m, ok, err := d.fork.find(ctx, blk)
		if err != nil {
			return entry{}, false, true, err
		}
		if !ok || m.off > blk {
			return entry{}, false, true, damaged(d.object(), 0, fmt.Sprintf("the index points to byte %d, a hole", at))
		}
		data, err := d.data(ctx, blk, m)
		if err != nil {
			return entry{}, false, true, err
		}
		e, _, err := d.entry(data, int(at%per))
		if err != nil {
			return entry{}, false, true, err
		}
		if e.name == name {
			return e, true, true, nil
		}
	}
	return entry{}, false, false, nil
}

// leafBlock is a block of the index.
type leafBlock struct {
	level int // 0: pairs of hash and place of the entry; else of hash and block
	next  uint32
	pairs index
}

// descend finds a name through an index in blocks of its own.
func (d *directory) descend(ctx context.Context, hash uint32, name string) (entry, error) {
	blk := uint32(uint64(leafStart) >> d.v.sb.blockLog)
	l, err := d.leaf(ctx, blk)
	if err != nil {
		return entry{}, err
	}
	for l.level > 0 {
		i := l.pairs.first(hash)
		if i == l.pairs.count() {
			return entry{}, iofs.ErrNotExist
		}
		child, err := d.leaf(ctx, l.pairs.value(i))
		if err != nil {
			return entry{}, err
		}
		if child.level != l.level-1 {
			return entry{}, damaged(d.object(), 0, fmt.Sprintf("an index block of level %d below level %d", child.level, l.level))
		}
		l = child
	}
	for hops := 0; ; hops++ {
		e, ok, ended, err := d.match(ctx, l.pairs, hash, name)
		if err != nil || ok || ended || l.next == 0 {
			return answer(e, ok, err)
		}
		if hops == maxHops {
			return entry{}, damaged(d.object(), 0, "too many index blocks for one hash, or a circle")
		}
		if l, err = d.leaf(ctx, l.next); err != nil {
			return entry{}, err
		}
		if l.level != 0 || l.pairs.count() > 0 && l.pairs.hash(0) > hash {
			return entry{}, iofs.ErrNotExist
		}
	}
}

// leaf reads the index block at fork block blk.
func (d *directory) leaf(ctx context.Context, blk uint32) (leafBlock, error) {
	at := uint64(blk)
	if at<<d.v.sb.blockLog < leafStart || at<<d.v.sb.blockLog >= freeStart {
		return leafBlock{}, damaged(d.object(), 0, fmt.Sprintf("an index block at %d", blk))
	}
	e, ok, err := d.fork.find(ctx, at)
	if err != nil {
		return leafBlock{}, err
	}
	if !ok || e.off > at {
		return leafBlock{}, damaged(d.object(), 0, fmt.Sprintf("the index block at %d is a hole", blk))
	}
	b, off, err := d.block(ctx, at, e)
	if err != nil {
		return leafBlock{}, err
	}
	if reason := d.v.prove(b, off, daLayout(), d.n.number); reason != "" {
		return leafBlock{}, damaged(d.object(), off, reason)
	}
	magics, header := [3]uint16{0xd2f1, 0xd2ff, 0xfebe}, 16
	counts := 12
	if d.v.sb.v5 {
		magics, header, counts = [3]uint16{0x3df1, 0x3dff, 0x3ebe}, 64, 56
	}
	l := leafBlock{next: binary.BigEndian.Uint32(b)}
	room := len(b) - header
	switch binary.BigEndian.Uint16(b[8:]) {
	case magics[0]:
		room -= 4
	case magics[1]:
	case magics[2]:
		if l.level = int(binary.BigEndian.Uint16(b[counts+2:])); l.level == 0 || l.level > maxLevels {
			return leafBlock{}, damaged(d.object(), off, fmt.Sprintf("an index block of level %d", l.level))
		}
	default:
		return leafBlock{}, damaged(d.object(), off, "no signature")
	}
	count := int(binary.BigEndian.Uint16(b[counts:]))
	if count > room/8 {
		return leafBlock{}, damaged(d.object(), off, fmt.Sprintf("an index block of %d entries", count))
	}
	l.pairs = index(b[header : header+8*count])
	return l, nil
}
