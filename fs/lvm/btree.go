package lvm

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sort"
	"sync"

	"vitrine/fs/disk"
)

const (
	metaBlock   = 4096
	nodeHeader  = 32
	maxLevels   = 16
	cachedNodes = 1024
	nodeSalt    = 121107
	superSalt   = 160774
)

// metaChecksum is the checksum of a block of a pool's metadata.
func metaChecksum(b []byte, salt uint32) uint32 {
	return ^crc32.Checksum(b[4:], crc32.MakeTable(crc32.Castagnoli)) ^ salt
}

// tree reads the B-trees in a pool's metadata. It is safe for concurrent use.
type tree struct {
	d     disk.Disk
	mu    sync.Mutex
	cache map[int64]*bnode
}

// bnode is a node whose keys ascend; all values have 8 bytes.
type bnode struct {
	leaf   bool
	keys   []uint64
	values []uint64
}

func (t *tree) load(ctx context.Context, block uint64) (*bnode, error) {
	if block == 0 || block >= uint64(t.d.Size()/metaBlock) {
		return nil, damage("pool metadata: block %d is not there", block)
	}
	t.mu.Lock()
	n := t.cache[int64(block)]
	t.mu.Unlock()
	if n != nil {
		return n, nil
	}
	b := make([]byte, metaBlock)
	if err := disk.ReadFull(ctx, t.d, b, int64(block)*metaBlock); err != nil {
		return nil, fmt.Errorf("lvm: read pool metadata at %d: %w", block*metaBlock, err)
	}
	n, err := parseNode(b, block)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.cache) >= cachedNodes {
		// Any half goes: what is used comes back at once.
		for k := range t.cache {
			if rand.IntN(2) == 0 {
				delete(t.cache, k)
			}
		}
	}
	t.cache[int64(block)] = n
	return n, nil
}

func parseNode(b []byte, block uint64) (*bnode, error) {
	le := binary.LittleEndian
	flags, count, most, width := le.Uint32(b[4:]), le.Uint32(b[16:]), le.Uint32(b[20:]), le.Uint32(b[24:])
	switch {
	case metaChecksum(b, nodeSalt) != le.Uint32(b):
		return nil, damage("pool metadata: block %d: the checksum is wrong", block)
	case le.Uint64(b[8:]) != block:
		return nil, damage("pool metadata: block %d says to be block %d", block, le.Uint64(b[8:]))
	case flags != 1 && flags != 2:
		return nil, damage("pool metadata: block %d: flags %#x", block, flags)
	case width != 8 || most > (metaBlock-nodeHeader)/16 || count > most:
		return nil, damage("pool metadata: block %d: %d of %d values of %d bytes", block, count, most, width)
	}
	n := &bnode{leaf: flags == 2, keys: make([]uint64, count), values: make([]uint64, count)}
	for i := range n.keys {
		n.keys[i] = le.Uint64(b[nodeHeader+8*i:])
		n.values[i] = le.Uint64(b[nodeHeader+8*int(most)+8*i:])
		if i > 0 && n.keys[i] <= n.keys[i-1] {
			return nil, damage("pool metadata: block %d: its keys do not ascend", block)
		}
	}
	return n, nil
}

// seek returns the leaf that holds the first key at or behind key, and its
// place there; no leaf when there is none.
func (t *tree) seek(ctx context.Context, root, key uint64) (*bnode, int, error) {
	// Keys that were removed may leave a leaf with nothing behind key; the next
	// leaf then has one.
	for range maxLevels {
		n, next, more := (*bnode)(nil), uint64(0), false
		block := root
		for level := 0; ; level++ {
			if level == maxLevels {
				return nil, 0, damage("pool metadata: block %d: the tree is too deep", root)
			}
			var err error
			if n, err = t.load(ctx, block); err != nil {
				return nil, 0, err
			}
			if n.leaf {
				break
			}
			if len(n.keys) == 0 {
				return nil, 0, damage("pool metadata: block %d: an inner node without children", block)
			}
			i := max(sort.Search(len(n.keys), func(i int) bool { return n.keys[i] > key })-1, 0)
			if i+1 < len(n.keys) {
				next, more = n.keys[i+1], true
			}
			block = n.values[i]
		}
		i := sort.Search(len(n.keys), func(i int) bool { return n.keys[i] >= key })
		if i < len(n.keys) {
			return n, i, nil
		}
		if !more || next <= key {
			return nil, 0, nil
		}
		key = next
	}
	return nil, 0, damage("pool metadata: block %d: leaves without keys", root)
}

// get returns the value of key.
func (t *tree) get(ctx context.Context, root, key uint64) (v uint64, ok bool, err error) {
	n, i, err := t.seek(ctx, root, key)
	if err != nil || n == nil || n.keys[i] != key {
		return 0, false, err
	}
	return n.values[i], true, nil
}
