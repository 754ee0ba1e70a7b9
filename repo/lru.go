package repo

import (
	"container/list"
	"sync"
)

// lru keeps the values used last, up to a number of bytes. It is not safe for
// concurrent use.
type lru[K comparable, V any] struct {
	limit, size int64
	order       *list.List // of *lruEntry, newest first
	entries     map[K]*list.Element
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	size  int64
}

func newLRU[K comparable, V any](limit int64) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), entries: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.entries[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

func (l *lru[K, V]) add(k K, v V, size int64) {
	if e, ok := l.entries[k]; ok {
		l.order.MoveToFront(e)
		return
	}
	l.entries[k] = l.order.PushFront(&lruEntry[K, V]{k, v, size})
	l.size += size
	for l.size > l.limit && l.order.Len() > 1 {
		e := l.order.Back()
		old := l.order.Remove(e).(*lruEntry[K, V])
		delete(l.entries, old.key)
		l.size -= old.size
	}
}

// chunkCache keeps decoded chunks and knows which are on their way, so that
// no chunk is fetched twice at a time.
type chunkCache struct {
	mu      sync.Mutex
	chunks  *lru[Address, []byte]
	flights map[Address]*chunkFlight

	hits, misses, fetched int64
}

// chunkFlight is a chunk on its way.
type chunkFlight struct {
	done chan struct{}
	data []byte
	err  error
}

func newChunkCache(limit int64) *chunkCache {
	return &chunkCache{chunks: newLRU[Address, []byte](limit), flights: map[Address]*chunkFlight{}}
}

// claim gives a cached chunk, or the flight that brings it; mine is true when
// the caller has to fly it.
func (c *chunkCache) claim(a Address) (data []byte, f *chunkFlight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b, ok := c.chunks.get(a); ok {
		c.hits++
		return b, nil, false
	}
	if f, ok := c.flights[a]; ok {
		c.hits++
		return nil, f, false
	}
	c.misses++
	f = &chunkFlight{done: make(chan struct{})}
	c.flights[a] = f
	return nil, f, true
}

// land ends a flight.
func (c *chunkCache) land(a Address, f *chunkFlight, data []byte, err error) {
	c.mu.Lock()
	f.data, f.err = data, err
	delete(c.flights, a)
	if err == nil {
		c.chunks.add(a, data, int64(len(data))+128)
		c.fetched += int64(len(data))
	}
	c.mu.Unlock()
	close(f.done)
}

// CacheStats tells what the cache of decoded chunks did.
type CacheStats struct {
	Limit   int64 `json:"limit"`   // bytes it may hold
	Size    int64 `json:"size"`    // bytes it holds
	Hits    int64 `json:"hits"`    // chunks found there or on their way
	Misses  int64 `json:"misses"`  // chunks fetched from the store
	Fetched int64 `json:"fetched"` // bytes decoded
}

// CacheStats tells what the cache of decoded chunks did so far.
func (r *Repo) CacheStats() CacheStats {
	c := r.reader.chunks
	c.mu.Lock()
	defer c.mu.Unlock()
	return CacheStats{Limit: c.chunks.limit, Size: c.chunks.size, Hits: c.hits, Misses: c.misses, Fetched: c.fetched}
}
