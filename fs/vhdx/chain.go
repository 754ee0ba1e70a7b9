package vhdx

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"

	"vitrine/fs/disk"
)

// maxChain is the longest chain of disks. Hyper-V stops far below.
const maxChain = 256

// Chain puts a differencing disk on its parents, the nearest first, the last
// one without a parent, and returns the disk that the guest sees. Every link is
// checked by the parent's data write id; a missing or wrong parent is a
// *ParentError. Block sizes may differ. Behind the end of a parent that is
// smaller than its child, the parent reads as zeros.
func Chain(child *Image, parents ...*Image) (disk.Disk, error) {
	s := append(stack{child}, parents...)
	if len(s) > maxChain {
		return nil, &UnsupportedError{Feature: fmt.Sprintf("chain of %d disks, %d are the most", len(s), maxChain)}
	}
	seen := make(map[*Image]bool)
	for i, im := range s {
		if seen[im] {
			return nil, im.parentError(im.DataWriteID(), "the chain of its parents comes back to it")
		}
		seen[im] = true
		last := i == len(s)-1
		if last && im.HasParent() {
			return nil, im.parentError(disk.GUID{}, "its parent is missing")
		}
		if last {
			break
		}
		if !im.HasParent() {
			return nil, fmt.Errorf("vhdx: chain: disk %s has no parent and was given one", im.DiskID())
		}
		parent := s[i+1]
		if got := parent.DataWriteID(); !im.metadata.parent.Accepts(got) {
			return nil, im.parentError(got, "the disk with data write id %s is not its parent, or was changed since", got)
		}
		if parent.LogicalSector() != im.LogicalSector() {
			return nil, im.parentError(parent.DataWriteID(), "it has sectors of %d bytes and its parent of %d", im.LogicalSector(), parent.LogicalSector())
		}
	}
	if len(s) == 1 {
		return child, nil
	}
	return s, nil
}

// stack is a disk made of images, each on the next one.
type stack []*Image

var _ disk.ContextReaderAt = stack{}

// Size is the size of the topmost disk.
func (s stack) Size() int64 { return s[0].Size() }

// ReadAt reads from the virtual disk.
func (s stack) ReadAt(p []byte, off int64) (int, error) {
	return s.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext is ReadAt that ends when ctx does.
func (s stack) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	want, eof := disk.Clip(len(p), off, s.Size())
	if want == 0 {
		return 0, eof
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	n, err := s.read(ctx, p[:want], off)
	if err != nil {
		return n, err
	}
	return n, eof
}

// read fills p with what the topmost disk has at off; behind its end that is
// zeros.
func (s stack) read(ctx context.Context, p []byte, off int64) (int, error) {
	t := &s[0].table
	c := t.cursor(ctx)
	done := 0
	for done < len(p) && off < t.size {
		k, n, fileOff, err := t.run(&c, off, min(int64(len(p)-done), t.size-off))
		if err != nil {
			return done, err
		}
		part := p[done:][:n]
		switch k {
		case kindZero:
			clear(part)
		case kindData:
			err = t.file.read(ctx, part, fileOff)
		case kindParent:
			_, err = s[1:].read(ctx, part, off)
		case kindPartial:
			err = s.readPartial(&c, part, off, fileOff)
		}
		if err != nil {
			return done, err
		}
		done += int(n)
		off += n
	}
	clear(p[done:])
	return len(p), nil
}

// readPartial reads from one partially present block, whose bytes at off lie at
// fileOff of the file where its bitmap has them.
func (s stack) readPartial(c *cursor, p []byte, off, fileOff int64) error {
	t := &s[0].table
	block := off / t.block
	bitmap, err := t.bitmapAt(c, block)
	if err != nil {
		return err
	}
	for len(p) > 0 {
		within := off - block*t.block
		bit := t.firstBit(block) + within/t.sector
		lead := within % t.sector
		sectors := (lead + int64(len(p)) + t.sector - 1) / t.sector
		here, n, err := bitRun(c, bitmap, bit, sectors)
		if err != nil {
			return err
		}
		part := p[:min(n*t.sector-lead, int64(len(p)))]
		if here {
			err = t.file.read(c.ctx, part, fileOff)
		} else {
			_, err = s[1:].read(c.ctx, part, off)
		}
		if err != nil {
			return err
		}
		p = p[len(part):]
		off += int64(len(part))
		fileOff += int64(len(part))
	}
	return nil
}

// bitRun returns the bit of a bitmap at offset bitmap of the file, and how many
// from it on (limit at most) are the same. The first bit of a byte is its
// lowest.
func bitRun(c *cursor, bitmap, bit, limit int64) (set bool, n int64, err error) {
	b, err := c.from(bitmap + bit/8)
	if err != nil {
		return false, 0, err
	}
	set = b[0]>>(bit%8)&1 == 1
	for n < limit {
		if b, err = c.from(bitmap + (bit+n)/8); err != nil {
			return false, 0, err
		}
		shift := (bit + n) % 8
		width := int64(8)
		word := uint64(b[0])
		if shift == 0 && len(b) >= 8 {
			width = 64
			word = binary.LittleEndian.Uint64(b)
		}
		if set {
			word = ^word
		}
		same := min(int64(bits.TrailingZeros64(word>>shift)), width-shift)
		n += same
		if same < width-shift {
			break
		}
	}
	return set, min(n, limit), nil
}

const (
	// maxMerged bounds the extents that NextData makes one of.
	maxMerged = 4096
	// mergeBlocks is how many blocks NextData looks ahead for the next of them.
	mergeBlocks = 64
)

// NextData reports blocks as data that a disk of the chain holds, unless a
// disk above says zero, but for what lies in holes of their file where the file
// knows them. A partially present block counts whole.
func (s stack) NextData(off int64) (start, end int64, err error) {
	if off < 0 {
		return 0, 0, fmt.Errorf("vhdx: next data at negative offset %d", off)
	}
	start, end, err = s.next(off, s.Size())
	if err != nil {
		return 0, 0, err
	}
	for range maxMerged {
		more, moreEnd, err := s.next(end, min(s.Size(), end+mergeBlocks*s[0].BlockSize()))
		if err != nil || more != end {
			break // an error is for the call that starts there
		}
		end = moreEnd
	}
	return start, end, nil
}

// next returns the first data from off on that begins before limit, cut there;
// io.EOF when there is none.
func (s stack) next(off, limit int64) (start, end int64, err error) {
	t := &s[0].table
	c := t.cursor(context.Background())
	limit = min(limit, t.size)
	for off < limit {
		k, n, fileOff, err := t.run(&c, off, limit-off)
		if err != nil {
			return 0, 0, err
		}
		switch k {
		case kindData:
			if start, end, ok := t.file.data(fileOff, n); ok {
				return off + start - fileOff, off + end - fileOff, nil
			}
		case kindPartial:
			return off, off + n, nil
		case kindParent:
			start, end, err := s[1:].next(off, off+n)
			if err != io.EOF {
				return start, end, err
			}
		}
		off += n
	}
	return 0, 0, io.EOF
}
