package backup

import (
	"fmt"

	"vitrine/fs/disk"
	"vitrine/fs/vhd"
	"vitrine/fs/vhdx"
	"vitrine/repo"
)

// present gives a stored disk as the bytes of a file of the format. A VHDX is
// the same, byte for byte, as the one in the mounted tree.
func present(img *repo.Image, d repo.Disk, f Format) (disk.Disk, error) {
	if f == FormatRaw {
		return img, nil
	}
	var ids [3]disk.GUID
	for i, text := range []string{d.DiskID, d.FileID, d.DataID} {
		var err error
		if ids[i], err = disk.ParseGUID(text); err != nil {
			return nil, fmt.Errorf("identity of the disk: %w", err)
		}
	}
	switch f {
	case FormatVHD:
		return vhd.NewFixedFile(img, ids[1])
	case FormatVHDX:
		id := vhdx.Identity{
			Layout: d.Layout, DiskID: ids[0], FileWriteID: ids[1], DataWriteID: ids[2],
			BlockSize: d.BlockSize, LogicalSector: d.LogicalSector, PhysicalSector: d.PhysicalSector,
		}
		if d.Image.Block == d.BlockSize {
			id.Allocated = d.Image.Allocated
		}
		return vhdx.NewFile(img, id)
	}
	return nil, &FormatError{f}
}
