package fat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"vitrine/fs/disk"
)

// CorruptError says that a structure of a volume is damaged, and where.
type CorruptError struct {
	Object string
	Off    int64 // in bytes from the volume's first one
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("fat: %s at byte %d is damaged: %s", e.Object, e.Off, e.Reason)
}

func damaged(object string, off int64, reason string) error {
	return &CorruptError{object, off, reason}
}

func isDamage(err error) bool {
	var c *CorruptError
	return errors.As(err, &c)
}

const (
	windowSize  = 64 << 10
	windowCount = 128
)

// pages reads tables and directories through a cache of windows.
type pages struct {
	r    io.ReaderAt
	size int64

	mu      sync.Mutex
	windows map[int64]*window
	ring    [windowCount]*window // in a circle, for eviction: second chance
	hand    int
}

type window struct {
	at   int64
	data []byte
	used bool
}

func newPages(r io.ReaderAt, size int64) *pages {
	return &pages{r: r, size: size, windows: make(map[int64]*window)}
}

// read returns n bytes at off, which callers must not change.
func (c *pages) read(ctx context.Context, off int64, n int) ([]byte, error) {
	if off < 0 || n < 0 || off > c.size-int64(n) {
		return nil, fmt.Errorf("fat: read %d bytes at %d: %w", n, off, io.ErrUnexpectedEOF)
	}
	at := off - off%windowSize
	w, err := c.window(ctx, at)
	if err != nil {
		return nil, err
	}
	if off+int64(n) <= at+int64(len(w)) {
		return w[off-at : off-at+int64(n) : off-at+int64(n)], nil
	}
	b := append(make([]byte, 0, n), w[off-at:]...)
	for len(b) < n {
		at += windowSize
		if w, err = c.window(ctx, at); err != nil {
			return nil, err
		}
		b = append(b, w[:min(len(w), n-len(b))]...)
	}
	return b, nil
}

func (c *pages) window(ctx context.Context, at int64) ([]byte, error) {
	c.mu.Lock()
	if w := c.windows[at]; w != nil {
		w.used = true
		c.mu.Unlock()
		return w.data, nil
	}
	c.mu.Unlock()

	data := make([]byte, min(windowSize, c.size-at))
	if err := disk.ReadFull(ctx, c.r, data, at); err != nil {
		return nil, fmt.Errorf("fat: read %d bytes at %d: %w", len(data), at, err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.windows[at] == nil {
		c.put(&window{at: at, data: data})
	}
	return data, nil
}

// put places w where the hand of the clock finds a window that was not used
// since the hand passed it; c.mu is held.
func (c *pages) put(w *window) {
	for {
		old := c.ring[c.hand]
		if old != nil && old.used {
			old.used = false
			c.hand = (c.hand + 1) % windowCount
			continue
		}
		if old != nil {
			delete(c.windows, old.at)
		}
		c.ring[c.hand] = w
		c.windows[w.at] = w
		c.hand = (c.hand + 1) % windowCount
		return
	}
}
