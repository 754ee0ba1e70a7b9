package vhdx

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// Image is an open VHDX file. It is a disk.Disk when it has no parent; a
// differencing one is read through Chain. It is safe for concurrent use and
// keeps at most 2 MiB of tables in memory, besides the writes of a dirty log.
type Image struct {
	header   header
	metadata metadata
	table    table
	creator  string
	alone    stack // the image itself
}

var (
	_ disk.Disk            = (*Image)(nil)
	_ disk.ContextReaderAt = (*Image)(nil)
)

// Open reads the structures of a VHDX file of size bytes. A dirty log (of 64 MiB
// at most) is replayed in memory. Of a BAT with up to 4 Mi entries all entries
// are checked here, and that no two share a place in the file; entries of a
// longer one are checked when they are used. An r that knows its own holes by
// a method NextData, as raw.Disk does, makes holes of the disk of them.
//
// Errors are ErrFormat, *CorruptError, *UnsupportedError and those of r.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	im, err := open(context.Background(), r, size)
	if err != nil {
		return nil, err
	}
	if err := im.table.check(context.Background()); err != nil {
		return nil, err
	}
	return im, nil
}

// open does what Open does but for reading the BAT.
func open(ctx context.Context, r io.ReaderAt, size int64) (*Image, error) {
	file := &view{r: r, fileSize: size, size: size}
	identifier := make([]byte, len(identifierSignature)+creatorBytes)
	if size < int64(len(identifier)) {
		return nil, ErrFormat
	}
	if err := file.read(ctx, identifier, 0); err != nil {
		return nil, err
	}
	if string(identifier[:len(identifierSignature)]) != identifierSignature {
		return nil, ErrFormat
	}
	if size < mib {
		return nil, corrupt("file", size, "it ends before its first MiB")
	}

	im := &Image{creator: decodeCreator(identifier[len(identifierSignature):])}
	var err error
	if im.header, err = currentHeader(ctx, file); err != nil {
		return nil, err
	}
	if !im.header.logID.IsZero() {
		writes, size, err := replay(ctx, file, im.header)
		if err != nil {
			return nil, err
		}
		file.patches, file.size = writes, size
	}
	rs, err := readRegions(ctx, file, im.header)
	if err != nil {
		return nil, err
	}
	if im.metadata, err = readMetadata(ctx, file, rs.metadata); err != nil {
		return nil, err
	}
	im.table = table{
		geometry:     im.metadata.geometry,
		differencing: im.metadata.hasParent,
		regions:      rs,
		file:         file,
		cache:        &cache{file: file},
	}
	if need := im.table.entries(im.metadata.hasParent) * batEntryBytes; rs.bat.length < need {
		return nil, corrupt("BAT", rs.bat.off, "%d bytes long, the disk needs %d", rs.bat.length, need)
	}
	im.alone = stack{im}
	return im, nil
}

// Size is the size of the virtual disk in bytes.
func (im *Image) Size() int64 { return im.metadata.size }

// BlockSize is the unit of allocation in bytes.
func (im *Image) BlockSize() int64 { return im.metadata.block }

// LogicalSector is the sector size that the guest addresses: 512 or 4096.
func (im *Image) LogicalSector() int { return int(im.metadata.sector) }

// PhysicalSector is the sector size that the guest is told to align to.
func (im *Image) PhysicalSector() int { return int(im.metadata.physical) }

// Fixed reports whether the file keeps all blocks allocated.
func (im *Image) Fixed() bool { return im.metadata.fixed }

// DiskID is the identity of the virtual disk (SCSI page 83), which a
// differencing disk shares with its parents.
func (im *Image) DiskID() disk.GUID { return im.metadata.diskID }

// FileWriteID changes when a program first writes to the file after opening it.
func (im *Image) FileWriteID() disk.GUID { return im.header.fileWriteID }

// DataWriteID changes when the content of the disk first changes after the
// file was opened: it is what differencing disks know their parent by.
func (im *Image) DataWriteID() disk.GUID { return im.header.dataWriteID }

// Creator is the program that made the file, in its own words.
func (im *Image) Creator() string { return im.creator }

// Dirty reports whether the log held entries and was replayed in memory.
func (im *Image) Dirty() bool { return !im.header.logID.IsZero() }

// HasParent reports whether this is a differencing disk.
func (im *Image) HasParent() bool { return im.metadata.hasParent }

// Parent returns what a differencing disk says of its parent, false when it is
// none.
func (im *Image) Parent() (Parent, bool) { return im.metadata.parent, im.metadata.hasParent }

// ReadAt reads from the virtual disk. A differencing disk gives a *ParentError.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	return im.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that ends when ctx does.
func (im *Image) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if im.metadata.hasParent {
		return 0, im.parentError(disk.GUID{}, "its parent is missing")
	}
	return im.alone.ReadAtContext(ctx, p, off)
}

// NextData reports present blocks as data, see disk.Disk. A differencing disk
// gives a *ParentError.
func (im *Image) NextData(off int64) (start, end int64, err error) {
	if im.metadata.hasParent {
		return 0, 0, im.parentError(disk.GUID{}, "its parent is missing")
	}
	return im.alone.NextData(off)
}

func (im *Image) parentError(got disk.GUID, format string, args ...any) error {
	e := &ParentError{
		Child:   im.DiskID(),
		Want:    []disk.GUID{im.metadata.parent.Linkage},
		Got:     got,
		Names:   im.metadata.parent.BaseNames(),
		Problem: fmt.Sprintf(format, args...),
	}
	if !im.metadata.parent.Linkage2.IsZero() {
		e.Want = append(e.Want, im.metadata.parent.Linkage2)
	}
	return e
}

// kind says where the bytes of a part of an image come from.
type kind uint8

const (
	kindZero    kind = iota
	kindData         // this file, in one piece
	kindParent       // the parent
	kindPartial      // this file or the parent, sector by sector; never more than one block
)

// maxRunBlocks bounds the blocks that one run looks at.
const maxRunBlocks = 64 << 10

// run returns the kind of the bytes at off, how many of them (n at most) are of
// that kind, and for data and partial blocks where they lie in the file.
func (t *table) run(c *cursor, off, n int64) (k kind, length, fileOff int64, err error) {
	block := off / t.geometry.block
	within := off - block*t.geometry.block
	k, fileOff, err = t.kindOf(c, block)
	if err != nil {
		return 0, 0, 0, err
	}
	fileOff += within
	length = t.geometry.block - within
	if k == kindPartial {
		return k, min(length, n), fileOff, nil
	}

	for range maxRunBlocks {
		if length >= n {
			break
		}
		block++
		next, nextOff, err := t.kindOf(c, block)
		if err != nil || next != k || k == kindData && nextOff != fileOff+length {
			break // an error is for the read that gets there
		}
		length += t.geometry.block
	}
	return k, min(length, n), fileOff, nil
}

func (t *table) kindOf(c *cursor, block int64) (kind, int64, error) {
	state, off, err := t.blockAt(c, block)
	switch {
	case err != nil:
		return 0, 0, err
	case state == statePresent:
		return kindData, off, nil
	case state == statePartial:
		return kindPartial, off, nil
	case state == stateNotPresent && t.differencing:
		return kindParent, 0, nil
	}
	return kindZero, 0, nil
}
