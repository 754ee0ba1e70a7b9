package ntfs

import (
	"errors"
	"fmt"
	iofs "io/fs"
)

const (
	maxDepth    = 32 // of an index tree; Windows needs 4 for millions of names
	maxBitmap   = 4 << 20
	entryNode   = 1
	entryLast   = 2
	nameDOS     = 2
	indexWindow = 256 << 10
)

var i30 = encode("$I30", false)

// directory is the index of a directory's names.
type directory struct {
	fs     *FS
	num    uint64
	root   []byte  // index header and entries of $INDEX_ROOT
	blocks *stream // $INDEX_ALLOCATION, nil in small directories
	block  int64   // bytes of a block
	vcn    int64   // bytes that a block's number counts
	used   []byte  // bitmap of the blocks
}

// openDir returns the index of the directory n.
func (n *inode) openDir() (*directory, error) {
	key := cacheKey{kind: openDir, record: n.num}
	if v, ok := n.fs.cache.get(key); ok {
		return v.(*directory), nil
	}
	root, err := n.head(atIndexRoot, i30)
	if err != nil {
		return nil, n.lacks("an index of names", err)
	}
	if !root.resident || len(root.value) < 32 {
		return nil, damage(recordName(n.num), "index root of %d bytes", len(root.value))
	}
	d := &directory{fs: n.fs, num: n.num, root: root.value[16:], block: int64(le.Uint32(root.value[8:]))}
	if typ := le.Uint32(root.value); typ != atFileName || d.block < 512 || d.block > maxBlock || d.block&(d.block-1) != 0 {
		return nil, damage(recordName(n.num), "index of type %#x with blocks of %d bytes", typ, d.block)
	}
	if d.vcn = n.fs.geo.cluster; d.vcn > d.block {
		d.vcn = 512
	}
	cost := int64(len(root.value))
	switch d.blocks, err = n.stream(atIndexAlloc, i30); {
	case err == nil:
		if d.blocks.resident || d.blocks.unit > 0 {
			return nil, damage(recordName(n.num), "index blocks that are resident or compressed")
		}
		if d.used, err = n.value(atBitmap, i30, maxBitmap); err != nil {
			return nil, n.lacks("a bitmap of its index", err)
		}
		cost += int64(len(d.used) + 16*len(d.blocks.list.runs))
	case !errors.Is(err, errNoAttribute):
		return nil, err
	}
	n.fs.cache.put(key, d, cost)
	return d, nil
}

func (n *inode) lacks(what string, err error) error {
	if errors.Is(err, errNoAttribute) {
		return damage(recordName(n.num), "directory without %s", what)
	}
	return err
}

// entry is a name in a directory.
type entry struct {
	ref   uint64
	flags uint16
	space uint8  // namespace
	name  string // UTF-16LE
	attrs uint32
	sub   int64 // number of the block with the names before this one
}

// entries calls fn for the entries of an index node, given from its header on;
// fn ends it by returning false.
func entries(b []byte, fn func(entry) bool) error {
	if len(b) < 16 {
		return errors.New("index node is cut off")
	}
	at, end := int(le.Uint32(b)), int(le.Uint32(b[4:]))
	if at < 16 || end < at || end > len(b) {
		return fmt.Errorf("index entries from %d to %d of %d", at, end, len(b))
	}
	for {
		if end-at < 16 {
			return errors.New("index entries without an end")
		}
		x := b[at:end]
		n, key := int(le.Uint16(x[8:])), int(le.Uint16(x[10:]))
		e := entry{ref: le.Uint64(x), flags: le.Uint16(x[12:])}
		rest := n - 16
		if e.flags&entryNode != 0 {
			rest -= 8
		}
		if n%8 != 0 || n > len(x) || rest < 0 {
			return fmt.Errorf("index entry of %d bytes at %d", n, at)
		}
		if e.flags&entryNode != 0 {
			e.sub = int64(le.Uint64(x[n-8:]))
		}
		if e.flags&entryLast == 0 {
			if key > rest || key < 66 || 66+2*int(x[16+64]) > key {
				return fmt.Errorf("index entry with a key of %d bytes at %d", key, at)
			}
			k := x[16 : 16+key]
			e.attrs, e.space = le.Uint32(k[56:]), k[65]
			e.name = string(k[66 : 66+2*int(k[64])])
		}
		if !fn(e) || e.flags&entryLast != 0 {
			return nil
		}
		at += n
	}
}

func (d *directory) object(block int64) string {
	return fmt.Sprintf("index block %d of MFT record %d", block, d.num)
}

// check undoes the fixups of block i and returns it from its header on.
func (d *directory) check(b []byte, i int64) ([]byte, error) {
	err := fixup(b, "INDX")
	if vcn := int64(le.Uint64(b[16:])); err == nil && vcn != i*(d.block/d.vcn) {
		err = fmt.Errorf("says to be at VCN %d", vcn)
	}
	if err != nil {
		at, _ := d.blocks.place(i * d.block)
		return nil, &DamageError{d.object(i), at, err.Error()}
	}
	return b[24:], nil
}

// inUse reports whether the bitmap marks block i.
func (d *directory) inUse(i int64) bool {
	return i/8 < int64(len(d.used)) && d.used[i/8]>>(i%8)&1 != 0
}

// node returns block i by way of the cache.
func (d *directory) node(i int64) ([]byte, error) {
	key := cacheKey{kind: indexBlock, record: d.num, part: i}
	if v, ok := d.fs.cache.get(key); ok {
		return v.([]byte), nil
	}
	if d.blocks == nil || i < 0 || i >= d.blocks.size/d.block || !d.inUse(i) {
		return nil, damage(d.object(i), "not in use")
	}
	b := make([]byte, d.block)
	if err := d.blocks.readFull(b, i*d.block); err != nil {
		return nil, err
	}
	b, err := d.check(b, i)
	if err != nil {
		return nil, err
	}
	d.fs.cache.put(key, b, d.block)
	return b, nil
}

// lookup finds a name (UTF-16LE) in the tree: as it is, or else one that
// differs in case only. The names next to where it should be are on the way.
func (d *directory) lookup(name string) (entry, error) {
	var near entry
	b := d.root
	for range maxDepth {
		var found, stop entry
		hit, fold := false, false
		err := entries(b, func(e entry) bool {
			if e.flags&entryLast != 0 {
				stop = e
				return false
			}
			folded, exact := d.fs.upcase.compare(name, e.name)
			if folded == 0 && exact == 0 {
				found, hit = e, true
				return false
			}
			if folded == 0 && !fold && (near.name == "" || near.space == nameDOS) {
				near, fold = e, true
			}
			if exact < 0 {
				stop = e
				return false
			}
			return true
		})
		switch {
		case err != nil:
			return entry{}, damage(fmt.Sprintf("index of MFT record %d", d.num), "%v", err)
		case hit:
			return found, nil
		case stop.flags&entryNode == 0:
			if near.name != "" {
				return near, nil
			}
			return entry{}, iofs.ErrNotExist
		}
		unit := d.block / d.vcn
		if stop.sub < 0 || stop.sub%unit != 0 {
			return entry{}, damage(fmt.Sprintf("index of MFT record %d", d.num), "leads to VCN %d", stop.sub)
		}
		if b, err = d.node(stop.sub / unit); err != nil {
			return entry{}, err
		}
	}
	return entry{}, damage(fmt.Sprintf("index of MFT record %d", d.num), "more than %d levels", maxDepth)
}

// scan walks over the names of a directory: the root, then every block in use
// in the order of the blocks, read many at a time. A tree is not needed for
// that, so none can lead in circles.
type scan struct {
	d      *directory
	next   int64 // -1 is the root
	window []byte
	first  int64 // block at which the window begins
}

func (d *directory) scan() *scan { return &scan{d: d, next: -1} }

// step calls fn for the names of the next node; done is true behind the last.
// After an error it can go on.
func (s *scan) step(fn func(entry)) (done bool, err error) {
	d := s.d
	i := s.next
	s.next++
	b := d.root
	if i >= 0 {
		if d.blocks == nil {
			return true, nil
		}
		n := d.blocks.size / d.block
		for i < n && !d.inUse(i) {
			i++
		}
		if s.next = i + 1; i >= n {
			s.window = nil
			return true, nil
		}
		raw, err := s.load(i, n)
		if err != nil {
			return false, err
		}
		if b, err = d.check(raw, i); err != nil {
			return false, err
		}
	}
	err = entries(b, func(e entry) bool {
		if e.flags&entryLast == 0 && e.space != nameDOS {
			fn(e)
		}
		return true
	})
	if err != nil {
		err = damage(d.object(i), "%v", err)
	}
	return false, err
}

// load returns the bytes of block i of n, with the blocks that follow read along.
func (s *scan) load(i, n int64) ([]byte, error) {
	size := s.d.block
	if at := (i - s.first) * size; s.window != nil && at+size <= int64(len(s.window)) {
		return s.window[at : at+size], nil
	}
	want := min(max(indexWindow/size, 1), n-i) * size
	if int64(cap(s.window)) < want {
		s.window = make([]byte, want)
	}
	s.window, s.first = s.window[:want], i
	if s.d.blocks.readFull(s.window, i*size) == nil {
		return s.window[:size], nil
	}
	s.window = s.window[:size] // a bad neighbour does not count
	err := s.d.blocks.readFull(s.window, i*size)
	b := s.window
	if err != nil {
		s.window = nil
	}
	return b, err
}
