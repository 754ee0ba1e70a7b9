package fs

import (
	"fmt"

	"vitrine/fs/disk"
	"vitrine/fs/vhdx"
	"vitrine/repo"
)

var _ source = (*vhdx.File)(nil)

// present makes a VHDX of an image, with the identity that its restore point
// keeps: the same bytes on every mount.
func present(img Image, d *repo.Disk) (*vhdx.File, error) {
	id := vhdx.Identity{
		Layout:         d.Layout,
		BlockSize:      d.BlockSize,
		LogicalSector:  d.LogicalSector,
		PhysicalSector: d.PhysicalSector,
	}
	if d.Image.Block == d.BlockSize {
		id.Allocated = d.Image.Allocated
	}
	for _, g := range []struct {
		to   *disk.GUID
		text string
		name string
	}{{&id.DiskID, d.DiskID, "disk"}, {&id.FileWriteID, d.FileID, "file"}, {&id.DataWriteID, d.DataID, "data"}} {
		guid, err := disk.ParseGUID(g.text)
		if err != nil {
			return nil, fmt.Errorf("%s id: %w", g.name, err)
		}
		*g.to = guid
	}
	return vhdx.NewFile(img, id)
}
