package vhdx

import (
	"context"
	"sync"
)

const (
	pieceBytes = 32 * kib
	maxPieces  = 64
)

// cache keeps some aligned pieces of the file: of the BAT, which can be half a
// GiB, and of bitmaps. It is safe for concurrent use.
type cache struct {
	file *view

	mu     sync.Mutex // guards what follows, never held while reading
	pieces map[int64]*piece
	clock  uint64
}

type piece struct {
	data []byte // never changes
	used uint64
}

// piece returns the piece that holds the byte at off, which begins at
// off/pieceBytes*pieceBytes.
func (c *cache) piece(ctx context.Context, off int64) ([]byte, error) {
	off = off / pieceBytes * pieceBytes
	c.mu.Lock()
	c.clock++
	if p := c.pieces[off]; p != nil {
		p.used = c.clock
		c.mu.Unlock()
		return p.data, nil
	}
	c.mu.Unlock()

	data := make([]byte, pieceBytes)
	if err := c.file.read(ctx, data, off); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pieces) >= maxPieces {
		c.dropOldest()
	}
	if c.pieces == nil {
		c.pieces = make(map[int64]*piece)
	}
	c.pieces[off] = &piece{data: data, used: c.clock}
	return data, nil
}

func (c *cache) dropOldest() {
	oldest, used := int64(-1), uint64(0)
	for off, p := range c.pieces {
		if oldest < 0 || p.used < used {
			oldest, used = off, p.used
		}
	}
	delete(c.pieces, oldest)
}

// cursor walks through a file's tables, holding on to the last piece.
type cursor struct {
	cache *cache
	ctx   context.Context
	at    int64
	data  []byte
}

// from returns the rest of a piece from off on: at least one byte, and as many
// as off is short of the next multiple of pieceBytes.
func (c *cursor) from(off int64) ([]byte, error) {
	if c.data == nil || off < c.at || off >= c.at+int64(len(c.data)) {
		data, err := c.cache.piece(c.ctx, off)
		if err != nil {
			return nil, err
		}
		c.at, c.data = off/pieceBytes*pieceBytes, data
	}
	return c.data[off-c.at:], nil
}
