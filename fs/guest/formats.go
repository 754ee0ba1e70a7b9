package guest

import (
	"io"

	"vitrine/fs/ext4"
	"vitrine/fs/fat"
	"vitrine/fs/ntfs"
	"vitrine/fs/xfs"
)

// format is a file system that can be opened.
type format struct {
	name  string
	probe func(r io.ReaderAt, size int64) bool
	open  func(r io.ReaderAt, size int64) (FileSystem, error)
}

// opener gives the Open of a file system package the common form.
func opener[F FileSystem](open func(r io.ReaderAt, size int64) (F, error)) func(io.ReaderAt, int64) (FileSystem, error) {
	return func(r io.ReaderAt, size int64) (FileSystem, error) {
		fs, err := open(r, size)
		if err != nil {
			return nil, err
		}
		return fs, nil
	}
}

// formats are the file systems, those with the surer signs first.
func formats() []format {
	return []format{
		{"NTFS", ntfs.Probe, opener(ntfs.Open)},
		{"XFS", xfs.Probe, opener(xfs.Open)},
		{"ext4", ext4.Probe, opener(ext4.Open)},
		{"FAT", fat.Probe, opener(fat.Open)},
	}
}
