package vhd

import (
	"context"
	"io"
	"math/bits"

	"vitrine/fs/disk"
)

// maxStep bounds what one step of a read looks at, and so its piece of bitmap
// (2 KiB).
const maxStep = 8 << 20

// ReadAt reads the disk as io.ReaderAt does.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	return m.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that gives up when ctx ends.
func (m *Image) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if m.Type() == Differencing {
		return 0, m.orphan()
	}
	n, end := disk.Clip(len(p), off, m.Size())
	absent := func(p []byte, _ int64) error {
		clear(p)
		return nil
	}
	if got, err := m.readData(ctx, p[:n], off, absent); err != nil {
		return got, err
	}
	return n, end
}

// NextData returns the next extent that the file holds sectors of, in pieces
// of 4 KiB.
func (m *Image) NextData(off int64) (start, end int64, err error) {
	if m.Type() == Differencing {
		return 0, 0, m.orphan()
	}
	return chain{m}.NextData(off)
}

// orphan is the error of a differencing file that nobody gave a parent.
func (m *Image) orphan() *ParentError {
	return &ParentError{Child: m.ID(), Want: m.header.parent.ID, Name: m.header.parent.Name, Reason: "is missing"}
}

// readData fills p, which lies within the disk, from what the file holds and
// calls absent for the parts that it does not. It returns how many bytes are
// read before an error.
func (m *Image) readData(ctx context.Context, p []byte, off int64, absent func(p []byte, off int64) error) (int, error) {
	if m.Type() == Fixed {
		if len(p) == 0 {
			return 0, nil
		}
		if err := m.read(ctx, p, off, "data"); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	for done := 0; done < len(p); {
		at := off + int64(done)
		block, within := at/m.header.blockSize, at%m.header.blockSize
		step := p[done:]
		step = step[:min(int64(len(step)), m.header.blockSize-within, maxStep)]
		var n int
		var err error
		if first := m.table[block]; first == unused {
			err = absent(step, at)
		} else {
			n, err = m.readBlock(ctx, step, at, int64(first)*sector, within, absent)
		}
		if err != nil {
			return done + n, err
		}
		done += len(step)
	}
	return len(p), nil
}

// readBlock fills p from within of the block whose bitmap lies at base in the
// file and whose data lies behind; off is the place of p on the disk.
func (m *Image) readBlock(ctx context.Context, p []byte, off, base, within int64, absent func(p []byte, off int64) error) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	firstByte := within / sector / 8
	lastByte := (within + int64(len(p)) - 1) / sector / 8
	bitmap := make([]byte, lastByte-firstByte+1)
	if err := m.read(ctx, bitmap, base+firstByte, "bitmap"); err != nil {
		return 0, err
	}
	data := base + m.header.bitmap()
	for done := 0; done < len(p); {
		at := within + int64(done)
		present, sectors := run(bitmap, at/sector-firstByte*8)
		part := p[done:]
		part = part[:min(int64(len(part)), sectors*sector-at%sector)]
		var err error
		if present {
			err = m.read(ctx, part, data+at, "data")
		} else {
			err = absent(part, off+int64(done))
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}

// run reports whether bit i of bitmap is set, and how many bits from there on
// are alike.
func run(bitmap []byte, i int64) (set bool, n int64) {
	set = bitmap[i/8]&(0x80>>(i%8)) != 0
	flip := byte(0)
	if set {
		flip = 0xFF
	}
	for end := int64(len(bitmap)) * 8; i+n < end; {
		at := i + n
		rest := (bitmap[at/8] ^ flip) << (at % 8)
		same := int64(min(bits.LeadingZeros8(rest), 8-int(at%8)))
		n += same
		if same < 8-at%8 {
			break
		}
	}
	return set, n
}

// nextData returns the first extent at or behind off and before limit of which
// the file holds sectors; io.EOF when there is none. off and limit lie within
// the disk.
func (m *Image) nextData(off, limit int64) (start, end int64, err error) {
	if m.Type() == Fixed {
		return m.nextFixed(off, limit)
	}
	size := m.header.blockSize
	bitmap := make([]byte, (size/sector+7)/8)
	start = -1
	for off < limit {
		block := off / size
		blockEnd := min((block+1)*size, m.Size())
		if m.table[block] == unused {
			if start >= 0 {
				return start, off, nil
			}
			off = blockEnd
			continue
		}
		if err := m.read(context.Background(), bitmap, int64(m.table[block])*sector, "bitmap"); err != nil {
			return 0, 0, err
		}
		for off < min(blockEnd, limit) {
			next := min((off/pageSize+1)*pageSize, blockEnd)
			if bitmap[off%size/pageSize] == 0 {
				if start >= 0 {
					return start, off, nil
				}
			} else if start < 0 {
				start = off
			}
			off = next
		}
	}
	if start < 0 {
		return 0, 0, io.EOF
	}
	return start, min(off, limit), nil
}

// nextFixed returns the next data of a fixed file: all of it, unless the file
// itself knows its holes.
func (m *Image) nextFixed(off, limit int64) (start, end int64, err error) {
	start, end = off, limit
	if file, ok := m.r.(disk.Disk); ok {
		if start, end, err = file.NextData(off); err != nil {
			return 0, 0, err
		}
	}
	if start >= limit {
		return 0, 0, io.EOF
	}
	return start, min(end, limit), nil
}

// pageSize is what one byte of a bitmap stands for.
const pageSize = 8 * sector
