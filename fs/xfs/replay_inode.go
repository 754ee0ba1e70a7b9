package xfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"
)

// The fields of an inode that a log item brings.
const (
	fieldData   = 0x02
	fieldExtent = 0x04
	fieldBtree  = 0x08
	fieldDevice = 0x10
	fieldOwner  = 0x200
)

// swaps lists the fields of an inode by size, for the log has them in the
// byte order of the machine; times depend on a flag.
func swaps(v3 bool) map[int][]int {
	s := map[int][]int{
		2: {0, 2, 6, 20, 22, 80, 88, 90},
		4: {8, 12, 16, 72, 76, 84, 92, 96},
		8: {56, 64},
	}
	if v3 {
		s[4] = append(s[4], 128)
		s[8] = append(s[8], 24, 104, 120, 152)
	}
	return s
}

// inode applies a logged inode.
func (p *replay) inode(ctx context.Context, i *item, lsn uint64) error {
	f := i.regions[0]
	le16, le32, le64 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	narrow := 0 // 32-bit machines pack the format closer
	switch len(f) {
	case 56:
	case 52:
		narrow = 4
	default:
		return errLogDamaged
	}
	fields, number := le32(f[4:]), le64(f[16-narrow:])
	buf := run{int64(le64(f[40-narrow:])), le32(f[48-narrow:])}
	sb := p.j.v.sb
	off, ok := sb.inodePlace(number)
	if !ok || len(i.regions) < 2 || buf.at<<9+int64(le32(f[52-narrow:])) != off {
		return errLogDamaged
	}
	if p.cancelled[buf] > 0 {
		return nil
	}
	core := bytes.Clone(i.regions[1])
	size := coreSize
	if sb.v5 {
		size = coreSize3
	}
	if len(core) != size && len(core) != size-4 { // next_unlinked ends version 2 and may be left out
		return errLogDamaged
	}
	slot := run{off >> 9, uint32((sb.inodeSize + logSector - 1) >> 9)}
	b, err := p.load(ctx, slot)
	if err != nil {
		return err
	}
	d := b[off&511:][:sb.inodeSize]
	if string(d[:2]) != inodeMagic || le16(core) != binary.BigEndian.Uint16([]byte(inodeMagic)) {
		return errLogDamaged
	}
	if sb.v5 {
		if have := binary.BigEndian.Uint64(d[112:]); have != 0 && have != 1<<64-1 && have > lsn {
			return nil
		}
	} else {
		have, got := binary.BigEndian.Uint16(d[30:]), le16(core[30:])
		if got < have && !(have == 0xffff && got < 0x7fff) {
			return nil
		}
	}

	putCore(d, core, sb.v5)
	if sb.v5 {
		binary.BigEndian.PutUint64(d[112:], lsn)
	} else {
		clear(d[24:32])
	}
	fork := d[size:]
	if end := int(d[82]) * 8; end > len(fork) {
		return errLogDamaged
	} else if end > 0 {
		fork = fork[:end]
	}
	if fields&fieldDevice != 0 && len(fork) >= 4 {
		binary.BigEndian.PutUint32(fork, le32(f[24-narrow:]))
	}
	if fields&fieldOwner != 0 {
		p.owners[number] = true
	}
	if fields&(fieldData|fieldExtent|fieldBtree) != 0 {
		if len(i.regions) < 3 {
			return errLogDamaged
		}
		if err := putFork(fork, i.regions[2], fields, sb.v5); err != nil {
			return err
		}
	}
	return p.store(slot, b)
}

// putCore copies a logged core over the one on the volume, in the volume's
// byte order.
func putCore(d, core []byte, v3 bool) {
	swap := func(at, n int) { slices.Reverse(core[at : at+n]) }
	for n, offsets := range swaps(v3) {
		for _, at := range offsets {
			if at+n <= len(core) {
				swap(at, n)
			}
		}
	}
	times := []int{32, 40, 48}
	if v3 {
		times = append(times, 144)
	}
	for _, at := range times {
		if v3 && binary.BigEndian.Uint64(core[120:])&flag2Bigtime != 0 {
			swap(at, 8)
			continue
		}
		swap(at, 4)
		swap(at+4, 4)
	}
	crc, next := binary.BigEndian.Uint32(d[100:]), binary.BigEndian.Uint32(d[96:])
	copy(d, core)
	binary.BigEndian.PutUint32(d[96:], next)
	if v3 {
		binary.BigEndian.PutUint32(d[100:], crc)
	}
}

// putFork copies a logged data fork; the root of a B-tree is logged with the
// header and the room of a whole block.
func putFork(fork, src []byte, fields uint32, v5 bool) error {
	if fields&fieldBtree == 0 {
		if len(src) > len(fork) {
			return errLogDamaged
		}
		copy(fork, src)
		return nil
	}
	header := 24
	if v5 {
		header = 72
	}
	if len(src) < header || len(fork) < 4 {
		return errLogDamaged
	}
	count := int(binary.BigEndian.Uint16(src[6:]))
	most, room := (len(src)-header)/16, (len(fork)-4)/16
	if count > most || count > room {
		return errLogDamaged
	}
	clear(fork)
	copy(fork, src[4:8])
	copy(fork[4:], src[header:header+8*count])
	copy(fork[4+8*room:], src[header+8*most:header+8*most+8*count])
	return nil
}
