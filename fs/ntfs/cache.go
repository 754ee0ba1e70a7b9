package ntfs

import (
	"container/list"
	"sync"
)

type kind uint8

const (
	mftBlock    kind = iota // []byte, bytes of $MFT as they stand
	indexBlock              // []byte, fixups undone
	unitBlock               // []byte, a compression unit decompressed
	packedBlock             // []byte, a packed chunk of WOF unpacked
	openDir                 // *directory
)

// cacheKey names what is cached: of which record, and which part of it.
type cacheKey struct {
	kind   kind
	record uint64
	typ    uint32 // of an attribute, with its name
	name   string
	part   int64
}

// cache keeps what was used last, up to a number of bytes. Values are shared:
// nobody writes to them.
type cache struct {
	mu    sync.Mutex
	left  int64
	byKey map[cacheKey]*list.Element
	order list.List // most recently used first
}

type cached struct {
	key   cacheKey
	value any
	cost  int64
}

func newCache(bytes int64) *cache {
	return &cache{left: bytes, byKey: make(map[cacheKey]*list.Element)}
}

func (c *cache) get(k cacheKey) (any, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.byKey[k]
	if !ok {
		return nil, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached).value, true
}

func (c *cache) put(k cacheKey, value any, cost int64) {
	cost += 128 // what an entry itself takes
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.byKey[k]; ok {
		return
	}
	c.left -= cost
	c.byKey[k] = c.order.PushFront(&cached{k, value, cost})
	for c.left < 0 {
		last := c.order.Back()
		old := c.order.Remove(last).(*cached)
		delete(c.byKey, old.key)
		c.left += old.cost
	}
}
