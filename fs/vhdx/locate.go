package vhdx

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// Place says where some bytes of a presented file come from.
type Place struct {
	Len     int64 // bytes that come from there
	Payload bool  // they are the disk's; otherwise the file's own, or pad its last block
	Disk    int64 // where on the disk, when Payload
}

// Locate returns where the bytes of the file at off come from, n at most. At
// the end of the file it is an empty place.
func (f *File) Locate(ctx context.Context, off, n int64) (Place, error) {
	if off < 0 || n < 0 {
		return Place{}, fmt.Errorf("vhdx: locate %d bytes at %d", n, off)
	}
	if off >= f.Size() || n == 0 {
		return Place{}, nil
	}
	n = min(n, f.Size()-off)
	l := f.layout
	if off < l.dataOff() {
		return Place{Len: min(n, l.dataOff()-off)}, nil
	}
	b, err := f.known(ctx)
	if err != nil {
		return Place{}, err
	}
	slot, within := l.slotAt(off)
	block, err := f.selectBlock(ctx, b, slot)
	if err != nil {
		return Place{}, err
	}
	at := block*l.block + within
	if at >= f.disk.Size() {
		return Place{Len: min(n, l.block-within)}, nil
	}

	length := l.block - within
	for length < n {
		slot++
		next, err := f.selectBlock(ctx, b, slot)
		if err != nil {
			return Place{}, err
		}
		if next != block+1 {
			break
		}
		block = next
		length += l.block
	}
	return Place{Len: min(n, length, f.disk.Size()-at), Payload: true, Disk: at}, nil
}

func (f *File) selectBlock(ctx context.Context, b disk.Blocks, slot int64) (int64, error) {
	block, err := b.Select(ctx, slot)
	if err != nil {
		return 0, fmt.Errorf("vhdx: allocated block %d: %w", slot, err)
	}
	if block < slot || block >= f.layout.blocks() {
		return 0, fmt.Errorf("vhdx: allocated block %d is said to be block %d of %d", slot, block, f.layout.blocks())
	}
	return block, nil
}

// Prefetch tells the disk, if it wants to know, that bytes of the file will be
// read. It is advice: what goes wrong is left to the read.
func (f *File) Prefetch(off, n int64) {
	d, ok := f.disk.(interface{ Prefetch(off, n int64) })
	if !ok {
		return
	}
	for n > 0 {
		at, err := f.Locate(context.Background(), off, n)
		if err != nil || at.Len == 0 {
			return
		}
		if at.Payload {
			d.Prefetch(at.Disk, at.Len)
		}
		off += at.Len
		n -= at.Len
	}
}

const (
	filePage = 4 * kib

	// maxBATPages bounds the pages of the BAT that NextData makes one extent of.
	maxBATPages = 1024
)

// NextData returns the next extent of the file that may hold something other
// than zeros, as disk.Disk does for a disk: the log, gaps, stretches of the BAT
// without an allocated block and holes of the disk are holes of the file.
func (f *File) NextData(off int64) (start, end int64, err error) {
	if off < 0 {
		return 0, 0, fmt.Errorf("vhdx: next data at negative offset %d", off)
	}
	for _, part := range f.head {
		start, end := part.off/filePage*filePage, roundUp(part.off+int64(len(part.data)), filePage)
		if off < end {
			return max(off, start), end, nil
		}
	}
	if f.layout.allocated == 0 || off >= f.Size() {
		return 0, 0, io.EOF
	}
	ctx := context.Background()
	b, err := f.known(ctx)
	if err != nil {
		return 0, 0, err
	}
	if off < f.layout.dataOff() {
		start, end, err := f.nextBAT(ctx, b, max(off, layoutBATOff))
		if err != io.EOF {
			return start, end, err
		}
	}
	return f.nextPayload(ctx, b, max(off, f.layout.dataOff()))
}

// nextBAT returns the next pages of the BAT with entries of allocated blocks.
func (f *File) nextBAT(ctx context.Context, b disk.Blocks, off int64) (start, end int64, err error) {
	page, err := f.nextBATPage(ctx, b, off)
	if err != nil {
		return 0, 0, err
	}
	start, end = max(off, page), page+filePage
	for range maxBATPages {
		page, err := f.nextBATPage(ctx, b, end)
		if err != nil || page != end {
			break // an error is for the call that starts there
		}
		end += filePage
	}
	return start, end, nil
}

func (f *File) nextBATPage(ctx context.Context, b disk.Blocks, off int64) (int64, error) {
	first, _ := f.layout.batBlocks(off, 0)
	slot, err := f.rank(ctx, b, first)
	if err != nil {
		return 0, err
	}
	if slot >= f.layout.allocated {
		return 0, io.EOF
	}
	block, err := f.selectBlock(ctx, b, slot)
	if err != nil {
		return 0, err
	}
	return f.layout.batEntryOff(block) / filePage * filePage, nil
}

// nextPayload returns the next data of the disk as it lies in the file. Data
// that goes on into the next block does so in the file, for that has the next
// slot.
func (f *File) nextPayload(ctx context.Context, b disk.Blocks, off int64) (start, end int64, err error) {
	l := f.layout
	slot, within := l.slotAt(off)
	for slot < l.allocated {
		block, err := f.selectBlock(ctx, b, slot)
		if err != nil {
			return 0, 0, err
		}
		base := l.slotOff(slot) - block*l.block // of the disk's offsets in this block
		start, end, err := f.disk.NextData(block*l.block + within)
		if err != nil {
			return 0, 0, err
		}
		if start < (block+1)*l.block {
			return base + start, min(base+end, l.fileSize()), nil
		}
		next, err := f.rank(ctx, b, start/l.block)
		if err != nil {
			return 0, 0, err
		}
		slot, within = max(slot+1, next), 0
	}
	return 0, 0, io.EOF
}
