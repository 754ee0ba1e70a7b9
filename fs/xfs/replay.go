package xfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// The kinds of log items.
const (
	itemInode   = 0x123b
	itemBuffer  = 0x123c
	itemCreate  = 0x123f
	itemMap     = 0x1244
	itemMapped  = 0x1245
	itemSwap    = 0x1248
	itemSwapped = 0x1249
	itemFirst   = 0x1236
	itemLast    = 0x124f
)

// The flags of a logged buffer.
const (
	bufferInodes = 1
	bufferCancel = 2
	bufferQuota  = 4 | 8 | 16
	bufferChunk  = 128
)

const maxOverlay = 120_000 // sectors

// replay applies the transactions of a dirty log to an overlay of sectors, as
// the kernel does to the volume.
type replay struct {
	j            *journal
	tail         uint64 // cycle and sector of the first record to replay
	head         int64
	overlay      map[int64][]byte
	cancelled    map[run]int
	maps         map[uint64][]uint64 // unfinished changes of extents, by id: the inodes
	owners       map[uint64]bool     // inodes whose B-tree changed hands
	transactions int
}

// run is a run of sectors that a buffer covers.
type run struct {
	at int64
	n  uint32
}

// buffer is a decoded buffer item.
type buffer struct {
	flags uint16
	run   run
	bits  []byte // little-endian words
	parts [][]byte
}

func (p *replay) run(ctx context.Context) error {
	p.overlay = make(map[int64][]byte)
	p.cancelled = make(map[run]int)
	p.maps = make(map[uint64][]uint64)
	p.owners = make(map[uint64]bool)
	if p.tail&0xffffffff >= uint64(p.j.sectors) {
		return errLogDamaged
	}
	err := p.each(ctx, func(t *transaction) error {
		for _, i := range t.items {
			if i.kind() < itemFirst || i.kind() > itemLast {
				return fmt.Errorf("unknown log item %#x", i.kind())
			}
			if i.kind() != itemBuffer {
				continue
			}
			b, err := parseBuffer(i)
			if err != nil {
				return err
			}
			if b.flags&bufferCancel != 0 {
				p.cancelled[b.run]++
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return p.each(ctx, func(t *transaction) error { return p.commit(ctx, t) })
}

// commit applies a transaction: buffers and new inodes, then inodes, then
// cancellations.
func (p *replay) commit(ctx context.Context, t *transaction) error {
	p.transactions++
	var inodes, cancels []*item
	for _, i := range t.items {
		var err error
		switch i.kind() {
		case itemBuffer:
			b, e := parseBuffer(i)
			switch {
			case e != nil:
				err = e
			case b.flags&bufferCancel != 0:
				cancels = append(cancels, i)
			case b.flags&bufferInodes != 0: // lists of unlinked inodes, of no use to readers
			default:
				err = p.buffer(ctx, b, t.lsn)
			}
		case itemCreate:
			err = p.create(ctx, i.regions[0])
		case itemInode:
			inodes = append(inodes, i)
		case itemMap, itemMapped, itemSwap, itemSwapped:
			err = p.intent(i)
		}
		if err != nil {
			return err
		}
	}
	for _, i := range inodes {
		if err := p.inode(ctx, i, t.lsn); err != nil {
			return err
		}
	}
	for _, i := range cancels {
		b, err := parseBuffer(i)
		if err != nil {
			return err
		}
		if p.cancelled[b.run]--; p.cancelled[b.run] <= 0 {
			delete(p.cancelled, b.run)
		}
	}
	return nil
}

func parseBuffer(i *item) (buffer, error) {
	f := i.regions[0]
	if len(f) < 20 {
		return buffer{}, errLogDamaged
	}
	u16, u32, u64 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	words := int(u32(f[16:]))
	b := buffer{
		flags: u16(f[4:]), run: run{int64(u64(f[8:])), uint32(u16(f[6:]))},
		parts: i.regions[1:],
	}
	if words > (len(f)-20)/4 {
		return buffer{}, errLogDamaged
	}
	b.bits = f[20 : 20+4*words]
	return b, nil
}

func (b *buffer) bit(i int) bool { return i/8 < len(b.bits) && b.bits[i/8]>>(i%8)&1 != 0 }

// buffer applies the chunks of a logged buffer.
func (p *replay) buffer(ctx context.Context, b buffer, lsn uint64) error {
	if p.cancelled[b.run] > 0 || b.flags&bufferQuota != 0 {
		return nil
	}
	if b.run.n == 0 || b.run.n > 128 {
		return errLogDamaged
	}
	have, err := p.load(ctx, b.run)
	if err != nil {
		return err
	}
	if p.j.v.sb.v5 && !p.touched(b.run) && newer(have, p.j.v.sb.metaUUID, lsn) {
		return nil
	}
	bit := 0
	for _, part := range b.parts {
		for bit < len(b.bits)*8 && !b.bit(bit) {
			bit++
		}
		n := 0
		for b.bit(bit+n) && (n+1)*bufferChunk <= len(part) {
			n++
		}
		if n == 0 || (bit+n)*bufferChunk > len(have) {
			return errLogDamaged
		}
		copy(have[bit*bufferChunk:], part[:n*bufferChunk])
		bit += n
	}
	return p.store(b.run, have)
}

// newer reports whether a block on the volume was written after lsn.
func newer(b []byte, uuid [16]byte, lsn uint64) bool {
	at, id := 0, 0
	switch string(b[:4]) {
	case "AB3B", "AB3C", "IAB3", "FIB3", "RMB3", "R3FC":
		at, id = 24, 32
	case "BMA3":
		at, id = 32, 40
	case "XAGF":
		at, id = 208, 64
	case "XAFL":
		at, id = 24, 8
	case "XAGI":
		at, id = 320, 296
	case "XDB3", "XDD3", "XDF3":
		at, id = 16, 24
	case "XSLM":
		at, id = 48, 16
	case superMagic:
		at, id = 240, 32
	default:
		switch binary.BigEndian.Uint16(b[8:]) {
		case 0x3df1, 0x3dff, 0x3ebe, 0x3bee:
			at, id = 24, 32
		default:
			return false
		}
	}
	if string(b[:4]) != superMagic && !bytes.Equal(b[id:id+16], uuid[:]) {
		return false
	}
	have := binary.BigEndian.Uint64(b[at:])
	return have != 0 && have != 1<<64-1 && have >= lsn
}

// create makes a chunk of free inodes.
func (p *replay) create(ctx context.Context, f []byte) error {
	if len(f) < 28 {
		return errLogDamaged
	}
	sb := p.j.v.sb
	u32 := binary.BigEndian.Uint32
	ag, blk, count, size, length, gen := u32(f[4:]), u32(f[8:]), u32(f[12:]), u32(f[16:]), u32(f[20:]), u32(f[24:])
	off, ok := sb.place(uint64(ag)<<sb.agLog|uint64(blk), uint64(length))
	if !ok || blk>>sb.agLog != 0 || int(size) != sb.inodeSize || count > 1024 || int64(count)*int64(size) != int64(length)<<sb.blockLog {
		return errLogDamaged
	}
	for c := range p.cancelled {
		if c.at<<9 < off+int64(length)<<sb.blockLog && off < (c.at+int64(c.n))<<9 {
			return nil
		}
	}
	first := (uint64(ag)<<sb.agLog | uint64(blk)) << sb.inopLog
	b := make([]byte, sb.inodeSize)
	for i := range uint64(count) {
		clear(b)
		copy(b, inodeMagic)
		b[4] = 2
		binary.BigEndian.PutUint32(b[92:], gen)
		binary.BigEndian.PutUint32(b[96:], 1<<32-1)
		if sb.v5 {
			b[4] = 3
			binary.BigEndian.PutUint64(b[152:], first+i)
			copy(b[160:], sb.metaUUID[:])
		}
		if err := p.patch(ctx, off+int64(i)*int64(size), b); err != nil {
			return err
		}
	}
	return nil
}

// intent keeps account of changes that take several transactions.
func (p *replay) intent(i *item) error {
	f := i.regions[0]
	if len(f) < 16 {
		return errLogDamaged
	}
	id := binary.LittleEndian.Uint64(f[8:])
	switch i.kind() {
	case itemMapped, itemSwapped:
		delete(p.maps, id)
	case itemSwap:
		if len(f) < 32 {
			return errLogDamaged
		}
		p.maps[id] = []uint64{binary.LittleEndian.Uint64(f[16:]), binary.LittleEndian.Uint64(f[24:])}
	case itemMap:
		n := int(binary.LittleEndian.Uint32(f[4:]))
		if n > (len(f)-16)/32 {
			return errLogDamaged
		}
		var owners []uint64
		for k := range n {
			owners = append(owners, binary.LittleEndian.Uint64(f[16+32*k:]))
		}
		p.maps[id] = owners
	}
	return nil
}

// unfinished returns the inodes whose content the log leaves half changed.
func (p *replay) unfinished() map[uint64]bool {
	set := p.owners
	for _, owners := range p.maps {
		for _, ino := range owners {
			set[ino] = true
		}
	}
	return set
}

// sameGeometry refuses a log that resized the volume.
func (p *replay) sameGeometry(ctx context.Context) error {
	b, err := p.j.v.pages.read(ctx, 0, logSector)
	if err != nil {
		return err
	}
	sb := p.j.v.sb
	if string(b[:4]) != superMagic || binary.BigEndian.Uint64(b[8:]) != sb.blocks || binary.BigEndian.Uint32(b[88:]) != sb.agCount {
		return errors.New("the volume was being resized")
	}
	return nil
}

// load returns a copy of what a run of sectors holds by now.
func (p *replay) load(ctx context.Context, r run) ([]byte, error) {
	if r.at < 0 || r.at > p.j.v.size>>9-int64(r.n) {
		return nil, errLogDamaged
	}
	disk, err := p.j.v.pages.read(ctx, r.at<<9, int(r.n)<<9)
	if err != nil {
		return nil, err
	}
	b := bytes.Clone(disk)
	for i := range int64(r.n) {
		if s := p.overlay[r.at+i]; s != nil {
			copy(b[i<<9:], s)
		}
	}
	return b, nil
}

func (p *replay) touched(r run) bool {
	for i := range int64(r.n) {
		if p.overlay[r.at+i] != nil {
			return true
		}
	}
	return false
}

// store puts b into the overlay, all of it, so that checksums are trusted or
// not for whole blocks.
func (p *replay) store(r run, b []byte) error {
	for i := range int64(r.n) {
		s := p.overlay[r.at+i]
		if s == nil {
			if len(p.overlay) == maxOverlay {
				return fmt.Errorf("it changes more than %d MiB", maxOverlay*logSector>>20)
			}
			s = make([]byte, logSector)
			p.overlay[r.at+i] = s
		}
		copy(s, b[i<<9:])
	}
	return nil
}

// patch writes b at a byte offset.
func (p *replay) patch(ctx context.Context, off int64, b []byte) error {
	first, last := off>>9, (off+int64(len(b))-1)>>9
	r := run{first, uint32(last - first + 1)}
	have, err := p.load(ctx, r)
	if err != nil {
		return err
	}
	copy(have[off-first<<9:], b)
	return p.store(r, have)
}
