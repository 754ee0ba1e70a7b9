// Package vhd reads VHD files, the disks of Windows before VHDX: fixed, dynamic
// and differencing. It also presents any disk as the bytes of a fixed VHD,
// which is what Azure takes. It never writes to what it reads.
//
//	footer   the last 512 bytes of the file: size, type, identity
//	header   of a dynamic or differencing file: block size, table, parent
//	table    where in the file each block lies, if anywhere
//	block    2 MiB of the disk as a rule, stored behind its own bitmap
//	bitmap   one bit per sector of a block, most significant bit first: set
//	         when the file holds the sector
//	sector   512 bytes
//	parent   the disk that a differencing file's missing sectors come from
//
// The facts are those of "Virtual Hard Disk Image Format Specification" 1.0.
// Where tools disagree, Vitrine reads as Hyper-V does: the disk's size is the
// footer's current size, never the older geometry.
package vhd

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"vitrine/fs/disk"
)

// Type is the kind of a VHD file, with the footer's numbers.
type Type uint32

// The types that exist; all other numbers are reserved.
const (
	Fixed        Type = 2
	Dynamic      Type = 3
	Differencing Type = 4
)

// String returns the word that people use.
func (t Type) String() string {
	switch t {
	case Fixed:
		return "fixed"
	case Dynamic:
		return "dynamic"
	case Differencing:
		return "differencing"
	}
	return fmt.Sprintf("type %d", uint32(t))
}

const (
	sector = 512
	unused = 0xFFFFFFFF // a table entry without a block

	// maxSize is 2040 GiB, the largest VHD that Windows and QEMU accept.
	maxSize = 2040 << 30
	// maxBlock bounds the bitmap of a block to 64 KiB.
	maxBlock = 256 << 20
	// maxTable bounds the table in memory to 16 MiB: enough for the largest
	// disk with blocks of 512 KiB, a quarter of what is usual.
	maxTable = 4 << 20
)

// CorruptError is damage in a VHD file.
type CorruptError struct {
	Off    int64  // where in the file the wrong bytes begin
	Reason string // what is wrong with them
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("vhd: damaged at byte %d: %s", e.Off, e.Reason)
}

func corrupt(off int64, format string, args ...any) error {
	return &CorruptError{Off: off, Reason: fmt.Sprintf(format, args...)}
}

// Image is an open VHD file. It is a disk.Disk, safe for concurrent use; one
// that is differencing reads only through Chain.
type Image struct {
	r        io.ReaderAt
	fileSize int64
	footer   footer

	// Of a dynamic or differencing file:
	header header
	table  []uint32 // first sector of each block's bitmap in the file, or unused
}

var (
	_ disk.Disk            = (*Image)(nil)
	_ disk.ContextReaderAt = (*Image)(nil)
)

// Detect reports whether r, a file of size bytes called name, is a VHD. Both
// the name (.vhd, .avhd) and the bytes must say so: a fixed VHD or a raw disk
// begins with bytes that the guest wrote, and a guest that writes the beginning
// of a VHD there must not make its disk read as one (CVE-2008-2004). For the
// same reason a file called .vhd that is none is damaged, not raw.
func Detect(name string, r io.ReaderAt, size int64) (bool, error) {
	switch strings.ToLower(filepath.Ext(name)) {
	case ".vhd", ".avhd":
	default:
		return false, nil
	}
	_, err := findFooter(r, size)
	var none *CorruptError
	if errors.As(err, &none) {
		return false, nil
	}
	return err == nil, err
}

// Open reads the footer and, where there are any, header and table of a VHD
// file of size bytes. It trusts nothing in them: damage is a *CorruptError.
func Open(r io.ReaderAt, size int64) (*Image, error) {
	m := &Image{r: r, fileSize: size}
	var err error
	if m.footer, err = findFooter(r, size); err != nil {
		return nil, err
	}
	if m.footer.kind == Fixed {
		return m, nil
	}
	if err := m.readHeader(); err != nil {
		return nil, err
	}
	if err := m.readTable(); err != nil {
		return nil, err
	}
	return m, nil
}

// Type says which kind of VHD the file is.
func (m *Image) Type() Type { return m.footer.kind }

// Size is the size of the disk in bytes.
func (m *Image) Size() int64 { return m.footer.size }

// BlockBytes is the size of a block, 0 for a fixed file.
func (m *Image) BlockBytes() int64 { return m.header.blockSize }

// ID is the file's identity; differencing files name their parent by it. The
// bytes are taken in Windows order, as Hyper-V shows them; tools that take the
// specification at its word show the first three groups the other way round.
func (m *Image) ID() disk.GUID { return m.footer.id }

// Damage says what is wrong with the file although it can be read, in a few
// words; it is empty as a rule. A header or both footers with a wrong checksum
// come from tools that edit identities by hand. They are read, as other
// readers do, as long as everything else in them agrees.
func (m *Image) Damage() string {
	if m.footer.damage == "" && m.Type() != Fixed && !m.header.sound {
		return "the header's checksum is wrong"
	}
	return m.footer.damage
}

func (m *Image) readHeader() error {
	off := m.footer.headerOff
	if off < 0 || off > m.fileSize-headerSize {
		return corrupt(16, "the header at byte %d lies outside the file of %d bytes", off, m.fileSize)
	}
	b := make([]byte, headerSize)
	if err := m.read(context.Background(), b, off, "header"); err != nil {
		return err
	}
	if err := m.header.unmarshal(b, off); err != nil {
		return err
	}
	if size := m.Size(); size > maxSize {
		return corrupt(off, "%d bytes are more than a %s VHD can hold (%d)", size, m.Type(), int64(maxSize))
	}
	return nil
}

// readTable reads the entries that the disk's size needs and checks that every
// block lies in the file, behind the header and apart from all others.
func (m *Image) readTable() error {
	h := &m.header
	need := (m.Size() + h.blockSize - 1) / h.blockSize
	if need > maxTable {
		return fmt.Errorf("vhd: %d blocks of %d bytes: more than %d blocks are not supported", need, h.blockSize, maxTable)
	}
	if h.entries < need || h.entries != need && !h.sound {
		return corrupt(m.footer.headerOff+28, "%d table entries for %d blocks", h.entries, need)
	}
	if h.tableOff < sector || h.tableOff > m.fileSize || h.entries > (m.fileSize-h.tableOff)/4 {
		return corrupt(m.footer.headerOff+16, "the table of %d entries at byte %d lies outside the file of %d bytes", h.entries, h.tableOff, m.fileSize)
	}
	m.table = make([]uint32, 0, need)
	buf := make([]byte, min(need*4, 256<<10))
	for off := h.tableOff; int64(len(m.table)) < need; off += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), (need-int64(len(m.table)))*4)]
		if err := m.read(context.Background(), buf, off, "table"); err != nil {
			return err
		}
		for i := 0; i < len(buf); i += 4 {
			m.table = append(m.table, binary.BigEndian.Uint32(buf[i:]))
		}
	}
	return m.checkTable()
}

func (m *Image) checkTable() error {
	var used []uint32 // blocks, while they come in the order of the file
	last := int64(-1)
	for i, first := range m.table {
		if first == unused {
			continue
		}
		if err := m.checkBlock(int64(i), int64(first)*sector); err != nil {
			return err
		}
		if last >= 0 && first <= m.table[last] {
			used = make([]uint32, 0, len(m.table))
			break
		}
		if last >= 0 && m.overlap(last, int64(i)) {
			return m.shared(last, int64(i))
		}
		last = int64(i)
	}
	if used == nil {
		return nil
	}

	for i, first := range m.table {
		if first == unused {
			continue
		}
		if err := m.checkBlock(int64(i), int64(first)*sector); err != nil {
			return err
		}
		used = append(used, uint32(i))
	}
	slices.SortFunc(used, func(a, b uint32) int { return cmp.Compare(m.table[a], m.table[b]) })
	for n := 1; n < len(used); n++ {
		if a, b := int64(used[n-1]), int64(used[n]); m.overlap(a, b) {
			return m.shared(a, b)
		}
	}
	return nil
}

// stored is how many bytes of the file a block needs; the disk may end within
// the last one.
func (m *Image) stored(block int64) int64 {
	return m.header.bitmap() + min(m.header.blockSize, m.Size()-block*m.header.blockSize)
}

// checkBlock checks the place of a block, at, against the file and the
// structures in it.
func (m *Image) checkBlock(block, at int64) error {
	h := &m.header
	end := at + m.stored(block)
	entry := h.tableOff + block*4
	switch {
	case end > m.fileSize-m.footer.length:
		return corrupt(entry, "block %d at byte %d lies outside the file of %d bytes", block, at, m.fileSize)
	case at < sector,
		at < m.footer.headerOff+headerSize && m.footer.headerOff < end,
		at < h.tableOff+int64(len(m.table))*4 && h.tableOff < end:
		return corrupt(entry, "block %d at byte %d lies on the file's own structures", block, at)
	}
	return nil
}

// overlap reports whether block a reaches into block b, which begins behind
// the beginning of a.
func (m *Image) overlap(a, b int64) bool {
	return (int64(m.table[b])-int64(m.table[a]))*sector < m.stored(a)
}

func (m *Image) shared(a, b int64) error {
	return corrupt(m.header.tableOff+b*4, "blocks %d and %d share bytes of the file", a, b)
}

// read fills p from the file.
func (m *Image) read(ctx context.Context, p []byte, off int64, what string) error {
	return readFile(ctx, m.r, p, off, what)
}

func readFile(ctx context.Context, r io.ReaderAt, p []byte, off int64, what string) error {
	if err := disk.ReadFull(ctx, r, p, off); err != nil {
		return fmt.Errorf("vhd: read %s: %d bytes at %d: %w", what, len(p), off, err)
	}
	return nil
}

// fits reports whether n is a size that a disk may have.
func fits(n uint64) bool { return n > 0 && n <= math.MaxInt64-sector && n%sector == 0 }
