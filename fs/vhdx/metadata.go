package vhdx

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"vitrine/fs/disk"
)

const (
	metadataSignature  = "metadata"
	metadataTableBytes = 64 * kib
	metadataEntryBytes = 32
	maxItems           = 2047
	maxUserItems       = 1024
	maxItemBytes       = 1 * mib

	itemIsUser        = 1
	itemIsVirtualDisk = 2
	itemIsRequired    = 4
)

// The GUIDs of the metadata items of [MS-VHDX] 2.6.2, in their order on disk.
var (
	itemFileParameters = disk.GUID{0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b}
	itemDiskSize       = disk.GUID{0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8}
	itemDiskID         = disk.GUID{0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46}
	itemLogicalSector  = disk.GUID{0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f}
	itemPhysicalSector = disk.GUID{0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56}
	itemParentLocator  = disk.GUID{0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c}
)

// itemBytes is the length of each known item; the locator's varies.
var itemBytes = map[disk.GUID]int64{
	itemFileParameters: 8,
	itemDiskSize:       8,
	itemDiskID:         16,
	itemLogicalSector:  4,
	itemPhysicalSector: 4,
	itemParentLocator:  -1,
}

// metadata is what the metadata region says of the disk.
type metadata struct {
	geometry
	physical  int64
	diskID    disk.GUID
	fixed     bool // blocks stay allocated
	hasParent bool
	parent    Parent
}

// item is an entry of the metadata table. The offset is the file's.
type item struct {
	id     disk.GUID
	off    int64
	length int64
	flags  uint32
}

// readItems reads the metadata table and checks everything that holds for
// known and unknown items alike.
func readItems(ctx context.Context, v *view, r region) ([]item, error) {
	b := make([]byte, metadataTableBytes)
	if err := v.read(ctx, b, r.off); err != nil {
		return nil, err
	}
	count := int64(binary.LittleEndian.Uint16(b[10:]))
	if string(b[:8]) != metadataSignature || count > maxItems {
		return nil, corrupt("metadata table", r.off, "signature %q with %d entries", b[:8], count)
	}

	type key struct {
		id   disk.GUID
		user bool
	}
	seen := make(map[key]bool)
	var items []item
	users := 0
	for i := range count {
		at := 32 + i*metadataEntryBytes
		e := b[at:][:metadataEntryBytes]
		it := item{
			id:     disk.GUID(e[:16]),
			off:    int64(binary.LittleEndian.Uint32(e[16:])),
			length: int64(binary.LittleEndian.Uint32(e[20:])),
			flags:  binary.LittleEndian.Uint32(e[24:]),
		}
		user := it.flags&itemIsUser != 0
		if seen[key{it.id, user}] {
			return nil, corrupt("metadata table", r.off+at, "item %s is there twice", it.id)
		}
		seen[key{it.id, user}] = true
		if user {
			users++
		}
		if it.length == 0 && it.off == 0 {
			items = append(items, it)
			continue
		}
		if it.off < metadataTableBytes || it.length > maxItemBytes || it.off+it.length > r.length {
			return nil, corrupt("metadata table", r.off+at, "item of %d bytes at %d does not fit the region's %d", it.length, it.off, r.length)
		}
		it.off += r.off
		items = append(items, it)
	}
	if users > maxUserItems {
		return nil, corrupt("metadata table", r.off, "%d user items", users)
	}

	sorted := slices.SortedFunc(slices.Values(items), func(a, b item) int { return cmp.Compare(a.off, b.off) })
	for i := 1; i < len(sorted); i++ {
		if sorted[i].off < sorted[i-1].off+sorted[i-1].length {
			return nil, corrupt("metadata table", r.off, "items overlap at offset %d", sorted[i].off)
		}
	}
	return items, nil
}

// readMetadata reads the items that describe the disk. Unknown items that the
// file does not require are left alone.
func readMetadata(ctx context.Context, v *view, r region) (metadata, error) {
	items, err := readItems(ctx, v, r)
	if err != nil {
		return metadata{}, err
	}
	content := make(map[disk.GUID][]byte)
	for _, it := range items {
		want, known := itemBytes[it.id]
		if it.flags&itemIsUser != 0 || !known {
			if it.flags&itemIsRequired != 0 {
				return metadata{}, &UnsupportedError{Feature: "metadata item " + it.id.String() + ", which the file requires"}
			}
			continue
		}
		if want >= 0 && it.length != want {
			return metadata{}, corrupt("metadata", it.off, "item %s of %d bytes", it.id, it.length)
		}
		b := make([]byte, it.length)
		if err := v.read(ctx, b, it.off); err != nil {
			return metadata{}, err
		}
		content[it.id] = b
	}
	for _, id := range []disk.GUID{itemFileParameters, itemDiskSize, itemDiskID, itemLogicalSector, itemPhysicalSector} {
		if content[id] == nil {
			return metadata{}, corrupt("metadata", r.off, "item %s is missing", id)
		}
	}
	return decodeMetadata(content, r.off)
}

func decodeMetadata(content map[disk.GUID][]byte, off int64) (metadata, error) {
	size := binary.LittleEndian.Uint64(content[itemDiskSize])
	parameters := content[itemFileParameters]
	bits := binary.LittleEndian.Uint32(parameters[4:])
	m := metadata{
		diskID:    disk.GUID(content[itemDiskID]),
		physical:  int64(binary.LittleEndian.Uint32(content[itemPhysicalSector])),
		fixed:     bits&1 != 0 && bits&2 == 0,
		hasParent: bits&2 != 0,
	}
	var err error
	m.geometry, err = newGeometry(int64(size), int64(binary.LittleEndian.Uint32(parameters)), int64(binary.LittleEndian.Uint32(content[itemLogicalSector])))
	if err != nil {
		return metadata{}, corrupt("metadata", off, "%v", err)
	}
	if m.physical != 512 && m.physical != 4096 {
		return metadata{}, corrupt("metadata", off, "physical sector size %d is neither 512 nor 4096", m.physical)
	}

	locator, found := content[itemParentLocator]
	if found != m.hasParent {
		return metadata{}, corrupt("metadata", off, "has a parent: %v, has a parent locator: %v", m.hasParent, found)
	}
	if found {
		m.parent, err = decodeLocator(locator)
		if err != nil {
			return metadata{}, corrupt("parent locator", off, "%v", err)
		}
	}
	return m, nil
}

// encodeMetadata returns the beginning of the table and of the items behind it
// for a disk without a parent; the rest of the region is zeros.
func encodeMetadata(m metadata) (table, items []byte) {
	table = make([]byte, 32, 32+5*metadataEntryBytes)
	copy(table, metadataSignature)
	add := func(id disk.GUID, flags uint32, content []byte) {
		table = append(table, id[:]...)
		table = binary.LittleEndian.AppendUint32(table, uint32(metadataTableBytes+len(items)))
		table = binary.LittleEndian.AppendUint32(table, uint32(len(content)))
		table = binary.LittleEndian.AppendUint32(table, flags)
		table = binary.LittleEndian.AppendUint32(table, 0)
		items = append(items, content...)
		table[10]++
	}
	le32 := func(n int64) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(n)) }

	add(itemFileParameters, itemIsRequired, append(le32(m.block), le32(0)...))
	add(itemDiskSize, itemIsRequired|itemIsVirtualDisk, binary.LittleEndian.AppendUint64(nil, uint64(m.size)))
	add(itemDiskID, itemIsRequired|itemIsVirtualDisk, m.diskID[:])
	add(itemLogicalSector, itemIsRequired|itemIsVirtualDisk, le32(m.sector))
	add(itemPhysicalSector, itemIsRequired|itemIsVirtualDisk, le32(m.physical))
	return table, items
}
