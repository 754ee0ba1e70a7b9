package xfs

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
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
	return fmt.Sprintf("xfs: %s at byte %d is damaged: %s", e.Object, e.Off, e.Reason)
}

func damaged(object string, off int64, reason string) error {
	return &CorruptError{object, off, reason}
}

// checksumHolds reports whether b carries the CRC-32C of itself, little-endian,
// at byte at.
func checksumHolds(b []byte, at int) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	crc := crc32.Update(0, table, b[:at])
	crc = crc32.Update(crc, table, []byte{0, 0, 0, 0})
	return crc32.Update(crc, table, b[at+4:]) == binary.LittleEndian.Uint32(b[at:])
}

// layout tells where a kind of version 5 block carries what proves it to be
// itself.
type layout struct {
	crc, blkno, uuid, owner int
	owner32                 bool
}

func dataLayout() layout    { return layout{crc: 4, blkno: 8, uuid: 24, owner: 40} }
func daLayout() layout      { return layout{crc: 12, blkno: 16, uuid: 32, owner: 48} }
func longLayout() layout    { return layout{crc: 64, blkno: 24, uuid: 40, owner: 56} }
func shortLayout() layout   { return layout{crc: 52, blkno: 16, uuid: 32, owner: 48, owner32: true} }
func symlinkLayout() layout { return layout{crc: 12, blkno: 40, uuid: 16, owner: 32} }

// prove says why b, read at byte off of a version 5 volume, is no intact block
// of this volume that belongs there and to owner; "" if it is one. What the log's replay
// changed has no checksum: the log had one.
func (v *FS) prove(b []byte, off int64, l layout, owner uint64) (reason string) {
	if !v.sb.v5 {
		return ""
	}
	if !v.pages.replayed(off, len(b)) && !checksumHolds(b, l.crc) {
		return "wrong checksum"
	}
	if [16]byte(b[l.uuid:]) != v.sb.metaUUID {
		return "it belongs to another volume"
	}
	if at := binary.BigEndian.Uint64(b[l.blkno:]); at != uint64(off)>>9 {
		return fmt.Sprintf("it belongs to sector %d", at)
	}
	have := binary.BigEndian.Uint64(b[l.owner:])
	if l.owner32 {
		have >>= 32
	}
	if have != owner {
		return fmt.Sprintf("it belongs to %d, not to %d", have, owner)
	}
	return ""
}

const (
	windowSize  = 64 << 10
	windowCount = 128
)

// pages reads metadata through a cache of windows, and sees what the log's
// replay changed.
type pages struct {
	r    io.ReaderAt
	size int64

	mu      sync.Mutex
	windows map[int64]*window
	ring    [windowCount]*window // in a circle, for eviction: second chance
	hand    int

	overlay map[int64][]byte // sectors of 512 bytes; not changed after Open
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
		return nil, fmt.Errorf("xfs: read %d bytes at %d: %w", n, off, io.ErrUnexpectedEOF)
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
		return nil, fmt.Errorf("xfs: read %d bytes at %d: %w", len(data), at, err)
	}
	if len(c.overlay) > 0 {
		for i := 0; i+512 <= len(data); i += 512 {
			if s := c.overlay[(at+int64(i))>>9]; s != nil {
				copy(data[i:], s)
			}
		}
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

// forget drops all windows.
func (c *pages) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.windows)
	clear(c.ring[:])
}

// replayed reports whether the log's replay changed any of n bytes at off.
func (c *pages) replayed(off int64, n int) bool {
	if len(c.overlay) == 0 {
		return false
	}
	for s := off >> 9; s<<9 < off+int64(n); s++ {
		if c.overlay[s] != nil {
			return true
		}
	}
	return false
}
