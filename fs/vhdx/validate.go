package vhdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
)

// Validate checks a VHDX file more strictly than Open, as what we write has to
// be and what Hyper-V leaves when it closes a file: the log is empty, the size
// is in whole MiB, all copies are whole and agree, reserved fields are zero,
// entries without a place have no offset, and, however long the BAT is, nothing
// overlaps. It needs one bit for each MiB of the file. Behind the last entry of
// the metadata table Hyper-V leaves entries that it removed.
func Validate(r io.ReaderAt, size int64) error {
	ctx := context.Background()
	im, err := open(ctx, r, size)
	if err != nil {
		return err
	}
	if im.Dirty() {
		return corrupt("header", headerOff1, "the log is not empty")
	}
	if size%mib != 0 {
		return corrupt("file", size, "it does not end on a whole MiB")
	}
	if size > maxFile {
		return &UnsupportedError{Feature: "file of more than 128 TiB"}
	}
	v := im.table.file
	for _, check := range []func(context.Context, *view) error{validateHeaders, validateRegionTables, im.validateItems, im.validateBAT} {
		if err := check(ctx, v); err != nil {
			return err
		}
	}
	return im.table.checkAll(ctx)
}

// zeros returns an error when not all bytes of b, at off, are zero.
func zeros(object string, b []byte, off int64) error {
	for i, c := range b {
		if c != 0 {
			return corrupt(object, off+int64(i), "reserved byte %#x", c)
		}
	}
	return nil
}

func validateHeaders(ctx context.Context, v *view) error {
	b := make([]byte, headerBytes)
	for _, off := range []int64{headerOff1, headerOff2} {
		if err := v.read(ctx, b, off); err != nil {
			return err
		}
		h, ok := decodeHeader(b)
		if !ok {
			return corrupt("header", off, "it is not valid")
		}
		if err := h.check(v.size); err != nil {
			return err
		}
		if h.logVersion != 0 {
			return corrupt("header", off, "log version %d", h.logVersion)
		}
		if err := zeros("header", b[80:], off+80); err != nil {
			return err
		}
	}
	return nil
}

func validateRegionTables(ctx context.Context, v *view) error {
	var tables [2][]byte
	for i, off := range []int64{regionOff1, regionOff2} {
		b := make([]byte, regionTableBytes)
		if err := v.read(ctx, b, off); err != nil {
			return err
		}
		tables[i] = b
		if string(b[:4]) != regionSignature || binary.LittleEndian.Uint32(b[4:]) != checksum(b) {
			return corrupt("region table", off, "it is not valid")
		}
		count := int64(binary.LittleEndian.Uint32(b[8:]))
		if err := zeros("region table", b[12:16], off+12); err != nil {
			return err
		}
		if err := zeros("region table", b[16+count*regionEntryBytes:], off+16+count*regionEntryBytes); err != nil {
			return err
		}
		for e := range count {
			at := 16 + e*regionEntryBytes + 28
			if b[at]&^1 != 0 || b[at+1] != 0 || b[at+2] != 0 || b[at+3] != 0 {
				return corrupt("region table", off+at, "reserved bits")
			}
		}
	}
	if !bytes.Equal(tables[0], tables[1]) {
		return corrupt("region table", regionOff2, "it differs from the first")
	}
	return nil
}

// itemFlags are the flags that [MS-VHDX] 2.6.2 gives the known items.
func itemFlags(it item) uint32 {
	if it.id == itemFileParameters || it.id == itemParentLocator {
		return itemIsRequired
	}
	return itemIsRequired | itemIsVirtualDisk
}

func (im *Image) validateItems(ctx context.Context, v *view) error {
	r := im.table.regions.metadata
	items, err := readItems(ctx, v, r)
	if err != nil {
		return err
	}
	table := make([]byte, metadataTableBytes)
	if err := v.read(ctx, table, r.off); err != nil {
		return err
	}
	if err := zeros("metadata table", table[8:10], r.off+8); err != nil {
		return err
	}
	if err := zeros("metadata table", table[12:32], r.off+12); err != nil {
		return err
	}
	for i, it := range items {
		at := r.off + 32 + int64(i)*metadataEntryBytes
		if _, known := itemBytes[it.id]; known && it.flags != itemFlags(it) {
			return corrupt("metadata table", at, "item %s with flags %d", it.id, it.flags)
		}
		if it.flags&^(itemIsUser|itemIsVirtualDisk|itemIsRequired) != 0 {
			return corrupt("metadata table", at, "flags %#x", it.flags)
		}
		switch it.id {
		case itemFileParameters:
			b := make([]byte, it.length)
			if err := v.read(ctx, b, it.off); err != nil {
				return err
			}
			if bits := binary.LittleEndian.Uint32(b[4:]); bits&^3 != 0 {
				return corrupt("metadata", it.off, "file parameters %#x", bits)
			}
		case itemParentLocator:
			p := im.metadata.parent
			if p.RelativePath == "" && p.VolumePath == "" && p.AbsolutePath == "" {
				return corrupt("parent locator", it.off, "no path")
			}
		}
	}
	return nil
}

// validateBAT checks what a reader may pass over: bits that mean nothing.
func (im *Image) validateBAT(ctx context.Context, _ *view) error {
	t := &im.table
	c := t.cursor(ctx)
	entries := t.entries(t.differencing)
	for index := range entries {
		entry, err := t.entry(&c, index)
		if err != nil {
			return err
		}
		if entry == 0 {
			continue
		}
		isBitmap := index%(t.perBitmap+1) == t.perBitmap
		switch {
		case entry&reservedMask != 0:
			return t.damaged(index, "reserved bits %#x", entry&reservedMask)
		case entry&stateMask < statePresent && entry&offsetMask != 0:
			return t.damaged(index, "offset %#x with state %d", entry&offsetMask, entry&stateMask)
		case isBitmap && !t.differencing:
			return t.damaged(index, "entry %#x of a bitmap in a disk without a parent", entry)
		case !isBitmap && t.firstBlockFrom(index) >= t.blocks():
			return t.damaged(index, "entry %#x of a block behind the disk's end", entry)
		case !isBitmap && entry&stateMask >= statePresent && entry&offsetMask > uint64(t.file.size-t.geometry.block):
			return t.damaged(index, "the block is not whole in the file")
		}
	}
	return nil
}
