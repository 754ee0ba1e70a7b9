package vhdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"vitrine/fs/disk"
)

// File is a disk presented as the bytes of a dynamic VHDX file with a clean
// log. All bytes are computed when they are read; blocks without data are not
// in the file. It is safe for concurrent use. As a disk.Disk it is the file, not
// the disk in it.
type File struct {
	disk   disk.Disk
	layout layout
	id     Identity
	head   []part // in order; zeros between them and up to the BAT

	mu     sync.Mutex  // guards blocks, and is held while they are counted
	blocks disk.Blocks // nil until they are needed and counted
}

// part is some bytes of the file before the BAT.
type part struct {
	off  int64
	data []byte
}

var (
	_ disk.Disk            = (*File)(nil)
	_ disk.ContextReaderAt = (*File)(nil)
)

// NewFile presents a disk. Its disk.Blocks are used when they are of the
// identity's block size; otherwise the blocks with data are found by NextData:
// at once when the identity does not say how many they are, else when the file
// is first read.
func NewFile(d disk.Disk, id Identity) (*File, error) {
	g, err := id.check(d.Size())
	if err != nil {
		return nil, fmt.Errorf("vhdx: present: %w", err)
	}
	f := &File{disk: d, id: id, layout: layout{geometry: g, allocated: id.Allocated}}
	if b, ok := d.(disk.Blocks); ok && b.BlockSize() == id.BlockSize {
		f.blocks = b
	} else if id.Allocated == 0 {
		if f.blocks, err = count(context.Background(), d, id.BlockSize); err != nil {
			return nil, err
		}
	}
	if f.blocks != nil {
		if id.Allocated == 0 {
			f.layout.allocated = f.blocks.Allocated()
		}
		if err := f.agree(f.blocks); err != nil {
			return nil, err
		}
	}
	f.head = f.makeHead()
	return f, nil
}

// agree refuses blocks that do not fit the size that the file already has.
func (f *File) agree(b disk.Blocks) error {
	if n := b.Allocated(); n != f.layout.allocated || n > f.layout.blocks() {
		return fmt.Errorf("vhdx: present: the disk has %d blocks with data and its identity %d", n, f.layout.allocated)
	}
	return nil
}

// makeHead returns what lies before the BAT. The creator and the sequence
// numbers are part of Layout1.
func (f *File) makeHead() []part {
	h := header{
		sequence:    1,
		fileWriteID: f.id.FileWriteID,
		dataWriteID: f.id.DataWriteID,
		version:     1,
		logLength:   layoutPartBytes,
		logOff:      layoutLogOff,
	}
	first := bytes.TrimRight(h.encode(), "\x00")
	h.sequence = 2
	second := bytes.TrimRight(h.encode(), "\x00")
	regions := encodeRegionTable(
		region{id: batRegion, off: layoutBATOff, length: f.layout.batBytes(), required: true},
		region{id: metadataRegion, off: layoutMetadataOff, length: layoutPartBytes, required: true},
	)
	table, items := encodeMetadata(metadata{geometry: f.layout.geometry, physical: int64(f.id.PhysicalSector), diskID: f.id.DiskID})
	return []part{
		{0, append([]byte(identifierSignature), encodeUTF16("Vitrine")...)},
		{headerOff1, bytes.Clone(first)},
		{headerOff2, bytes.Clone(second)},
		{regionOff1, regions},
		{regionOff2, regions},
		{layoutMetadataOff, table},
		{layoutMetadataOff + metadataTableBytes, items},
	}
}

// Size is the length of the file. It never reads the disk's map.
func (f *File) Size() int64 { return f.layout.fileSize() }

// Identity is what the file was presented with.
func (f *File) Identity() Identity { return f.id }

// known returns the blocks of the disk and counts them when that was not done.
func (f *File) known(ctx context.Context) (disk.Blocks, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.blocks != nil {
		return f.blocks, nil
	}
	b, err := count(ctx, f.disk, f.layout.block)
	if err != nil {
		return nil, err
	}
	if err := f.agree(b); err != nil {
		return nil, err
	}
	f.blocks = b
	return b, nil
}

// ReadAt reads from the file.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	return f.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that ends when ctx does.
func (f *File) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	want, eof := disk.Clip(len(p), off, f.Size())
	if want == 0 {
		return 0, eof
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	for done := 0; done < want; {
		n, err := f.readSome(ctx, p[done:want], off+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return want, eof
}

// readSome fills the beginning of p with bytes of one part of the file.
func (f *File) readSome(ctx context.Context, p []byte, off int64) (int, error) {
	switch {
	case off < layoutBATOff:
		p = p[:min(int64(len(p)), layoutBATOff-off)]
		f.readHead(p, off)
		return len(p), nil
	case off < f.layout.dataOff():
		p = p[:min(int64(len(p)), f.layout.dataOff()-off)]
		return len(p), f.readBAT(ctx, p, off)
	}

	at, err := f.Locate(ctx, off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	p = p[:at.Len]
	if !at.Payload {
		clear(p)
		return len(p), nil
	}
	if err := disk.ReadFull(ctx, f.disk, p, at.Disk); err != nil {
		return 0, fmt.Errorf("vhdx: read %d bytes at offset %d of the presented disk: %w", len(p), at.Disk, err)
	}
	return len(p), nil
}

func (f *File) readHead(p []byte, off int64) {
	clear(p)
	end := off + int64(len(p))
	for _, part := range f.head {
		partEnd := part.off + int64(len(part.data))
		if part.off < end && partEnd > off {
			from := max(part.off, off)
			copy(p[from-off:], part.data[from-part.off:])
		}
	}
}

// readBAT computes a piece of the BAT.
func (f *File) readBAT(ctx context.Context, p []byte, off int64) error {
	clear(p)
	first, end := f.layout.batBlocks(off, int64(len(p)))
	if first == end {
		return nil
	}
	b, err := f.known(ctx)
	if err != nil {
		return err
	}
	firstSlot, err := f.rank(ctx, b, first)
	if err != nil {
		return err
	}
	endSlot, err := f.rank(ctx, b, end)
	if err != nil {
		return err
	}
	w := batWriter{file: f, blocks: b, p: p, off: off}
	return w.write(ctx, first, end, firstSlot, endSlot)
}

// rank is the slot of the first allocated block at or behind block.
func (f *File) rank(ctx context.Context, b disk.Blocks, block int64) (int64, error) {
	if block >= f.layout.blocks() {
		return f.layout.allocated, nil
	}
	n, _, err := b.Rank(ctx, block)
	if err != nil {
		return 0, fmt.Errorf("vhdx: allocated blocks before %d: %w", block, err)
	}
	return n, nil
}

// batWriter writes the BAT entries of allocated blocks into the bytes of the
// file at off.
type batWriter struct {
	file   *File
	blocks disk.Blocks
	p      []byte
	off    int64
}

// write writes the entries of the blocks from first to before end, which have
// the slots from firstSlot to before endSlot. Stretches that are all allocated
// or all not are done at once, others in halves: no more is asked of the disk
// than where its stretches begin.
func (w *batWriter) write(ctx context.Context, first, end, firstSlot, endSlot int64) error {
	n := endSlot - firstSlot
	if n < 0 || n > end-first {
		return fmt.Errorf("vhdx: present: %d of the %d blocks from %d on have data", n, end-first, first)
	}
	if n == 0 {
		return nil
	}
	l := w.file.layout
	if n == end-first {
		for i := range n {
			w.put(l.batEntryOff(first+i), uint64(l.slotOff(firstSlot+i))|statePresent)
		}
		return nil
	}

	middle := first + (end-first)/2
	if perGiB := 1 << 30 / l.block; middle-middle%perGiB > first {
		middle -= middle % perGiB // maps are kept by GiB
	}
	slot, err := w.file.rank(ctx, w.blocks, middle)
	if err != nil {
		return err
	}
	if err := w.write(ctx, first, middle, firstSlot, slot); err != nil {
		return err
	}
	return w.write(ctx, middle, end, slot, endSlot)
}

// put writes the bytes of an entry that lie in p.
func (w *batWriter) put(off int64, entry uint64) {
	if at := off - w.off; at >= 0 && at+batEntryBytes <= int64(len(w.p)) {
		binary.LittleEndian.PutUint64(w.p[at:], entry)
		return
	}
	for i := range int64(batEntryBytes) {
		if at := off + i - w.off; at >= 0 && at < int64(len(w.p)) {
			w.p[at] = byte(entry >> (8 * i))
		}
	}
}
