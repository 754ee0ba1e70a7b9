package vhdx

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"hash/crc32"
	"slices"

	"vitrine/fs/disk"
)

const (
	regionSignature  = "regi"
	regionOff1       = 192 * kib
	regionOff2       = 256 * kib
	regionTableBytes = 64 * kib
	regionEntryBytes = 32
	maxRegions       = 2047
)

// The GUIDs of the two regions that every file has, in their order on disk.
var (
	batRegion      = disk.GUID{0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08}
	metadataRegion = disk.GUID{0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e}
)

// region is an extent of the file with one purpose.
type region struct {
	id       disk.GUID
	off      int64
	length   int64
	required bool
}

func (r region) end() int64 { return r.off + r.length }

// regions are a file's BAT and metadata, and all extents that no block may
// touch, in the order of the file: the first MiB, the log, every region.
type regions struct {
	bat, metadata region
	taken         []region
}

// readRegions reads the first region table that is whole and checks it.
func readRegions(ctx context.Context, v *view, h header) (regions, error) {
	b := make([]byte, regionTableBytes)
	for _, off := range []int64{regionOff1, regionOff2} {
		if err := v.read(ctx, b, off); err != nil {
			return regions{}, err
		}
		if string(b[:4]) == regionSignature && binary.LittleEndian.Uint32(b[4:]) == checksum(b) {
			return decodeRegions(b, off, h, v.size)
		}
	}
	return regions{}, corrupt("region tables", regionOff1, "neither of the two is valid")
}

// decodeRegions reads a table whose checksum is right.
func decodeRegions(b []byte, tableOff int64, h header, fileSize int64) (regions, error) {
	count := binary.LittleEndian.Uint32(b[8:])
	if count > maxRegions {
		return regions{}, corrupt("region table", tableOff, "%d entries", count)
	}
	rs := regions{taken: []region{
		{off: 0, length: mib},
		{off: int64(h.logOff), length: int64(h.logLength)},
	}}
	seen := make(map[disk.GUID]bool)
	for i := range int64(count) {
		e := b[16+i*regionEntryBytes:][:regionEntryBytes]
		off, length := binary.LittleEndian.Uint64(e[16:]), binary.LittleEndian.Uint32(e[24:])
		at := tableOff + 16 + i*regionEntryBytes
		if off < mib || off%mib != 0 || length == 0 || length%mib != 0 {
			return regions{}, corrupt("region table", at, "region of %d bytes at %d is not in whole MiB", length, off)
		}
		if off > uint64(fileSize) || uint64(length) > uint64(fileSize)-off {
			return regions{}, corrupt("region table", at, "region of %d bytes at %d ends behind the file's %d", length, off, fileSize)
		}
		r := region{id: disk.GUID(e[:16]), off: int64(off), length: int64(length), required: e[28]&1 != 0}
		if seen[r.id] {
			return regions{}, corrupt("region table", at, "region %s is there twice", r.id)
		}
		seen[r.id] = true

		switch r.id {
		case batRegion:
			rs.bat = r
		case metadataRegion:
			rs.metadata = r
		default:
			if r.required {
				return regions{}, &UnsupportedError{Feature: "region " + r.id.String() + ", which the file requires"}
			}
		}
		rs.taken = append(rs.taken, r)
	}
	if rs.bat.length == 0 || rs.metadata.length == 0 {
		return regions{}, corrupt("region table", tableOff, "the BAT or the metadata is missing")
	}

	slices.SortFunc(rs.taken, func(a, b region) int { return cmp.Compare(a.off, b.off) })
	for i := 1; i < len(rs.taken); i++ {
		if rs.taken[i].off < rs.taken[i-1].end() {
			return regions{}, corrupt("region table", tableOff, "regions overlap at offset %d", rs.taken[i].off)
		}
	}
	return rs, nil
}

// overlap reports whether an extent of the file touches a region, the log or
// the first MiB.
func (rs regions) overlap(off, length int64) bool {
	i, _ := slices.BinarySearchFunc(rs.taken, off, func(r region, off int64) int {
		if r.end() <= off {
			return -1
		}
		return 1
	})
	return i < len(rs.taken) && rs.taken[i].off < off+length
}

// encodeRegionTable returns the beginning of a region table, up to its last
// entry, with the checksum of all its 64 KiB; the rest is zeros.
func encodeRegionTable(rs ...region) []byte {
	b := make([]byte, roundUp(16+int64(len(rs))*regionEntryBytes, filePage))
	copy(b, regionSignature)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(rs)))
	used := 16
	for _, r := range rs {
		e := b[used:]
		copy(e, r.id[:])
		binary.LittleEndian.PutUint64(e[16:], uint64(r.off))
		binary.LittleEndian.PutUint32(e[24:], uint32(r.length))
		if r.required {
			e[28] = 1
		}
		used += regionEntryBytes
	}
	crc := checksum(b)
	var rest [filePage]byte
	for range regionTableBytes/filePage - len(b)/filePage {
		crc = crc32.Update(crc, castagnoli, rest[:])
	}
	binary.LittleEndian.PutUint32(b[4:], crc)
	return bytes.Clone(b[:used])
}
