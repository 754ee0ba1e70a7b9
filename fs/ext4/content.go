package ext4

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"vitrine/fs/disk"
)

// content is the bytes of a file. It is safe for concurrent use.
type content struct {
	fsys   *FS
	inode  *inode
	inline []byte               // all of it, when it is stored in the inode
	last   atomic.Pointer[leaf] // used last
}

// readAt fills p from off on, as io.ReaderAt does.
func (c *content) readAt(ctx context.Context, p []byte, off int64) (int, error) {
	n, end := disk.Clip(len(p), off, c.inode.size)
	p = p[:n]
	if c.inode.has(flagInlineData) {
		return copy(p, c.inline[min(off, int64(len(c.inline))):]), end
	}
	done := 0
	for done < n {
		got, err := c.readRun(ctx, p[done:], off+int64(done))
		done += got
		if err != nil {
			return done, err
		}
	}
	return done, end
}

// readRun reads what lies together from off on, or zeros up to the next data.
func (c *content) readRun(ctx context.Context, p []byte, off int64) (int, error) {
	v := &c.fsys.volume
	block := uint64(off / v.blockSize)
	l := c.last.Load()
	r, err := c.fsys.nextRun(ctx, c.inode, &l, block, written)
	if err == io.EOF {
		clear(p)
		return len(p), nil
	}
	if err != nil {
		return 0, fmt.Errorf("ext4: read %s at %d: %w", c.inode, off, err)
	}
	c.last.Store(l)
	if r.first > block {
		gap := min(int64(len(p)), int64(r.first)*v.blockSize-off)
		clear(p[:gap])
		return int(gap), nil
	}
	skip := off - int64(r.first)*v.blockSize
	n := min(int64(len(p)), int64(r.count)*v.blockSize-skip)
	if err := v.readAt(ctx, p[:n], int64(r.block)*v.blockSize+skip); err != nil {
		return 0, fmt.Errorf("ext4: read %s at %d: %w", c.inode, off, err)
	}
	return int(n), nil
}

// nextData returns the next stretch that was written, as disk.Disk does.
func (c *content) nextData(ctx context.Context, off int64) (start, end int64, err error) {
	if off < 0 {
		return 0, 0, errInvalidOff
	}
	if off >= c.inode.size {
		return 0, 0, io.EOF
	}
	if c.inode.has(flagInlineData) {
		return off, c.inode.size, nil
	}
	blockSize := c.fsys.blockSize
	l := c.last.Load()
	r, err := c.fsys.nextRun(ctx, c.inode, &l, uint64(off/blockSize), written)
	if err != nil {
		return 0, 0, err
	}
	c.last.Store(l)
	return max(off, int64(r.first)*blockSize), min(int64(r.end())*blockSize, c.inode.size), nil
}
