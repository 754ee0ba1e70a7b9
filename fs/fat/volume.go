package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"strings"
	"sync"

	"vitrine/fs/disk"
)

// Kinds of volumes.
type kind int

const (
	fat12 kind = iota
	fat16
	fat32
	exfat
)

func (k kind) String() string { return [...]string{"FAT12", "FAT16", "FAT32", "exFAT"}[k] }

// geometry is where the parts of a volume lie, in bytes.
type geometry struct {
	kind      kind
	sector    int64
	cluster   int64  // bytes of a cluster
	last      uint32 // number of the last cluster
	table     int64  // the table in use
	tableSize int64
	mirror    int64 // a second table that should be equal; 0: none
	heap      int64 // the first cluster
	rootOff   int64 // root directory of FAT12 and FAT16
	rootSize  int64
	root      uint32 // first cluster of the root directory of others
	length    int64
	serial    uint32
	label     string
	dirty     bool // says the boot sector
	failed    bool // says exFAT of the medium
	second    bool // the second table and bitmap are in use
}

// place returns the byte offset of a cluster, which must be one.
func (g *geometry) place(c uint32) int64 { return g.heap + int64(c-2)*g.cluster }

// valid reports whether c is the number of a cluster.
func (g *geometry) valid(c uint32) bool { return c >= 2 && c <= g.last }

// FS is a FAT or exFAT volume. It is safe for concurrent use.
type FS struct {
	r     io.ReaderAt
	size  int64
	g     geometry
	pages *pages
	root  node
	label string
	notes []string
	doubt string

	upcase []uint16 // exFAT: the upper case of each UTF-16 unit; nil: Unicode's
	bitmap node     // exFAT: the allocation bitmap

	scan   sync.Mutex
	linked *links

	finding sync.Mutex
	indexes indexes
}

// Probe reports whether r begins as a FAT or exFAT volume does.
func Probe(r io.ReaderAt, size int64) bool {
	b := make([]byte, 512)
	if size < 1024 || disk.ReadFull(context.Background(), r, b, 0) != nil {
		return false
	}
	if isExFAT(b) {
		return true
	}
	_, err := parseFAT(b, size)
	return err == nil
}

func isExFAT(b []byte) bool {
	return string(b[3:11]) == "EXFAT   " && b[510] == 0x55 && b[511] == 0xaa
}

// Open reads the boot sector of the volume of size bytes in r.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	ctx := context.Background()
	b := make([]byte, 512)
	if err := disk.ReadFull(ctx, r, b, 0); err != nil {
		return nil, fmt.Errorf("fat: read boot sector: %w", err)
	}
	v := &FS{r: r, size: size, pages: newPages(r, size), indexes: indexes{seed: maphash.MakeSeed(), byDir: make(map[uint64]*index)}}
	var err error
	switch {
	case isExFAT(b):
		err = v.openExFAT(ctx)
	default:
		err = v.openFAT(ctx, b)
	}
	if err != nil {
		return nil, err
	}
	if v.g.length > size {
		v.question(fmt.Sprintf("the volume is cut off: it has %d bytes of %d", size, v.g.length))
	}
	return v, nil
}

// openFAT opens FAT12, FAT16 and FAT32.
func (v *FS) openFAT(ctx context.Context, b []byte) error {
	g, err := parseFAT(b, v.size)
	if err != nil {
		return err
	}
	v.g, v.label = g, g.label
	v.root = node{name: ".", id: rootID, dir: true, first: g.root}
	t := &table{v: v}
	e, err := t.get(ctx, 1)
	if err != nil {
		return err
	}
	clean, sound := uint32(1)<<27, uint32(1)<<26
	if g.kind == fat16 {
		clean, sound = 1<<15, 1<<14
	}
	if g.dirty || g.kind != fat12 && e&clean == 0 {
		v.question("the volume was not unmounted cleanly")
	}
	if g.kind != fat12 && e&sound == 0 {
		v.question("the volume has had errors on its medium")
	}
	label, ok, err := v.findLabel(ctx)
	if ok {
		v.label = label
	}
	if err != nil {
		v.question(fmt.Sprintf("the root directory is damaged: %v", err))
	}
	return nil
}

// parseFAT decodes and checks the boot sector of FAT12, FAT16 and FAT32.
func parseFAT(b []byte, size int64) (geometry, error) {
	u16, u32 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32
	bad := func(what string, n any) (geometry, error) {
		return geometry{}, damaged("boot sector", 0, fmt.Sprintf("%s %v", what, n))
	}
	sector, per, reserved, tables := int64(u16(b[11:])), int64(b[13]), int64(u16(b[14:])), int64(b[16])
	roots, media := int64(u16(b[17:])), b[21]
	sectors, tableSectors := int64(u16(b[19:])), int64(u16(b[22:]))
	if sectors == 0 {
		sectors = int64(u32(b[32:]))
	}
	g := geometry{sector: sector, cluster: sector * per}
	ext := 36
	if tableSectors == 0 {
		g.kind = fat32
		ext = 64
		tableSectors = int64(u32(b[36:]))
	}
	switch {
	case b[510] != 0x55 || b[511] != 0xaa:
		return bad("no signature", "")
	case b[0] != 0xeb && b[0] != 0xe9:
		return bad("it begins with", b[0])
	case sector < 512 || sector > 4096 || sector&(sector-1) != 0:
		return bad("sector size", sector)
	case per == 0 || per&(per-1) != 0:
		return bad("sectors in a cluster", per)
	case reserved == 0:
		return bad("reserved sectors", reserved)
	case tables == 0 || tables > 16:
		return bad("number of tables", tables)
	case media < 0xf0 || media > 0xf0 && media < 0xf8:
		return bad("media type", media)
	case tableSectors == 0:
		return bad("table sectors", tableSectors)
	case g.kind == fat32 && (roots != 0 || u16(b[42:]) != 0):
		return bad("FAT32 version", u16(b[42:]))
	case g.kind != fat32 && roots == 0:
		return bad("root entries", roots)
	}
	rootSectors := (roots*32 + sector - 1) / sector
	data := reserved + tables*tableSectors + rootSectors
	if sectors <= data {
		return bad("sectors", sectors)
	}
	clusters := (sectors - data) / per
	bits := int64(32)
	if g.kind != fat32 {
		g.kind, bits = fat16, 16
		if clusters < 4085 {
			g.kind, bits = fat12, 12
		}
		if clusters > 65524 {
			return bad("clusters", clusters)
		}
	}
	if clusters == 0 || clusters > 0x0ffffff5 {
		return bad("clusters", clusters)
	}
	if (clusters+2)*bits > tableSectors*sector*8 {
		return bad("a table too small for clusters", clusters)
	}
	g.last = uint32(clusters + 1)
	g.tableSize = tableSectors * sector
	g.table = reserved * sector
	if tables > 1 {
		g.mirror = g.table + g.tableSize
	}
	g.rootOff, g.rootSize = (reserved+tables*tableSectors)*sector, roots*32
	g.heap = data * sector
	g.length = sectors * sector
	g.dirty = b[ext+1]&1 != 0
	if g.kind == fat32 {
		if flags := u16(b[40:]); flags&0x80 != 0 {
			active := int64(flags & 15)
			if active >= tables {
				return bad("active table", active)
			}
			g.table, g.mirror = g.table+active*g.tableSize, 0
		}
		if g.root = u32(b[44:]) & entryMask; !g.valid(g.root) {
			return bad("root cluster", g.root)
		}
	}
	if b[ext+2] == 0x29 {
		g.serial = u32(b[ext+3:])
		if label := decodeOEM(b[ext+7 : ext+18]); label != "NO NAME" {
			g.label = label
		}
	}
	return g, nil
}

// decodeOEM decodes a padded label.
func decodeOEM(b []byte) string {
	b = bytes.TrimRight(b, " \x00")
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	var s strings.Builder
	for i, c := range b {
		if i == 0 && c == 5 {
			c = 0xe5
		}
		s.WriteRune(oemRune(c))
	}
	return s.String()
}

// question notes a doubt about the volume's free space.
func (v *FS) question(why string) {
	v.notes = append(v.notes, why)
	if v.doubt == "" {
		v.doubt = why
	}
}

// Type is "FAT12", "FAT16", "FAT32" or "exFAT".
func (v *FS) Type() string { return v.g.kind.String() }

// Label is the name given to the volume.
func (v *FS) Label() string { return v.label }

// UUID is the volume's serial number, as Windows and Linux write it.
func (v *FS) UUID() string { return fmt.Sprintf("%04X-%04X", v.g.serial>>16, v.g.serial&0xffff) }

// Notes are sentences about the state of the volume.
func (v *FS) Notes() []string { return append([]string(nil), v.notes...) }

// Consistent reports whether Free can be trusted, and why not.
func (v *FS) Consistent() (bool, string) { return v.doubt == "", v.doubt }
