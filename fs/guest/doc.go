// Package guest finds the volumes on all disks of a machine, opens their file
// systems and names them for people; and it says which of a machine's data no
// guest will miss. It is where partitions, volume groups and file systems meet;
// nothing here writes.
//
//	disk        a whole disk of the machine
//	volume      what one file system lies on: a partition, a logical volume, or
//	            a disk without a table
//	folder      a volume's name in the tree: "C (NTFS Windows)"
//	left out    not kept by a backup: swap, page files, free clusters
//
// How volumes are named:
//
//   - The volume with a Windows installation is C; a guest's own letters stand
//     in its registry, which is not read. A second installation keeps its number.
//   - The volume with etc/fstab is root, and the volumes it mounts are named by
//     where it mounts them: boot, home, var-lib.
//   - A logical volume is named by its own name.
//   - Any other volume has its partition's number, then what it is for or its
//     label: 1-EFI, 2-Data.
//
// Behind it in brackets stand the file system and what tells the volume from
// others: "Windows", group and volume, the disk where it is not the first.
// A volume that cannot be opened is a folder with one text saying why.
package guest

import (
	"context"
	iofs "io/fs"
	"iter"
	"sync/atomic"

	"vitrine/fs/disk"
)

// Disk is a disk of a machine.
type Disk struct {
	Name   string // as in the tree, without extension: SQL01-os
	R      disk.Disk
	Sector int // logical sector in bytes; 0: 512
}

// FileSystem is a guest's file system.
type FileSystem interface {
	iofs.ReadDirFS
	iofs.StatFS
	iofs.ReadLinkFS
	Described
	Space
}

// Described is what a file system says about itself.
type Described interface {
	Type() string
	Label() string
	UUID() string
	Notes() []string
}

// Space is what a file system knows of its space; offsets are those of the
// volume.
type Space interface {
	// Consistent says whether the other two may be relied on, and if not, why.
	Consistent() (bool, string)
	Free(ctx context.Context) iter.Seq2[disk.Extent, error]
	Extents(name string) ([]disk.Extent, error)
}

// Volumes are the volumes of a machine.
type Volumes struct {
	List []*Volume
	// Notes are sentences about damaged tables and groups.
	Notes []string

	roots []*root
}

// Volume is a volume of a machine. Its files are safe for concurrent use.
type Volume struct {
	Folder    string // unique, and a name that Linux and Windows take
	Disk      string // name of the disk; of the first, where it lies on several
	Partition int    // number; 0 for a disk without a table and for logical volumes
	Group     string // of a logical volume
	Logical   string // name of the logical volume
	Type      string // "NTFS", "ext4", "BitLocker", …; "" when unknown
	Label     string
	UUID      string
	Size      int64
	// Why is a sentence saying why there are no files; "" when there are.
	Why string
	// Notes are sentences about the state of the file system.
	Notes []string

	fs   FileSystem // nil when Why is set
	from origin
}

// FS returns the volume's files: those of the guest, or one text.
func (v *Volume) FS() iofs.FS {
	if v.fs == nil {
		return newText(v.Why)
	}
	return v.fs
}

// Files returns the guest's file system; ok is false where it is not opened.
func (v *Volume) Files() (fs FileSystem, ok bool) { return v.fs, v.fs != nil }

// leash is a disk whose reads end with a context for as long as one is set.
type leash struct {
	disk.Disk
	ctx atomic.Pointer[context.Context]
}

var _ disk.ContextReaderAt = (*leash)(nil)

func (l *leash) ReadAt(p []byte, off int64) (int, error) {
	return l.ReadAtContext(context.Background(), p, off)
}

func (l *leash) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if held := l.ctx.Load(); held != nil {
		if err := (*held).Err(); err != nil {
			return 0, err
		}
		if ctx.Done() == nil {
			ctx = *held
		}
	}
	return disk.ReadAt(ctx, l.Disk, p, off)
}
