package fat

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"vitrine/fs/disk"
)

const (
	entrySize   = 32
	streamBatch = 64 << 10

	attrReadOnly = 0x01
	attrLabel    = 0x08
	attrDir      = 0x10
	attrLong     = 0x0f

	deleted = 0xe5
)

// stream reads the entries of a directory one by one.
type stream struct {
	v     *FS
	n     node
	chain *chain
	off   int64 // of the next batch
	batch []byte
	at    int // of the next entry in batch
	place int64
	ended bool
}

func (v *FS) stream(n node) *stream { return &stream{v: v, n: n, chain: v.chain(n)} }

// next returns the next entry and its place, or nil at the end.
func (s *stream) next(ctx context.Context) ([]byte, int64, error) {
	if s.ended {
		return nil, 0, nil
	}
	if s.at == len(s.batch) {
		if err := s.load(ctx); err != nil {
			s.ended = true
			return nil, 0, err
		}
	}
	if len(s.batch) == 0 || s.batch[s.at] == 0 {
		s.ended = true
		return nil, 0, nil
	}
	e, place := s.batch[s.at:s.at+entrySize], s.place+int64(s.at)
	s.at += entrySize
	return e, place, nil
}

// told returns where the entry that next returned last lies in the directory.
func (s *stream) told() int64 { return s.off - int64(len(s.batch)-s.at) - entrySize }

// load reads the next batch; an empty one is the end.
func (s *stream) load(ctx context.Context) error {
	g := &s.v.g
	s.batch, s.at = nil, 0
	if s.n.id == rootID && g.rootSize > 0 {
		n := min(g.rootSize-s.off, streamBatch)
		if n <= 0 {
			return nil
		}
		s.batch, s.place = make([]byte, n), g.rootOff+s.off
		s.off += n
		return disk.ReadFull(ctx, s.v.r, s.batch, s.place)
	}
	if err := s.chain.check(ctx); err != nil {
		return err
	}
	index := s.off / g.cluster
	if index >= s.chain.good {
		return s.chain.damage
	}
	cluster, n, err := s.chain.locate(ctx, index)
	if err != nil {
		return err
	}
	in := s.off % g.cluster
	size := min(n*g.cluster-in, streamBatch)
	if g.kind == exfat && s.n.id != rootID {
		size = min(size, s.n.size-s.off)
	}
	if size < entrySize {
		return nil
	}
	s.place = g.place(cluster) + in
	size = min(size, windowSize-s.place%windowSize) // the cache gives that without copying
	size -= size % entrySize
	s.off += size
	s.batch, err = s.v.pages.read(ctx, s.place, int(size))
	return err
}

// cursor streams the nodes of a directory.
type cursor struct {
	s     *stream
	begin int64 // where the entries of the last node begin in the directory
	done  bool
}

func (v *FS) cursor(n node) *cursor { return &cursor{s: v.stream(n)} }

// next returns the next node; done tells that there is none. After an error it
// goes on behind the damage.
func (c *cursor) next(ctx context.Context) (node, error) {
	var n node
	var err error
	if c.s.v.g.kind == exfat {
		n, err = c.exNode(ctx)
	} else {
		n, err = c.fatNode(ctx)
	}
	if n.name == "" && err == nil || c.s.ended {
		c.done = true
	}
	return n, err
}

// fatNode decodes the next node of FAT12, FAT16 and FAT32; none is left when
// it has no name.
func (c *cursor) fatNode(ctx context.Context) (node, error) {
	var long longName
	for {
		e, place, err := c.s.next(ctx)
		if e == nil || err != nil {
			return node{}, err
		}
		attr := e[11]
		if !long.live {
			c.begin = c.s.told()
		}
		switch {
		case e[0] == deleted:
			long = longName{}
			continue
		case attr&0x3f == attrLong:
			long.add(e)
			continue
		case attr&attrLabel != 0:
			long = longName{}
			continue
		}
		name, ok := long.take(e)
		if e[0] == '.' && !ok && (shortName(e, 0) == "." || shortName(e, 0) == "..") {
			continue
		}
		n := c.s.v.parseNode(e, place)
		if ok {
			n.name, n.short = name, n.name
		}
		if badName(n.name) {
			return node{}, damaged("directory entry", place, fmt.Sprintf("the name %q", n.name))
		}
		return n, nil
	}
}

// parseNode decodes an entry with a short name.
func (v *FS) parseNode(e []byte, place int64) node {
	u16, u32 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32
	n := node{
		name: shortName(e, e[12]), id: uint64(place) / entrySize, place: place,
		dir: e[11]&attrDir != 0, readOnly: e[11]&attrReadOnly != 0,
		size: int64(u32(e[28:])), first: uint32(u16(e[26:])),
		mtime: dosTime(u16(e[24:]), u16(e[22:]), 0, time.UTC),
		atime: dosTime(u16(e[18:]), 0, 0, time.UTC),
		btime: dosTime(u16(e[16:]), u16(e[14:]), e[13], time.UTC),
	}
	if v.g.kind == fat32 {
		n.first |= uint32(u16(e[20:])) << 16 & entryMask
	}
	if n.dir {
		n.size = 0
	}
	n.valid = n.size
	return n
}

// findLabel looks for the volume's name in the root directory.
func (v *FS) findLabel(ctx context.Context) (string, bool, error) {
	for s := v.stream(v.root); ; {
		e, _, err := s.next(ctx)
		if e == nil || err != nil {
			return "", false, err
		}
		if e[0] != deleted && e[11]&0x3f != attrLong && e[11]&(attrLabel|attrDir) == attrLabel {
			return decodeOEM(e[:11]), true, nil
		}
	}
}

// all returns all nodes of a directory, and the first error met on the way.
func (v *FS) all(ctx context.Context, dir node) ([]dirEntry, error) {
	var nodes []dirEntry
	var first error
	for c := v.cursor(dir); !c.done; {
		n, err := c.next(ctx)
		first = keep(first, err)
		if n.name != "" {
			nodes = append(nodes, dirEntry{n})
		}
	}
	return nodes, first
}

// keep returns the first error of two.
func keep(first, second error) error {
	if first != nil {
		return first
	}
	return second
}
