package ntfs

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// content is what a file gives to read: its bytes with their holes. It is safe
// for concurrent use.
type content interface {
	io.ReaderAt
	Size() int64
	NextData(off int64) (start, end int64, err error)
}

var _ content = (*stream)(nil)

// stream is the content of an attribute.
type stream struct {
	fs       *FS
	record   uint64
	typ      uint32
	name     string // UTF-16LE
	size     int64  // bytes of the content
	init     int64  // bytes that were written; zeros behind them
	resident bool
	value    []byte
	list     runList
	unit     int64 // clusters of a compression unit, 0 when not compressed
}

func (s *stream) object() string {
	return fmt.Sprintf("attribute %#x of MFT record %d", s.typ, s.record)
}

// begin takes sizes and compression from the first piece of an attribute.
func (s *stream) begin(a *attr) error {
	s.size, s.init = int64(le.Uint64(a.body[48:])), int64(le.Uint64(a.body[56:]))
	alloc := int64(le.Uint64(a.body[40:]))
	if s.size < 0 || s.init < 0 || s.size > 1<<62 || a.low != 0 {
		return damage(s.object(), "size %d, initialized %d, begins at VCN %d", s.size, s.init, a.low)
	}
	s.init = min(s.init, s.size)
	switch method := a.flags & flagCompression; {
	case method == 0:
		if alloc < s.size {
			return damage(s.object(), "%d bytes in %d allocated ones", s.size, alloc)
		}
	case method != flagLZNT1:
		return &NoticeError{fmt.Sprintf("compressed by method %d, which is unknown", method)}
	default:
		shift := a.body[34]
		if shift > 16 || s.fs.geo.cluster<<shift > maxUnit {
			return damage(s.object(), "compression units of 2^%d clusters", shift)
		}
		s.unit = 1 << shift
	}
	return nil
}

// extend appends the runs of the next piece.
func (s *stream) extend(a *attr) error {
	if a.resident {
		return damage(s.object(), "resident piece")
	}
	limit := int64(1<<62) / s.fs.geo.cluster
	if err := s.list.decode(a.runs, a.low, a.high, s.fs.geo.clusters, limit); err != nil {
		return damage(s.object(), "%v", err)
	}
	return nil
}

// Size is the number of bytes of the content.
func (s *stream) Size() int64 { return s.size }

// place returns where on the volume the byte off of the stream lies.
func (s *stream) place(off int64) (int64, bool) {
	c := s.fs.geo.cluster
	lcn, _, ok := s.list.at(off / c)
	if !ok || lcn == hole || s.unit > 0 {
		return -1, false
	}
	return lcn*c + off%c, true
}

// ReadAt reads the content. What lies in neighbouring clusters is read at once.
func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	n, eof := disk.Clip(len(p), off, s.size)
	if n == 0 {
		return 0, eof
	}
	p = p[:n]
	if s.resident {
		return copy(p, s.value[off:]), eof
	}
	done := 0
	if off < s.init {
		p := p[:min(int64(n), s.init-off)]
		read := s.readRuns
		if s.unit > 0 {
			read = s.readUnits
		}
		if k, err := read(p, off); err != nil {
			return k, err
		}
		done = len(p)
	}
	clear(p[done:])
	return n, eof
}

// readRuns reads bytes that lie in clusters as they are.
func (s *stream) readRuns(p []byte, off int64) (int, error) {
	c := s.fs.geo.cluster
	for done := 0; done < len(p); {
		at := off + int64(done)
		lcn, n, ok := s.list.at(at / c)
		if !ok {
			return done, damage(s.object(), "no runs behind byte %d of %d", s.list.end*c, s.size)
		}
		q := p[done:]
		if span := n*c - at%c; int64(len(q)) > span {
			q = q[:span]
		}
		if lcn == hole {
			clear(q)
		} else if err := s.fs.read(q, lcn*c+at%c); err != nil {
			return done, err
		}
		done += len(q)
	}
	return len(p), nil
}

// NextData returns the next extent that has clusters.
func (s *stream) NextData(off int64) (start, end int64, err error) {
	if off < 0 {
		return 0, 0, errNegative
	}
	if off >= s.size {
		return 0, 0, io.EOF
	}
	if s.resident {
		return off, s.size, nil
	}
	c := s.fs.geo.cluster
	unit := max(s.unit, 1)
	// A compression unit with any cluster is data as a whole.
	for vcn := off / c / unit * unit; ; {
		lcn, n, ok := s.list.at(vcn)
		if !ok {
			break
		}
		if lcn == hole {
			vcn += n
			continue
		}
		first, last := vcn/unit*unit, vcn
		for {
			last = (last + n + unit - 1) / unit * unit
			if lcn, n, ok = s.list.at(last); !ok || lcn == hole {
				break
			}
		}
		if start, end = max(first*c, off), min(last*c, s.init); start < end {
			return start, end, nil
		}
		if vcn = last; vcn*c >= s.init {
			break
		}
	}
	// Bytes that have neither clusters nor a hole are unreadable: no hole.
	if behind := max(s.list.end*c, off); behind < s.init {
		return behind, s.init, nil
	}
	return 0, 0, io.EOF
}

// readFull reads exactly len(p) bytes.
func (s *stream) readFull(p []byte, off int64) error {
	return disk.ReadFull(context.Background(), s, p, off)
}

// readAll reads a whole stream that must not be longer than limit.
func (s *stream) readAll(limit int64) ([]byte, error) {
	if s.size > limit {
		return nil, damage(s.object(), "%d bytes, at most %d make sense", s.size, limit)
	}
	if s.resident {
		return s.value, nil
	}
	b := make([]byte, s.size)
	return b, s.readFull(b, 0)
}

// extents returns where on the volume the clusters of a stream lie.
func (s *stream) extents() []disk.Extent {
	c := s.fs.geo.cluster
	var all []disk.Extent
	for i := range s.list.runs {
		if lcn, n := s.list.span(i); lcn != hole {
			all = append(all, disk.Extent{Off: lcn * c, Len: n * c})
		}
	}
	return all
}
