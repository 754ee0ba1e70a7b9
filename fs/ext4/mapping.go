package ext4

import (
	"context"
	"io"
)

// run is consecutive blocks of a file that lie together on the volume.
type run struct {
	first   uint64 // of the file
	count   uint64
	block   uint64 // on the volume
	written bool   // else it was only allocated, and reads as zeros
}

func (r run) end() uint64 { return r.first + r.count }

// leaf is every run between two blocks of a file, in order; what lies between
// the runs is a hole.
type leaf struct {
	first, end uint64
	runs       []run
}

func (l *leaf) holds(block uint64) bool { return l != nil && l.first <= block && block < l.end }

// find returns the index of the first run that ends behind block.
func (l *leaf) find(block uint64) int {
	low, high := 0, len(l.runs)
	for low < high {
		if mid := (low + high) / 2; l.runs[mid].end() > block {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low
}

// add appends a run, joined with the one before where that goes on.
func (l *leaf) add(r run) {
	if i := len(l.runs) - 1; i >= 0 {
		last := &l.runs[i]
		if last.end() == r.first && last.block+last.count == r.block && last.written == r.written {
			last.count += r.count
			return
		}
	}
	l.runs = append(l.runs, r)
}

// maxBlocks is how many blocks any file may have.
const maxBlocks = 1 << 32

// leafAt returns the leaf that holds a block of the file.
func (fsys *FS) leafAt(ctx context.Context, n *inode, block uint64) (*leaf, error) {
	if block >= maxBlocks {
		return nil, n.corrupt(n.off, "it is longer than any file can be")
	}
	var l *leaf
	var err error
	if n.has(flagExtents) {
		l, err = fsys.extentLeaf(ctx, n, block)
	} else {
		l, err = fsys.indirectLeaf(ctx, n, block)
	}
	if err != nil {
		return nil, err
	}
	return l, fsys.checkRuns(ctx, n, l)
}

// checkRuns refuses runs that a file cannot have: outside of the volume or in
// the file system's own tables.
func (fsys *FS) checkRuns(ctx context.Context, n *inode, l *leaf) error {
	if len(l.runs) == 0 {
		return nil
	}
	system, err := fsys.systemBlocks(ctx)
	if system == nil {
		return err
	}
	for _, r := range l.runs {
		if !fsys.super.holds(r.block, r.count) {
			return n.corrupt(n.off, "blocks %d and %d more do not exist", r.block, r.count-1)
		}
		if system.Overlaps(int64(r.block), int64(r.block+r.count)) {
			return n.corrupt(n.off, "blocks %d and %d more belong to the file system's own tables", r.block, r.count-1)
		}
	}
	return nil
}

// blockCount is how many blocks the size of the file covers.
func (fsys *FS) blockCount(n *inode) uint64 {
	return uint64((n.size + fsys.super.blockSize - 1) / fsys.super.blockSize)
}

// nextRun returns the first run at or behind block that accept takes, cut to
// begin at block and to end with the file; io.EOF behind the last.
func (fsys *FS) nextRun(ctx context.Context, n *inode, l **leaf, block uint64, accept func(run) bool) (run, error) {
	for count := fsys.blockCount(n); block < count; block = (*l).end {
		if err := ctx.Err(); err != nil {
			return run{}, err
		}
		if !(*l).holds(block) {
			found, err := fsys.leafAt(ctx, n, block)
			if err != nil {
				return run{}, err
			}
			*l = found
		}
		for _, r := range (*l).runs[(*l).find(block):] {
			if r.first >= count {
				return run{}, io.EOF
			}
			if !accept(r) {
				continue
			}
			if skip := max(block, r.first) - r.first; skip > 0 {
				r.first, r.block, r.count = r.first+skip, r.block+skip, r.count-skip
			}
			r.count = min(r.count, count-r.first)
			return r, nil
		}
	}
	return run{}, io.EOF
}

func written(r run) bool { return r.written }

func allocated(run) bool { return true }
