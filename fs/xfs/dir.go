package xfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"strings"

	iofs "io/fs"
)

// A directory's fork holds blocks of entries from its beginning, and an index
// by the hash of names from leafStart on.
const (
	leafStart  = 1 << 35
	freeStart  = 2 << 35
	freeTag    = 0xffff
	entryAlign = 8
)

// entry is what a directory says of a file.
type entry struct {
	name  string
	inode uint64
	kind  uint8 // type; 0 when the directory does not tell
}

// mode returns the type of the entry; ok is false when the directory does not
// tell.
func (e entry) mode() (m iofs.FileMode, ok bool) {
	switch e.kind {
	case 1:
		return 0, true
	case 2:
		return iofs.ModeDir, true
	case 3:
		return iofs.ModeDevice | iofs.ModeCharDevice, true
	case 4:
		return iofs.ModeDevice, true
	case 5:
		return iofs.ModeNamedPipe, true
	case 6:
		return iofs.ModeSocket, true
	case 7:
		return iofs.ModeSymlink, true
	}
	return 0, false
}

// directory reads the entries of a directory.
type directory struct {
	v    *FS
	n    *inode
	fork *fork
}

func (v *FS) directory(n *inode) *directory { return &directory{v, n, v.fork(n)} }

func (d *directory) object() string { return fmt.Sprintf("directory %d", d.n.number) }

// block reads the directory block at fork block blk, which e maps, and returns
// its place.
func (d *directory) block(ctx context.Context, blk uint64, e extent) ([]byte, int64, error) {
	sb := d.v.sb
	per := uint64(sb.dirSize >> sb.blockLog)
	first, ok := sb.place(e.start+blk-e.off, min(per, e.end()-blk))
	if !ok || d.n.realtime {
		return nil, 0, damaged(d.object(), 0, "a block outside the volume")
	}
	if e.end()-blk >= per {
		b, err := d.v.pages.read(ctx, first, int(sb.dirSize))
		return b, first, err
	}
	b := make([]byte, 0, sb.dirSize)
	for at := blk; at < blk+per; {
		e, ok, err := d.fork.find(ctx, at)
		if err != nil {
			return nil, first, err
		}
		if !ok || e.off > at {
			return nil, first, damaged(d.object(), first, "a hole inside a block")
		}
		n := min(e.end(), blk+per) - at
		off, _ := sb.place(e.start+at-e.off, n)
		part, err := d.v.pages.read(ctx, off, int(n<<sb.blockLog))
		if err != nil {
			return nil, first, err
		}
		b = append(b, part...)
		at += n
	}
	return b, first, nil
}

// data is a block of entries.
type data struct {
	b    []byte
	off  int64
	from int  // where the entries begin
	end  int  // where they end
	leaf bool // the index follows in the same block
}

// data reads the block of entries at fork block blk.
func (d *directory) data(ctx context.Context, blk uint64, e extent) (data, error) {
	b, off, err := d.block(ctx, blk, e)
	if err != nil {
		return data{}, err
	}
	x := data{b: b, off: off, from: 16, end: len(b)}
	single, many := "XD2B", "XD2D"
	if d.v.sb.v5 {
		single, many, x.from = "XDB3", "XDD3", 64
	}
	switch string(b[:4]) {
	case single:
		count := int64(binary.BigEndian.Uint32(b[len(b)-8:]))
		if count > int64(len(b)-x.from-8)/8 {
			return data{}, damaged(d.object(), off, fmt.Sprintf("an index of %d entries in one block", count))
		}
		x.leaf = true
		x.end = len(b) - 8 - 8*int(count)
	case many:
	default:
		return data{}, damaged(d.object(), off, "no signature")
	}
	if reason := d.v.prove(b, off, dataLayout(), d.n.number); reason != "" {
		return data{}, damaged(d.object(), off, reason)
	}
	return x, nil
}

// entry decodes the entry at byte at of x and returns where the next one
// begins; a free place gives no name.
func (d *directory) entry(x data, at int) (e entry, next int, err error) {
	bad := func(reason string) (entry, int, error) {
		return entry{}, 0, damaged(d.object(), x.off+int64(at), reason)
	}
	b := x.b[:x.end]
	if at < x.from || at > len(b)-entryAlign || at%entryAlign != 0 {
		return bad("an entry outside its block")
	}
	if binary.BigEndian.Uint16(b[at:]) == freeTag {
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		if n < entryAlign || n%entryAlign != 0 || n > len(b)-at {
			return bad(fmt.Sprintf("%d free bytes", n))
		}
		return entry{}, at + n, nil
	}
	kind := 0
	if d.v.sb.ftype {
		kind = 1
	}
	if len(b)-at < 2*entryAlign {
		return bad("an entry that is cut off")
	}
	length := int(b[at+8])
	size := (9 + length + kind + 2 + entryAlign - 1) &^ (entryAlign - 1)
	if length == 0 || size > len(b)-at {
		return bad(fmt.Sprintf("a name of %d bytes", length))
	}
	name := b[at+9 : at+9+length]
	e = entry{name: string(name), inode: binary.BigEndian.Uint64(b[at:])}
	if kind == 1 {
		e.kind = b[at+9+length]
	}
	if badName(name) {
		return entry{}, at + size, damaged(d.object(), x.off+int64(at), fmt.Sprintf("the name %q", name))
	}
	return e, at + size, nil
}

// badName reports whether a name cannot be one.
func badName(name []byte) bool {
	return len(name) == 0 || bytes.ContainsAny(name, "/\x00")
}

func isDot(name string) bool { return name == "." || name == ".." }

// short decodes the entries of a directory that lies inside its inode.
func (d *directory) short() ([]entry, error) {
	place, _ := d.v.sb.inodePlace(d.n.number)
	b := d.n.fork[:d.n.size]
	bad := damaged(d.object(), place, "the entries inside the inode are cut off")
	if len(b) < 6 {
		return nil, bad
	}
	count, wide := int(b[0]), 4
	if b[1] != 0 {
		wide = 8
	}
	kind := 0
	if d.v.sb.ftype {
		kind = 1
	}
	b = b[min(2+wide, len(b)):]
	entries := make([]entry, 0, count)
	for range count {
		if len(b) < 3 || len(b) < 3+int(b[0])+kind+wide {
			return entries, bad
		}
		length := int(b[0])
		name := b[3 : 3+length]
		e := entry{name: string(name)}
		b = b[3+length:]
		if kind == 1 {
			e.kind = b[0]
			b = b[1:]
		}
		if wide == 8 {
			e.inode = binary.BigEndian.Uint64(b)
		} else {
			e.inode = uint64(binary.BigEndian.Uint32(b))
		}
		b = b[wide:]
		if badName(name) {
			return entries, damaged(d.object(), place, fmt.Sprintf("the name %q", name))
		}
		if !isDot(e.name) {
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// cursor streams the entries of a directory in the order of its blocks.
type cursor struct {
	d    *directory
	blk  uint64          // next fork block
	seen map[uint64]bool // fsblocks that were read: none is mapped twice
	done bool
}

func (d *directory) cursor() *cursor { return &cursor{d: d, seen: make(map[uint64]bool)} }

// next returns the entries of the next block; done afterwards tells that it
// was the last one. After an error it goes on behind the damage.
func (c *cursor) next(ctx context.Context) ([]entry, error) {
	d := c.d
	if d.n.format == formatLocal {
		c.done = true
		return d.short()
	}
	e, ok, err := d.fork.find(ctx, c.blk)
	if err != nil {
		c.done = true
		return nil, err
	}
	c.blk = max(c.blk, e.off)
	if !ok || c.blk<<d.v.sb.blockLog >= leafStart {
		c.done = true
		return nil, nil
	}
	blk := c.blk
	c.blk += uint64(d.v.sb.dirSize >> d.v.sb.blockLog)
	at := e.start + blk - e.off
	if c.seen[at] {
		c.done = true
		return nil, damaged(d.object(), 0, fmt.Sprintf("fsblock %d is mapped twice", at))
	}
	c.seen[at] = true
	x, err := d.data(ctx, blk, e)
	if err != nil {
		return nil, err
	}
	var entries []entry
	var first error
	for at := x.from; at < x.end; {
		e, next, err := d.entry(x, at)
		if err != nil {
			first = keep(first, err)
			if next == 0 {
				break
			}
		}
		if e.name != "" && !isDot(e.name) {
			entries = append(entries, e)
		}
		at = next
	}
	return entries, first
}

// keep returns the first error of two.
func keep(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// all returns all entries, and the first error met on the way.
func (d *directory) all(ctx context.Context) ([]entry, error) {
	var entries []entry
	var first error
	for c := d.cursor(); !c.done; {
		more, err := c.next(ctx)
		first = keep(first, err)
		entries = append(entries, more...)
	}
	return entries, first
}

// lookup finds a name.
func (d *directory) lookup(ctx context.Context, name string) (entry, error) {
	if d.n.format == formatLocal || d.v.sb.foldCase {
		return d.scan(ctx, name)
	}
	return d.search(ctx, name)
}

// scan finds a name by reading the directory.
func (d *directory) scan(ctx context.Context, name string) (entry, error) {
	var first error
	for c := d.cursor(); !c.done; {
		entries, err := c.next(ctx)
		first = keep(first, err)
		for _, e := range entries {
			if e.name == name || d.v.sb.foldCase && foldASCII(e.name) == foldASCII(name) {
				return e, nil
			}
		}
	}
	if first != nil {
		return entry{}, first
	}
	return entry{}, iofs.ErrNotExist
}

func foldASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}
