package repo

import (
	"sync"
	"sync/atomic"
)

// chunk is a decoded chunk in a buffer that is used again once nobody reads
// it: the cache and every reader hold a reference.
type chunk struct {
	data []byte
	refs atomic.Int32
	pool *chunkPool
}

func (c *chunk) release() {
	if c.refs.Add(-1) == 0 {
		c.pool.put(c.data)
	}
}

// chunkPool keeps buffers of decoded chunks by size.
type chunkPool struct {
	classes [maxChunkPages * pageSize / chunkClass]sync.Pool
}

const chunkClass = 16 << 10

// get gives an empty buffer with room for n bytes.
func (p *chunkPool) get(n int) []byte {
	k := (n - 1) / chunkClass
	if n <= 0 || k >= len(p.classes) {
		return make([]byte, 0, n)
	}
	if b, ok := p.classes[k].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, (k+1)*chunkClass)
}

func (p *chunkPool) put(b []byte) {
	if k := cap(b)/chunkClass - 1; cap(b)%chunkClass == 0 && k >= 0 && k < len(p.classes) {
		p.classes[k].Put(&b)
	}
}

// chunkCache keeps decoded chunks and knows which are on their way, so that
// no chunk is fetched twice at a time.
type chunkCache struct {
	pool chunkPool

	mu      sync.Mutex
	chunks  *lru[Address, *chunk]
	flights map[Address]*chunkFlight

	hits, misses, fetched int64
}

// chunkFlight is a chunk on its way. Its fields are guarded by the cache's
// lock; chunk and err do not change once done is closed.
type chunkFlight struct {
	done    chan struct{}
	waiting int32 // readers that will take a reference
	chunk   *chunk
	err     error
}

func newChunkCache(limit int64) *chunkCache {
	c := &chunkCache{chunks: newLRU[Address, *chunk](limit), flights: map[Address]*chunkFlight{}}
	c.chunks.evicted = (*chunk).release
	return c
}

// claim gives a cached chunk, or the flight that brings it; mine is true when
// the caller has to fly it. With wait, the caller must release the chunk or,
// for a flight, release its chunk when it is done or abandon it.
func (c *chunkCache) claim(a Address, wait bool) (ch *chunk, f *chunkFlight, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.chunks.get(a); ok {
		c.hits++
		if wait {
			ch.refs.Add(1)
		}
		return ch, nil, false
	}
	f, ok := c.flights[a]
	if ok {
		c.hits++
	} else {
		c.misses++
		f = &chunkFlight{done: make(chan struct{})}
		c.flights[a] = f
	}
	if wait {
		f.waiting++
	}
	return nil, f, !ok
}

// land ends a flight.
func (c *chunkCache) land(a Address, f *chunkFlight, data []byte, err error) {
	c.mu.Lock()
	delete(c.flights, a)
	if f.err = err; err == nil {
		f.chunk = &chunk{data: data, pool: &c.pool}
		f.chunk.refs.Store(f.waiting + 1)
		if !c.chunks.add(a, f.chunk, int64(cap(data))+128) {
			f.chunk.release()
		}
		c.fetched += int64(len(data))
	}
	c.mu.Unlock()
	close(f.done)
}

// abandon is for a reader that does not wait for a flight any longer.
func (c *chunkCache) abandon(f *chunkFlight) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case f.chunk != nil:
		f.chunk.release()
	case f.err == nil:
		f.waiting--
	}
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
