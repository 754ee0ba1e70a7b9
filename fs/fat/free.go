package fat

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"vitrine/fs/disk"
)

// Free yields the extents of the volume that it says are free, in order; after
// an error it ends, and nothing that came before is to be trusted.
func (v *FS) Free(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		isFree, err := v.freeTest(ctx)
		if err != nil {
			yield(disk.Extent{}, err)
			return
		}
		var open disk.Extent
		for c := uint32(2); c <= v.g.last; c++ {
			free, err := isFree(c)
			if err != nil {
				yield(disk.Extent{}, err)
				return
			}
			if !free {
				continue
			}
			at := v.g.place(c)
			if open.Len > 0 && open.End() == at {
				open.Len += v.g.cluster
				continue
			}
			if open.Len > 0 && !yield(open, nil) {
				return
			}
			open = disk.Extent{Off: at, Len: v.g.cluster}
		}
		if open.Len > 0 {
			yield(open, nil)
		}
	}
}

// freeTest returns a function that tells of clusters, asked in order, whether
// they are free.
func (v *FS) freeTest(ctx context.Context) (func(c uint32) (bool, error), error) {
	if v.doubt != "" {
		return nil, fmt.Errorf("fat: free space cannot be trusted: %s", v.doubt)
	}
	if v.g.kind == exfat {
		return v.bitmapTest(ctx)
	}
	if err := v.compareTables(ctx); err != nil {
		return nil, err
	}
	t := &table{v: v}
	return func(c uint32) (bool, error) {
		e, err := t.get(ctx, c)
		return e == 0, err
	}, nil
}

// compareTables refuses a volume whose two tables differ.
func (v *FS) compareTables(ctx context.Context) error {
	if v.g.mirror == 0 {
		return nil
	}
	used := entryPlace(v.g.kind, int64(v.g.last)+1)
	for at := int64(0); at < used; at += windowSize {
		n := int(min(used-at, windowSize))
		a, err := v.pages.read(ctx, v.g.table+at, n)
		if err != nil {
			return err
		}
		b, err := v.pages.read(ctx, v.g.mirror+at, n)
		if err != nil {
			return err
		}
		if !bytes.Equal(a, b) {
			return damaged("second table", v.g.mirror+at, "it differs from the first")
		}
	}
	return nil
}

// bitmapTest asks exFAT's allocation bitmap, which must have the volume's own
// structures in use.
func (v *FS) bitmapTest(ctx context.Context) (func(c uint32) (bool, error), error) {
	chain := v.chain(v.bitmap)
	batch := make([]byte, windowSize)
	from := int64(-1)
	isFree := func(c uint32) (bool, error) {
		bit := int64(c - 2)
		if at := bit / 8 / windowSize * windowSize; at != from {
			n := min(windowSize, v.bitmap.size-at)
			if _, err := chain.read(ctx, batch[:n], at); err != nil {
				return false, err
			}
			from = at
		}
		return batch[bit/8-from]>>(bit%8)&1 == 0, nil
	}
	for _, n := range []node{v.root, v.bitmap} {
		own := v.chain(n)
		if err := own.check(ctx); err != nil {
			return nil, err
		}
		for i := int64(0); i < own.good; i++ {
			c, _, err := own.locate(ctx, i)
			if err != nil {
				return nil, err
			}
			if free, err := isFree(c); free || err != nil {
				return nil, keep(err, damaged("allocation bitmap", v.g.place(c), fmt.Sprintf("cluster %d is free and in use", c)))
			}
		}
	}
	return isFree, nil
}
