package vmconfig

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
	"unicode/utf16"
)

// Key tables hold the tree: each entry names its parent by table and offset.
const (
	keySignature = 0x0002
	keyHeader    = 10
	entryHeader  = 21

	typeFree   = 1
	typeInt    = 3
	typeUint   = 4
	typeFloat  = 5
	typeString = 6
	typeBytes  = 7
	typeBool   = 8
	typeNode   = 9

	flagFile = 0x01 // the value is a pointer to a file object
)

type keyTable struct {
	sequence uint16
	off      int64
	data     []byte
}

// place is where an entry lies: the index of its table and the offset there.
type place struct {
	table uint16
	off   uint32
}

type entry struct {
	node     *Node
	place    place
	parent   place
	inserted uint32
	at       int64 // in the file
	inner    bool  // can have children
}

// readKeys joins the entries of all key tables to a tree.
func (c *container) readKeys() (*Node, error) {
	tables, err := c.readKeyTables()
	if err != nil {
		return nil, err
	}
	var all []*entry
	places := make(map[place]*entry)
	for _, index := range slices.Sorted(maps.Keys(tables)) {
		entries, err := c.readEntries(index, tables[index], maxNodes-len(all))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			places[e.place] = e
		}
		all = append(all, entries...)
	}

	slices.SortStableFunc(all, func(a, b *entry) int { return cmp.Compare(a.inserted, b.inserted) })
	root := &Node{}
	for _, e := range all {
		parent := root
		if e.parent.table != 0 {
			p := places[e.parent]
			if p == nil || !p.inner {
				return nil, &CorruptError{e.at, fmt.Sprintf("%q has no parent", e.node.Name)}
			}
			parent = p.node
		}
		parent.Children = append(parent.Children, e.node)
	}
	n, deep := count(root, 0)
	if deep {
		return nil, &CorruptError{tableStart, "tree is too deep"}
	}
	if n != len(all) {
		return nil, &CorruptError{tableStart, "entries are each other's parents"}
	}
	return root, nil
}

// count counts the nodes below n and tells whether they lie too deep. What
// hangs in a cycle is not below the root and ends nobody's walk.
func count(n *Node, depth int) (int, bool) {
	if depth > maxDepth {
		return 0, true
	}
	total := len(n.Children)
	for _, c := range n.Children {
		k, deep := count(c, depth+1)
		if deep {
			return 0, true
		}
		total += k
	}
	return total, false
}

// readKeyTables returns the current key table of each index.
func (c *container) readKeyTables() (map[uint16]keyTable, error) {
	tables := make(map[uint16]keyTable)
	var total uint64
	for _, o := range c.objects {
		if o.kind != objectKeyTable {
			continue
		}
		if total += uint64(o.size); total > maxKeyBytes {
			return nil, &CorruptError{int64(o.offset), "key tables are too large"}
		}
		b, err := c.r.bytes(o.offset, uint64(o.size), "key table")
		if err != nil {
			return nil, err
		}
		le := binary.LittleEndian
		if len(b) < keyHeader || le.Uint16(b) != keySignature {
			return nil, &CorruptError{int64(o.offset), "no key table"}
		}
		if !checksumOK(b[:keyHeader], 6) {
			return nil, &CorruptError{int64(o.offset), "checksum of a key table"}
		}
		index, t := le.Uint16(b[2:]), keyTable{le.Uint16(b[4:]), int64(o.offset), b}
		if index == 0 {
			return nil, &CorruptError{int64(o.offset), "key table with index 0"}
		}
		if old, ok := tables[index]; !ok || newer(t.sequence, old.sequence) {
			tables[index] = t
		}
	}
	return tables, nil
}

func (c *container) readEntries(index uint16, t keyTable, room int) ([]*entry, error) {
	var entries []*entry
	le := binary.LittleEndian
	for off := keyHeader; off+entryHeader <= len(t.data); {
		b, at := t.data[off:], t.off+int64(off)
		size := le.Uint32(b[2:])
		if size == 0 && b[0] == 0 {
			break
		}
		if size < entryHeader || uint64(size) > uint64(len(b)) {
			return nil, &CorruptError{at, fmt.Sprintf("entry of %d bytes", size)}
		}
		if b[0] == typeFree {
			// Parent and checksum of a free entry are zero.
			if string(b[6:16]) != string(make([]byte, 10)) {
				return nil, &CorruptError{at, "free entry is in use"}
			}
		} else {
			if len(entries) == room {
				return nil, &CorruptError{at, "too many entries"}
			}
			e, err := c.readEntry(b[:size], at)
			if err != nil {
				return nil, err
			}
			e.place = place{index, uint32(off)}
			entries = append(entries, e)
		}
		off += int(size)
	}
	return entries, nil
}

// readEntry decodes one entry: header, name ending in NUL, value, slack.
func (c *container) readEntry(b []byte, at int64) (*entry, error) {
	le := binary.LittleEndian
	nameLen := int(b[20])
	if nameLen == 0 || entryHeader+nameLen > len(b) || b[entryHeader+nameLen-1] != 0 {
		return nil, &CorruptError{at, "name of an entry"}
	}
	name := string(b[entryHeader : entryHeader+nameLen-1])
	if !validName(name) {
		return nil, &CorruptError{at, "name of an entry"}
	}
	e := &entry{
		node:     &Node{Name: name},
		parent:   place{le.Uint16(b[6:]), le.Uint32(b[8:])},
		inserted: le.Uint32(b[16:]),
		at:       at,
		inner:    b[0] == typeNode,
	}
	kind, flags, raw := b[0], b[1], b[entryHeader+nameLen:]
	used, err := usedBytes(kind, flags, raw)
	if err != nil {
		return nil, &CorruptError{at, fmt.Sprintf("%q: %v", name, err)}
	}
	if crc32.Update(entryChecksum(b[:entryHeader]), crc32.IEEETable, b[entryHeader:entryHeader+nameLen+used]) != le.Uint32(b[12:]) {
		return nil, &CorruptError{at, fmt.Sprintf("checksum of %q", name)}
	}
	if flags&flagFile != 0 && kind != typeNode {
		e.node.Value, err = c.readObject(kind, raw, at)
		return e, err
	}
	e.node.Value, err = decodeValue(kind, raw[:used])
	if err != nil {
		return nil, &CorruptError{at, fmt.Sprintf("%q: %v", name, err)}
	}
	return e, nil
}

func entryChecksum(head []byte) uint32 {
	c := crc32.ChecksumIEEE(head[:12])
	c = crc32.Update(c, crc32.IEEETable, make([]byte, 4))
	return crc32.Update(c, crc32.IEEETable, head[16:])
}

// usedBytes says how much of raw belongs to the value, the rest being slack.
func usedBytes(kind, flags byte, raw []byte) (int, error) {
	var n int64
	switch {
	case kind == typeNode, flags&flagFile != 0:
		n = 12
	case kind == typeInt, kind == typeUint, kind == typeFloat:
		n = 8
	case kind == typeBool:
		n = 4
	case kind == typeString, kind == typeBytes:
		if len(raw) < 4 {
			return 0, fmt.Errorf("value is cut off")
		}
		n = 4 + int64(binary.LittleEndian.Uint32(raw))
	default:
		return 0, fmt.Errorf("value of unknown type %d", kind)
	}
	if n > int64(len(raw)) {
		return 0, fmt.Errorf("value is cut off")
	}
	return int(n), nil
}

func decodeValue(kind byte, b []byte) (any, error) {
	le := binary.LittleEndian
	switch kind {
	case typeInt:
		return int64(le.Uint64(b)), nil
	case typeUint:
		return le.Uint64(b), nil
	case typeFloat:
		return math.Float64frombits(le.Uint64(b)), nil
	case typeBool:
		return le.Uint32(b) != 0, nil
	case typeBytes:
		return b[4:], nil
	case typeString:
		return decodeUTF16(b[4:])
	}
	return nil, nil
}

func decodeUTF16(b []byte) (string, error) {
	if len(b)%2 != 0 {
		return "", fmt.Errorf("string of an odd length")
	}
	u := make([]uint16, len(b)/2)
	for i := range u {
		u[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return string(utf16.Decode(u)), nil
}

// maxText is the longest string read from a file object.
const maxText = 1 << 20

// readObject resolves the pointer to a file object, which has to be listed in
// an object table.
func (c *container) readObject(kind byte, raw []byte, at int64) (any, error) {
	size, off := binary.LittleEndian.Uint32(raw), binary.LittleEndian.Uint64(raw[4:])
	if room, ok := c.files[off]; !ok || size > room {
		return nil, &CorruptError{at, "value lies in no file object"}
	}
	if kind != typeString {
		return &Object{io.NewSectionReader(c.r, int64(off), int64(size))}, nil
	}
	if size > maxText {
		return nil, &CorruptError{at, "string is too long"}
	}
	b, err := c.r.bytes(off, uint64(size), "string")
	if err != nil {
		return nil, err
	}
	s, err := decodeUTF16(b)
	if err != nil {
		return nil, &CorruptError{at, err.Error()}
	}
	return s, nil
}
