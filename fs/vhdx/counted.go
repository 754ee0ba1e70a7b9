package vhdx

import (
	"context"
	"fmt"
	"io"
	"math/bits"
	"slices"

	"vitrine/fs/disk"
)

// counted is the disk.Blocks of a disk that does not know its own: one bit a
// block and a count for every 512 of them, 4.25 MiB for 64 TiB in blocks of
// 2 MiB.
type counted struct {
	block     int64
	allocated int64
	bits      []uint64
	before    []uint32 // allocated blocks before each group
}

const groupWords = 8

var _ disk.Blocks = (*counted)(nil)

// count walks through the data of a disk.
func count(ctx context.Context, d disk.Disk, block int64) (*counted, error) {
	blocks := (d.Size() + block - 1) / block
	c := &counted{block: block, bits: make([]uint64, roundUp((blocks+63)/64, groupWords))}
	for off := int64(0); off < d.Size(); {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start, end, err := d.NextData(off)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("vhdx: count blocks: %w", err)
		}
		if start < off || end <= start || end > d.Size() {
			return nil, fmt.Errorf("vhdx: count blocks: data from %d to %d behind %d of a disk of %d bytes", start, end, off, d.Size())
		}
		last := (end - 1) / block
		c.set(start/block, last+1)
		off = (last + 1) * block
	}

	c.before = make([]uint32, 0, len(c.bits)/groupWords)
	for group := range slices.Chunk(c.bits, groupWords) {
		c.before = append(c.before, uint32(c.allocated))
		for _, word := range group {
			c.allocated += int64(bits.OnesCount64(word))
		}
	}
	return c, nil
}

func (c *counted) set(first, end int64) {
	for b := first; b < end; {
		if b%64 == 0 && end-b >= 64 {
			c.bits[b/64] = ^uint64(0)
			b += 64
			continue
		}
		c.bits[b/64] |= 1 << (b % 64)
		b++
	}
}

func (c *counted) BlockSize() int64 { return c.block }

func (c *counted) Allocated() int64 { return c.allocated }

func (c *counted) Rank(_ context.Context, block int64) (int64, bool, error) {
	if block < 0 || block/64 >= int64(len(c.bits)) {
		return 0, false, fmt.Errorf("vhdx: rank of block %d", block)
	}
	word := block / 64
	group := word / groupWords
	n := int64(c.before[group])
	for _, w := range c.bits[group*groupWords : word] {
		n += int64(bits.OnesCount64(w))
	}
	w := c.bits[word]
	return n + int64(bits.OnesCount64(w&(1<<(block%64)-1))), w>>(block%64)&1 == 1, nil
}

func (c *counted) Select(_ context.Context, n int64) (int64, error) {
	if n < 0 || n >= c.allocated {
		return 0, fmt.Errorf("vhdx: select block %d of %d", n, c.allocated)
	}
	// The first group with more than n before it follows the one with block n.
	group, _ := slices.BinarySearch(c.before, uint32(n)+1)
	group--
	rest := n - int64(c.before[group])
	for word := group * groupWords; ; word++ {
		w := c.bits[word]
		if ones := int64(bits.OnesCount64(w)); rest >= ones {
			rest -= ones
			continue
		}
		for range rest {
			w &= w - 1
		}
		return int64(word)*64 + int64(bits.TrailingZeros64(w)), nil
	}
}
