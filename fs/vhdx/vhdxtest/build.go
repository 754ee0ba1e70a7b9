package vhdxtest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"unicode/utf16"

	"vitrine/fs/disk"
	"vitrine/fs/vhdx"
)

// Where Build puts the parts of a file. Blocks follow the BAT.
const (
	HeaderOff1  = 64 << 10
	HeaderOff2  = 128 << 10
	RegionOff1  = 192 << 10
	RegionOff2  = 256 << 10
	LogOff      = 1 << 20
	LogLength   = 1 << 20
	MetadataOff = 2 << 20
	ItemsOff    = MetadataOff + 64<<10
	BATOff      = 3 << 20
)

// States of blocks in a BAT.
const (
	NotPresent = 0
	Undefined  = 1
	Zero       = 2
	Unmapped   = 3
	Present    = 6
	Partial    = 7
)

const mib = 1 << 20

// Spec says what Build makes. Fields left zero get ordinary values: blocks of
// 2 MiB, sectors of 512 and 4096 bytes, ids that differ.
type Spec struct {
	Size           int64
	BlockSize      int64
	LogicalSector  int64
	PhysicalSector int64
	Fixed          bool
	DiskID         disk.GUID
	FileWriteID    disk.GUID
	DataWriteID    disk.GUID
	Creator        string
	Parent         *vhdx.Parent    // makes it a differencing disk
	Blocks         map[int64]Block // others are not present
	Order          []int64         // order of the blocks in the file; those not named follow
}

// Block is one block of a disk.
type Block struct {
	State   int
	Data    []byte  // of blocks in the file; shorter than a block: zeros follow
	Sectors []int64 // of a partial block: the sectors in this file, counted within the block
}

func (s Spec) withDefaults() Spec {
	set := func(p *int64, n int64) {
		if *p == 0 {
			*p = n
		}
	}
	set(&s.BlockSize, 2*mib)
	set(&s.LogicalSector, 512)
	set(&s.PhysicalSector, 4096)
	setID := func(g *disk.GUID, n byte) {
		if g.IsZero() {
			*g = ID(n)
		}
	}
	setID(&s.DiskID, 1)
	setID(&s.FileWriteID, 2)
	setID(&s.DataWriteID, 3)
	if s.Creator == "" {
		s.Creator = "vhdxtest"
	}
	return s
}

// ID returns a GUID that is recognized in a dump and differs for every n.
func ID(n byte) disk.GUID {
	return disk.GUID{n, n, n, n, 0xAA, n, 0x40 | n&15, n, 0x80, n, n, n, n, n, n, n}
}

// perBitmap is the number of blocks between two bitmap entries of the BAT.
func (s Spec) perBitmap() int64 { return (8 << 20) * s.LogicalSector / s.BlockSize }

// BATEntryOff returns where the BAT entry of a block lies in the file.
func (s Spec) BATEntryOff(block int64) int64 {
	s = s.withDefaults()
	return BATOff + 8*(block+block/s.perBitmap())
}

// BitmapEntryOff returns where the BAT entry of a block's bitmap lies.
func (s Spec) BitmapEntryOff(block int64) int64 {
	s = s.withDefaults()
	return BATOff + 8*((block/s.perBitmap()+1)*(s.perBitmap()+1)-1)
}

// Build makes a file with a clean log.
func Build(s Spec) *File {
	s = s.withDefaults()
	blocks := (s.Size + s.BlockSize - 1) / s.BlockSize
	entries := blocks + (blocks-1)/s.perBitmap()
	if s.Parent != nil {
		entries = (blocks + s.perBitmap() - 1) / s.perBitmap() * (s.perBitmap() + 1)
	}
	batLength := (max(entries, 1)*8 + mib - 1) / mib * mib
	end := int64(BATOff) + batLength
	f := NewFile(end)

	f.Put(0, append([]byte("vhdxfile"), text(s.Creator)...)...)
	for i, off := range []int64{HeaderOff1, HeaderOff2} {
		f.Put(off, []byte("head")...)
		f.Put64(off+8, uint64(7+i))
		f.Put(off+16, s.FileWriteID[:]...)
		f.Put(off+32, s.DataWriteID[:]...)
		f.Put16(off+66, 1)
		f.Put32(off+68, LogLength)
		f.Put64(off+72, LogOff)
	}
	for _, off := range []int64{RegionOff1, RegionOff2} {
		f.Put(off, []byte("regi")...)
		f.Put32(off+8, 2)
		putRegion(f, off+16, "2dc27766-f623-4200-9d64-115e9bfd4a08", BATOff, batLength)
		putRegion(f, off+48, "8b7ca206-4790-4b9a-b8fe-575f050f886e", MetadataOff, mib)
	}
	s.putMetadata(f)

	order := slices.Clone(s.Order)
	for _, b := range slices.Sorted(maps.Keys(s.Blocks)) {
		if !slices.Contains(order, b) {
			order = append(order, b)
		}
	}
	for _, b := range order {
		block := s.Blocks[b]
		entry := uint64(block.State)
		if block.State >= Present {
			entry |= uint64(end)
			f.Put(end, block.Data...)
			end += s.BlockSize
			f.Truncate(end)
		}
		if block.State == Partial {
			end = s.putBitmap(f, b, block.Sectors, end)
		}
		f.Put64(s.BATEntryOff(b), entry)
	}
	f.Seal()
	return f
}

func putRegion(f *File, off int64, id string, at, length int64) {
	g := mustParse(id)
	f.Put(off, g[:]...)
	f.Put64(off+16, uint64(at))
	f.Put32(off+24, uint32(length))
	f.Put32(off+28, 1)
}

// putBitmap sets bits in the bitmap of a block, which is made at end if need be.
func (s Spec) putBitmap(f *File, block int64, sectors []int64, end int64) int64 {
	at := s.BitmapEntryOff(block)
	entry := binary.LittleEndian.Uint64(f.Get(at, 8))
	if entry == 0 {
		entry = uint64(end) | Present
		f.Put64(at, entry)
		end += mib
		f.Truncate(end)
	}
	bitmap := int64(entry &^ (mib - 1))
	for _, sector := range sectors {
		bit := block%s.perBitmap()*(s.BlockSize/s.LogicalSector) + sector
		f.Put(bitmap+bit/8, f.Get(bitmap+bit/8, 1)[0]|1<<(bit%8))
	}
	return end
}

func (s Spec) putMetadata(f *File) {
	f.Put(MetadataOff, []byte("metadata")...)
	flags := uint32(0)
	if s.Fixed {
		flags |= 1
	}
	if s.Parent != nil {
		flags |= 2
	}
	le32, le64 := binary.LittleEndian.AppendUint32, binary.LittleEndian.AppendUint64
	AddItem(f, "caa16737-fa36-4d43-b3b6-33f0aa44e76b", 4, le32(le32(nil, uint32(s.BlockSize)), flags))
	AddItem(f, "2fa54224-cd1b-4876-b211-5dbed83bf4b8", 6, le64(nil, uint64(s.Size)))
	AddItem(f, "beca12ab-b2e6-4523-93ef-c309e000c746", 6, s.DiskID[:])
	AddItem(f, "8141bf1d-a96f-4709-ba47-f233a8faab5f", 6, le32(nil, uint32(s.LogicalSector)))
	AddItem(f, "cda348c7-445d-4471-9cc9-e9885251c556", 6, le32(nil, uint32(s.PhysicalSector)))
	if s.Parent != nil {
		AddItem(f, LocatorItem, 4, Locator(ParentKeys(*s.Parent)...))
	}
}

// ItemOff returns where the content of the n-th metadata item of Build lies:
// file parameters, size, disk id, logical sector, physical sector, locator.
func ItemOff(n int64) int64 { return ItemsOff + n*32 }

// LocatorItem is the id of the parent locator among the metadata items.
const LocatorItem = "a8d35f2d-b30b-454d-abf7-d3d84834ab0c"

// AddItem adds a metadata item to the table and its content behind the others:
// 32 bytes apart, so only the last one may be longer than that.
func AddItem(f *File, id string, flags uint32, content []byte) {
	n := int64(binary.LittleEndian.Uint16(f.Get(MetadataOff+10, 2)))
	f.Put16(MetadataOff+10, uint16(n+1))
	at := MetadataOff + 32 + n*32
	g := mustParse(id)
	f.Put(at, g[:]...)
	f.Put32(at+16, uint32(ItemOff(n)-MetadataOff))
	f.Put32(at+20, uint32(len(content)))
	f.Put32(at+24, flags)
	f.Put(ItemOff(n), content...)
}

// KeyValue is an entry of a parent locator.
type KeyValue struct{ Key, Value string }

// ParentKeys returns the entries that describe a parent. Empty paths and a zero
// second linkage are left out.
func ParentKeys(p vhdx.Parent) []KeyValue {
	keys := []KeyValue{{"parent_linkage", "{" + p.Linkage.String() + "}"}}
	if !p.Linkage2.IsZero() {
		keys = append(keys, KeyValue{"parent_linkage2", "{" + p.Linkage2.String() + "}"})
	}
	for _, kv := range []KeyValue{
		{"relative_path", p.RelativePath}, {"volume_path", p.VolumePath}, {"absolute_win32_path", p.AbsolutePath},
	} {
		if kv.Value != "" {
			keys = append(keys, kv)
		}
	}
	return keys
}

// Locator returns the content of a parent locator.
func Locator(keys ...KeyValue) []byte {
	kind := mustParse("b04aefb7-d19e-4a81-b789-25b8e9445913")
	b := append([]byte{}, kind[:]...)
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(keys)))
	at := len(b) + 12*len(keys)
	var strings []byte
	for _, kv := range keys {
		key, value := text(kv.Key), text(kv.Value)
		b = binary.LittleEndian.AppendUint32(b, uint32(at+len(strings)))
		b = binary.LittleEndian.AppendUint32(b, uint32(at+len(strings)+len(key)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(key)))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
		strings = append(append(strings, key...), value...)
	}
	return append(b, strings...)
}

func text(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

func mustParse(id string) disk.GUID {
	g, err := disk.ParseGUID(id)
	if err != nil {
		panic(fmt.Sprintf("vhdxtest: %v", err))
	}
	return g
}
