package vhdx

import (
	"context"
	"encoding/binary"
)

// States of a block and, of these, notPresent and present of a bitmap.
const (
	stateNotPresent = 0 // zeros, or the parent's
	stateUndefined  = 1 // zeros
	stateZero       = 2 // zeros
	stateUnmapped   = 3 // zeros
	statePresent    = 6
	statePartial    = 7 // of a differencing disk: the bitmap says, sector by sector

	stateMask    = 7
	reservedMask = 0xFFFF8 // between the state and the offset in MiB
	offsetMask   = ^uint64(mib - 1)
)

// table finds blocks and bitmaps.
type table struct {
	geometry
	differencing bool
	regions      regions
	file         *view
	cache        *cache
}

func (t *table) cursor(ctx context.Context) cursor {
	return cursor{cache: t.cache, ctx: ctx}
}

func (t *table) entry(c *cursor, index int64) (uint64, error) {
	b, err := c.from(t.regions.bat.off + index*batEntryBytes)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b), nil
}

// blockAt returns the state of a block and, where it lies in the file, its
// offset.
func (t *table) blockAt(c *cursor, block int64) (state uint8, off int64, err error) {
	index := t.entryOf(block)
	entry, err := t.entry(c, index)
	if err != nil {
		return 0, 0, err
	}
	return t.decodeBlock(entry, index, t.visible(block))
}

// decodeBlock checks the entry of a block of which visible bytes belong to
// the disk: these have to lie in the file, what pads the last block need not.
func (t *table) decodeBlock(entry uint64, index, visible int64) (state uint8, off int64, err error) {
	state = uint8(entry & stateMask)
	switch {
	case state <= stateUnmapped:
		return state, 0, nil
	case state == statePresent, state == statePartial && t.differencing:
		off, err = t.place(entry, index, visible)
		return state, off, err
	}
	return 0, 0, t.damaged(index, "state %d of a block", state)
}

// bitmapAt returns the offset of the bitmap that describes a block's sectors.
func (t *table) bitmapAt(c *cursor, block int64) (int64, error) {
	index := t.bitmapEntryOf(block)
	entry, err := t.entry(c, index)
	if err != nil {
		return 0, err
	}
	if entry&stateMask != statePresent {
		return 0, t.damaged(index, "state %d of a bitmap that a block needs", entry&stateMask)
	}
	return t.place(entry, index, bitmapBytes)
}

// place returns the offset in an entry, checked.
func (t *table) place(entry uint64, index, length int64) (int64, error) {
	off := entry & offsetMask
	if entry&reservedMask != 0 {
		return 0, t.damaged(index, "reserved bits %#x", entry&reservedMask)
	}
	if off > uint64(t.file.size) || uint64(length) > uint64(t.file.size)-off {
		return 0, t.damaged(index, "%d bytes at %d end behind the file's %d", length, off, t.file.size)
	}
	if t.regions.overlap(int64(off), length) {
		return 0, t.damaged(index, "%d bytes at %d overlap the file's own structures", length, off)
	}
	return int64(off), nil
}

func (t *table) damaged(index int64, format string, args ...any) error {
	return corrupt("BAT", t.regions.bat.off+index*batEntryBytes, format, args...)
}

// maxChecked is the longest BAT that check reads: 8 TiB of disk in blocks of
// 2 MiB, 64 TiB in blocks of 16 MiB. Of a longer one every entry is checked when
// it is used, but two blocks with one place in the file are not found.
const maxChecked = 4 << 20 // entries

// check is checkAll unless that takes long.
func (t *table) check(ctx context.Context) error {
	if t.entries(t.differencing) > maxChecked || t.file.size > maxFile {
		return nil
	}
	return t.checkAll(ctx)
}

// checkAll reads the whole BAT and checks every entry and that no two blocks or
// bitmaps share a place in the file.
func (t *table) checkAll(ctx context.Context) error {
	entries := t.entries(t.differencing)
	used := make([]uint64, t.file.size/mib/64+1) // one bit for each MiB of the file
	take := func(index, off, length int64) error {
		for at := off / mib; at < (off+length+mib-1)/mib; at++ {
			if used[at/64]&(1<<(at%64)) != 0 {
				return t.damaged(index, "another block lies at %d too", at*mib)
			}
			used[at/64] |= 1 << (at % 64)
		}
		return nil
	}

	buffer := make([]byte, min(entries*batEntryBytes, 256*kib))
	partial := false // one of the blocks before the next bitmap needs it
	for index := int64(0); index < entries; index++ {
		at := index * batEntryBytes % int64(len(buffer))
		if at == 0 {
			n := min(int64(len(buffer)), (entries-index)*batEntryBytes)
			if err := t.file.read(ctx, buffer[:n], t.regions.bat.off+index*batEntryBytes); err != nil {
				return err
			}
		}
		entry := binary.LittleEndian.Uint64(buffer[at:])
		if index%(t.perBitmap+1) == t.perBitmap {
			if err := t.checkBitmap(entry, index, partial, take); err != nil {
				return err
			}
			partial = false
			continue
		}
		block := t.firstBlockFrom(index)
		if entry == 0 || block >= t.blocks() {
			continue
		}
		state, off, err := t.decodeBlock(entry, index, t.visible(block))
		if err != nil {
			return err
		}
		partial = partial || state == statePartial
		if state >= statePresent {
			length := min(t.block, t.file.size-off)
			if t.regions.overlap(off, length) {
				return t.damaged(index, "%d bytes at %d overlap the file's own structures", length, off)
			}
			if err := take(index, off, length); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkBitmap checks the entry of a bitmap. Disks without a parent have none
// and Windows ignores what is there.
func (t *table) checkBitmap(entry uint64, index int64, needed bool, take func(index, off, length int64) error) error {
	if !t.differencing {
		return nil
	}
	switch entry & stateMask {
	case stateNotPresent:
		if needed {
			return t.damaged(index, "a block needs this bitmap and it is not present")
		}
		return nil
	case statePresent:
		off, err := t.place(entry, index, bitmapBytes)
		if err != nil {
			return err
		}
		return take(index, off, bitmapBytes)
	}
	return t.damaged(index, "state %d of a bitmap", entry&stateMask)
}
