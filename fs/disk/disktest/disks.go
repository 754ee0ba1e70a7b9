// Package disktest holds the conformance suite that every disk.Disk passes,
// and makers of disks whose content is a function of a seed.
package disktest

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"

	"vitrine/fs/disk"
)

// page is the unit in which the disks of this package hold data.
const page = 4096

// Memory returns b as a disk; pages of zeros are holes.
func Memory(b []byte) disk.Disk { return memory(b) }

type memory []byte

func (m memory) Size() int64 { return int64(len(m)) }

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	n, err := disk.Clip(len(p), off, int64(len(m)))
	if n > 0 {
		copy(p[:n], m[off:])
	}
	return n, err
}

func (m memory) NextData(off int64) (start, end int64, err error) {
	off = max(off, 0)
	for ; off < m.Size() && m.zero(off); off = m.pageEnd(off) {
	}
	if off >= m.Size() {
		return 0, 0, io.EOF
	}
	for end = off; end < m.Size() && !m.zero(end); end = m.pageEnd(end) {
	}
	return off, end, nil
}

func (m memory) pageEnd(off int64) int64 { return min(off-off%page+page, m.Size()) }

// zero reports whether the page around off holds nothing but zeros.
func (m memory) zero(off int64) bool {
	p := m[off-off%page : m.pageEnd(off)]
	return p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

// Random returns size bytes that do not compress.
func Random(seed uint64, size int64) []byte {
	b := make([]byte, size)
	Fill(b, seed)
	return b
}

// Fill fills p with bytes that depend on seed alone and do not compress.
func Fill(p []byte, seed uint64) {
	rng := rand.NewPCG(seed, 0x76697472696e65)
	for ; len(p) >= 8; p = p[8:] {
		binary.LittleEndian.PutUint64(p, rng.Uint64())
	}
	for i := range p {
		p[i] = byte(rng.Uint64())
	}
}

// Sparse returns size bytes of which about one part in holes is data: runs of
// one to sixteen random pages between zeros.
func Sparse(seed uint64, size int64, holes int) []byte {
	b := make([]byte, size)
	rng := rand.New(rand.NewPCG(seed, 1))
	for off := int64(0); off < size; {
		n := min((rng.Int64N(16)+1)*page, size-off)
		if rng.IntN(max(holes, 1)) == 0 {
			Fill(b[off:off+n], rng.Uint64())
		}
		off += n
	}
	return b
}

// Numbered returns size bytes whose every 8 bytes are their own offset plus
// one, so that a misplaced read shows where its bytes came from.
func Numbered(size int64) []byte {
	b := make([]byte, (size+7)&^7)
	for off := 0; off < len(b); off += 8 {
		binary.BigEndian.PutUint64(b[off:], uint64(off)+1)
	}
	return b[:size]
}

// Scattered returns a disk of any size that holds count pages of 4 KiB at
// random places and zeros elsewhere, all computed when it is read: a disk of
// 64 TiB costs nothing. size is a multiple of 4096 and has room for count pages.
func Scattered(seed uint64, size, count int64) disk.Disk {
	return &scattered{seed: seed, size: size, count: count, stride: size / page / max(count, 1)}
}

// scattered cuts the disk into count strides of as many pages; each holds one
// page of data.
type scattered struct {
	seed                uint64
	size, count, stride int64
}

func (s *scattered) Size() int64 { return s.size }

// place is the offset of the i-th page of data.
func (s *scattered) place(i int64) int64 {
	rng := rand.NewPCG(s.seed, uint64(i))
	return (i*s.stride + int64(rng.Uint64()%uint64(s.stride))) * page
}

func (s *scattered) ReadAt(p []byte, off int64) (int, error) {
	n, err := disk.Clip(len(p), off, s.size)
	if n == 0 {
		return 0, err
	}
	p = p[:n]
	clear(p)
	for at := off; ; {
		start, end, none := s.NextData(at)
		if none != nil || start >= off+int64(n) {
			return n, err
		}
		base := start - start%page
		content := Random(s.seed^uint64(base), page)
		copy(p[start-off:], content[start-base:])
		at = end
	}
}

func (s *scattered) NextData(off int64) (start, end int64, err error) {
	off = max(off, 0)
	if s.count == 0 {
		return 0, 0, io.EOF
	}
	for i := off / page / s.stride; i < s.count; i++ {
		if at := s.place(i); off < at+page {
			return max(at, off), at + page, nil
		}
	}
	return 0, 0, io.EOF
}
