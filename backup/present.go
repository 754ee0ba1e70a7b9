package backup

import (
	"fmt"

	"vitrine/fs/disk"
	"vitrine/fs/vhd"
	"vitrine/repo"
)

// present gives a stored disk as the bytes of a file of the format.
func present(img *repo.Image, d repo.Disk, f Format) (disk.Disk, error) {
	switch f {
	case FormatRaw:
		return img, nil
	case FormatVHD:
		id, err := disk.ParseGUID(d.FileID)
		if err != nil {
			return nil, err
		}
		return vhd.NewFixedFile(img, id)
	}
	return nil, fmt.Errorf("backup: present %s: %w", d.Name, &FormatError{f})
}
