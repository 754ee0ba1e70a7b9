package ext4

import (
	"container/list"
	"context"
	"fmt"
	"io"
	"sync"

	"vitrine/fs/disk"
)

const (
	// windowSize is how much is read at once for the sake of one block of
	// metadata: neighbours are wanted soon.
	windowSize = 32 << 10
	// cacheSize bounds the windows in memory.
	cacheSize = 16 << 20
)

// volume is the disk below the file system with the overlay on top.
type volume struct {
	r         io.ReaderAt
	size      int64
	blockSize int64
	overlay   overlay
	cache     cache
}

// readAt fills p from off on, with what the journal has newer in its place.
func (v *volume) readAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off > v.size-int64(len(p)) {
		return corrupt(fmt.Sprintf("%d bytes", len(p)), off, "they lie behind the end of the volume at byte %d", v.size)
	}
	if err := disk.ReadFull(ctx, v.r, p, off); err != nil {
		return fmt.Errorf("ext4: read %d bytes at %d: %w", len(p), off, err)
	}
	return v.overlay.apply(ctx, v, p, off)
}

// block returns one block of metadata. It belongs to the cache: nobody may
// change it.
func (v *volume) block(ctx context.Context, number uint64) ([]byte, error) {
	off := int64(number) * v.blockSize
	window := max(windowSize, v.blockSize)
	start := off - off%window
	if p := v.cache.get(start); p != nil && off-start+v.blockSize <= int64(len(p)) {
		return p[off-start : off-start+v.blockSize : off-start+v.blockSize], nil
	}
	if number >= 1<<48 || off > v.size-v.blockSize {
		return nil, corrupt(fmt.Sprintf("block %d", number), off, "it lies behind the end of the volume at byte %d", v.size)
	}
	whole := v.size - v.size%v.blockSize
	p := make([]byte, min(window, whole-start))
	if err := v.readAt(ctx, p, start); err == nil {
		v.cache.put(start, p)
		return p[off-start : off-start+v.blockSize : off-start+v.blockSize], nil
	}
	// A neighbour's damage is not this block's.
	p = make([]byte, v.blockSize)
	if err := v.readAt(ctx, p, off); err != nil {
		return nil, err
	}
	return p, nil
}

// cache keeps the windows used last, up to cacheSize bytes.
type cache struct {
	mu     sync.Mutex
	bytes  int
	recent list.List // of *window, the last one used in front
	byOff  map[int64]*list.Element
}

type window struct {
	off  int64
	data []byte
}

func (c *cache) get(off int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byOff[off]
	if e == nil {
		return nil
	}
	c.recent.MoveToFront(e)
	return e.Value.(*window).data
}

func (c *cache) put(off int64, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byOff == nil {
		c.byOff = make(map[int64]*list.Element)
	}
	if c.byOff[off] != nil {
		return
	}
	c.byOff[off] = c.recent.PushFront(&window{off, data})
	c.bytes += len(data)
	for c.bytes > cacheSize {
		last := c.recent.Back()
		w := c.recent.Remove(last).(*window)
		delete(c.byOff, w.off)
		c.bytes -= len(w.data)
	}
}
