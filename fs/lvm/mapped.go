package lvm

import (
	"context"
	"fmt"
	"io"
	"sort"

	"vitrine/fs/disk"
)

// mapped is a volume put together of pieces of other disks.
type mapped struct {
	size  int64
	parts []piece // without gaps, in order
	width int
}

// maxWidth bounds the disks that one look for data may have to ask.
const maxWidth = 4096

// width is the number of disks that a look for data in the piece asks.
func (p piece) width() int {
	n := 0
	for _, l := range p.legs {
		n += width(l.d)
	}
	return n
}

func width(d disk.Disk) int {
	switch d := d.(type) {
	case *mapped:
		return d.width
	case *thin:
		return max(width(d.pool.data), width(d.origin))
	}
	return 1
}

// piece is a run of a volume that lies on one leg, or on several in stripes.
type piece struct {
	start, size int64
	stripe      int64
	legs        []place
}

// place is a point on a disk.
type place struct {
	d   disk.Disk
	off int64
}

var _ interface {
	disk.Disk
	disk.ContextReaderAt
} = (*mapped)(nil)

func (m *mapped) Size() int64 { return m.size }

func (m *mapped) ReadAt(p []byte, off int64) (int, error) {
	return m.ReadAtContext(context.Background(), p, off)
}

// find returns the number of the part that holds off.
func (m *mapped) find(off int64) int {
	return sort.Search(len(m.parts), func(i int) bool { return m.parts[i].start+m.parts[i].size > off })
}

func (m *mapped) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, end := disk.Clip(len(p), off, m.size)
	done := 0
	for i := m.find(off); done < n && i < len(m.parts); {
		part := m.parts[i]
		at := off + int64(done) - part.start
		leg, on, run := part.at(at, len(part.legs))
		want := p[done:][:min(int64(n-done), run)]
		if err := disk.ReadFull(ctx, part.legs[leg].d, want, part.legs[leg].off+on); err != nil {
			return done, fmt.Errorf("lvm: read %d bytes at %d: %w", len(want), off+int64(done), err)
		}
		done += len(want)
		if at+int64(len(want)) == part.size {
			i++
		}
	}
	return done, end
}

func (m *mapped) NextData(off int64) (start, end int64, err error) {
	off = max(off, 0)
	for i := m.find(off); i < len(m.parts); i++ {
		p := m.parts[i]
		start, end, err := p.nextData(max(off-p.start, 0))
		if err == nil {
			return p.start + start, p.start + end, nil
		}
		if err != io.EOF {
			return 0, 0, err
		}
	}
	return 0, 0, io.EOF
}

// nextData asks every leg for its next data and takes what comes first in the
// piece.
func (p piece) nextData(off int64) (start, end int64, err error) {
	n := len(p.legs)
	length := p.size / int64(n)
	start = -1
	for i, l := range p.legs {
		on := p.first(i, off, n)
		if on >= length {
			continue
		}
		a, b, err := l.d.NextData(l.off + on)
		if err == io.EOF {
			continue
		}
		if err != nil {
			return 0, 0, err
		}
		a, b = a-l.off, min(b-l.off, length)
		if a >= length {
			continue
		}
		from := p.logical(i, a, n)
		if start >= 0 && from >= start {
			continue
		}
		_, _, run := p.at(from, n)
		start, end = from, from+min(run, b-a)
	}
	if start < 0 {
		return 0, 0, io.EOF
	}
	return start, end, nil
}
