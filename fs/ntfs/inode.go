package ntfs

import (
	"errors"
	"fmt"
	"slices"
	"sort"
)

const (
	maxAttrList = 1 << 20 // Windows itself stops at 256 KiB
	refMask     = 1<<48 - 1
)

// inode is a file's base record with its attributes.
type inode struct {
	fs    *FS
	num   uint64
	seq   uint16
	links uint16 // as the header counts: with the names of DOS
	isDir bool
	base  []attr
	list  []listEntry // nil without $ATTRIBUTE_LIST
}

// listEntry says in which record a piece of an attribute is.
type listEntry struct {
	typ  uint32
	name string
	low  int64
	ref  uint64
	id   uint16
}

// inode loads the file that ref points to. A sequence number of 0 fits all.
func (f *FS) inode(ref uint64) (*inode, error) {
	num := ref & refMask
	b, err := f.record(num)
	if err != nil {
		return nil, err
	}
	n, err := parseInode(f, num, b)
	if err != nil {
		return nil, err
	}
	if seq := uint16(ref >> 48); seq != 0 && seq != n.seq {
		return nil, damage(recordName(num), "reference is of use %d, the record of use %d", seq, n.seq)
	}
	return n, n.loadList()
}

func parseInode(f *FS, num uint64, b []byte) (*inode, error) {
	flags := le.Uint16(b[22:])
	if flags&1 == 0 {
		return nil, damage(recordName(num), "not in use")
	}
	if base := le.Uint64(b[32:]); base != 0 {
		return nil, damage(recordName(num), "belongs to record %d", base&refMask)
	}
	attrs, err := attributes(b)
	if err != nil {
		return nil, damage(recordName(num), "%v", err)
	}
	return &inode{fs: f, num: num, seq: le.Uint16(b[16:]), links: le.Uint16(b[18:]), isDir: flags&2 != 0, base: attrs}, nil
}

// loadList reads the attribute list, if there is one.
func (n *inode) loadList() error {
	i := slices.IndexFunc(n.base, func(a attr) bool { return a.typ == atList })
	if i < 0 {
		return nil
	}
	raw := n.base[i].value
	if !n.base[i].resident {
		s, err := n.open(n.base[i : i+1])
		if err != nil {
			return err
		}
		if raw, err = s.readAll(maxAttrList); err != nil {
			return err
		}
	}
	list, err := parseList(raw)
	if err != nil {
		return damage(recordName(n.num), "%v", err)
	}
	n.list = list
	return nil
}

// parseList decodes an attribute list.
func parseList(b []byte) ([]listEntry, error) {
	list := make([]listEntry, 0, len(b)/32)
	for at := 0; at < len(b); {
		e := b[at:]
		if len(e) < 26 {
			return nil, fmt.Errorf("attribute list is cut off at %d", at)
		}
		size, name, nameAt := int(le.Uint16(e[4:])), 2*int(e[6]), int(e[7])
		if size < 26 || size > len(e) || name > 0 && (nameAt < 26 || nameAt+name > size) {
			return nil, fmt.Errorf("entry of %d bytes at %d of the attribute list", size, at)
		}
		x := listEntry{typ: le.Uint32(e), low: int64(le.Uint64(e[8:])), ref: le.Uint64(e[16:]), id: le.Uint16(e[24:])}
		if name > 0 {
			x.name = string(e[nameAt : nameAt+name])
		}
		list = append(list, x)
		at += size
	}
	return list, nil
}

// each calls fn for all attributes (or pieces) that want selects, wherever
// their records are, in the order of the list. Every record is read once.
func (n *inode) each(want func(typ uint32, name string) bool, fn func(attr) error) error {
	if n.list == nil {
		for _, a := range n.base {
			if want(a.typ, a.name) {
				if err := fn(a); err != nil {
					return err
				}
			}
		}
		return nil
	}
	var seen uint64 = n.num
	attrs := n.base
	for _, e := range n.list {
		if e.typ == atList || !want(e.typ, e.name) {
			continue
		}
		if num := e.ref & refMask; num != seen {
			var err error
			if attrs, err = n.extension(e.ref); err != nil {
				return err
			}
			seen = num
		}
		i := slices.IndexFunc(attrs, func(a attr) bool {
			return a.typ == e.typ && a.id == e.id && a.name == e.name && (a.resident || a.low == e.low)
		})
		if i < 0 {
			return damage(recordName(e.ref&refMask), "attribute %#x of record %d is not in it", e.typ, n.num)
		}
		if err := fn(attrs[i]); err != nil {
			return err
		}
	}
	return nil
}

// extension returns the attributes of a further record of the file.
func (n *inode) extension(ref uint64) ([]attr, error) {
	num := ref & refMask
	if num == n.num {
		return n.base, nil
	}
	b, err := n.fs.record(num)
	if err != nil {
		return nil, err
	}
	if base := le.Uint64(b[32:]); le.Uint16(b[22:])&1 == 0 || base&refMask != n.num || uint16(base>>48) != n.seq || le.Uint16(b[16:]) != uint16(ref>>48) {
		return nil, damage(recordName(num), "not a part of record %d", n.num)
	}
	attrs, err := attributes(b)
	if err != nil {
		return nil, damage(recordName(num), "%v", err)
	}
	return attrs, nil
}

// pieces returns the attribute of a type and name with all its pieces in the
// order of their VCNs; errNoAttribute when there is none.
func (n *inode) pieces(typ uint32, name string) ([]attr, error) {
	var all []attr
	err := n.each(func(t uint32, s string) bool { return t == typ && s == name }, func(a attr) error {
		all = append(all, a)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errNoAttribute
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].low < all[j].low })
	if all[0].resident && len(all) > 1 {
		return nil, damage(recordName(n.num), "two attributes %#x of one name", typ)
	}
	return all, nil
}

// head returns the first piece of an attribute without reading the others.
func (n *inode) head(typ uint32, name string) (attr, error) {
	var first attr
	found := errors.New("found")
	err := n.each(func(t uint32, s string) bool { return t == typ && s == name }, func(a attr) error {
		first = a
		if a.resident || a.low == 0 {
			return found
		}
		return nil
	})
	if err == found {
		return first, nil
	}
	if err == nil {
		err = errNoAttribute
	}
	return attr{}, err
}

// value returns a small attribute whole, resident or not.
func (n *inode) value(typ uint32, name string, limit int64) ([]byte, error) {
	s, err := n.stream(typ, name)
	if err != nil {
		return nil, err
	}
	return s.readAll(limit)
}

// stream opens an attribute for reading.
func (n *inode) stream(typ uint32, name string) (*stream, error) {
	p, err := n.pieces(typ, name)
	if err != nil {
		return nil, err
	}
	return n.open(p)
}

// open makes a stream of an attribute's pieces, in order.
func (n *inode) open(pieces []attr) (*stream, error) {
	a := &pieces[0]
	s := &stream{fs: n.fs, record: n.num, typ: a.typ, name: a.name}
	if a.resident {
		s.resident, s.value, s.size, s.init = true, a.value, int64(len(a.value)), int64(len(a.value))
		return s, nil
	}
	if err := s.begin(a); err != nil {
		return nil, err
	}
	for i := range pieces {
		if err := s.extend(&pieces[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}
