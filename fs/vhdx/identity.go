package vhdx

import (
	"fmt"

	"vitrine/fs/disk"
)

// Layout1 is the only layout of presented files so far: header, log, metadata,
// BAT, then the allocated blocks in the order of the disk, without gaps.
const Layout1 = 1

// Identity is all that the bytes of a presented file depend on besides the
// content of the disk. It is kept with a restore point, so that every mount, on
// every machine and with every later release, presents the same file: children
// and overlays lie on top of it.
type Identity struct {
	Layout         int // Layout1
	DiskID         disk.GUID
	FileWriteID    disk.GUID
	DataWriteID    disk.GUID // what children of this file know it by
	BlockSize      int64
	LogicalSector  int
	PhysicalSector int

	// Allocated is the number of blocks with data in them. With it the size of
	// the file is known without reading the disk's map. Zero means that the disk
	// is asked.
	Allocated int64
}

// check returns the geometry of the presented file. A disk that ends within a
// sector is presented with zeros up to the end of the sector.
func (id Identity) check(size int64) (geometry, error) {
	if id.Layout != Layout1 {
		return geometry{}, &UnsupportedError{Feature: fmt.Sprintf("layout version %d of a presented file", id.Layout)}
	}
	if size <= 0 {
		return geometry{}, fmt.Errorf("a disk of %d bytes cannot be a vhdx file", size)
	}
	if id.FileWriteID.IsZero() || id.DataWriteID.IsZero() {
		return geometry{}, fmt.Errorf("the identity has no file write id or no data write id")
	}
	if id.PhysicalSector != 512 && id.PhysicalSector != 4096 {
		return geometry{}, fmt.Errorf("physical sector size %d is neither 512 nor 4096", id.PhysicalSector)
	}
	if size <= maxDiskSize && id.LogicalSector > 0 {
		size = roundUp(size, int64(id.LogicalSector))
	}
	g, err := newGeometry(size, id.BlockSize, int64(id.LogicalSector))
	if err != nil {
		return geometry{}, err
	}
	if id.Allocated < 0 || id.Allocated > g.blocks() {
		return geometry{}, fmt.Errorf("%d allocated blocks of %d", id.Allocated, g.blocks())
	}
	return g, nil
}
