// Package vhdxtest makes VHDX files for tests: ordinary ones of every type, with
// dirty logs, with parents, and pieces to make broken ones of. It shares no code
// with package vhdx but its types, so that one checks the other.
package vhdxtest

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"slices"
)

const pageBytes = 64 << 10

// File is a sparse file in memory, so that a test can have one of terabytes.
type File struct {
	pages map[int64][]byte
	size  int64
}

// NewFile returns a file of zeros.
func NewFile(size int64) *File {
	return &File{pages: make(map[int64][]byte), size: size}
}

// Size is the length of the file.
func (f *File) Size() int64 { return f.size }

// Truncate changes the length. Bytes behind it are not forgotten.
func (f *File) Truncate(size int64) { f.size = size }

// ReadAt reads as io.ReaderAt says.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("vhdxtest: negative offset")
	}
	if off >= f.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), f.size-off))
	for done := 0; done < n; {
		at := off + int64(done)
		part := p[done:min(n, done+int(pageBytes-at%pageBytes))]
		if page, ok := f.pages[at/pageBytes]; ok {
			copy(part, page[at%pageBytes:])
		} else {
			clear(part)
		}
		done += len(part)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes as io.WriterAt says and makes the file longer when needed.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("vhdxtest: negative offset")
	}
	f.size = max(f.size, off+int64(len(p)))
	for done := 0; done < len(p); {
		at := off + int64(done)
		page, ok := f.pages[at/pageBytes]
		if !ok {
			page = make([]byte, pageBytes)
			f.pages[at/pageBytes] = page
		}
		done += copy(page[at%pageBytes:], p[done:])
	}
	return len(p), nil
}

// Put writes at off. It is WriteAt for a test that has no use for its results.
func (f *File) Put(off int64, p ...byte) {
	if _, err := f.WriteAt(p, off); err != nil {
		panic(err)
	}
}

// Put16 writes a little-endian number of two bytes.
func (f *File) Put16(off int64, n uint16) { f.Put(off, binary.LittleEndian.AppendUint16(nil, n)...) }

// Put32 writes a little-endian number of four bytes.
func (f *File) Put32(off int64, n uint32) { f.Put(off, binary.LittleEndian.AppendUint32(nil, n)...) }

// Put64 writes a little-endian number of eight bytes.
func (f *File) Put64(off int64, n uint64) { f.Put(off, binary.LittleEndian.AppendUint64(nil, n)...) }

// Get returns n bytes at off, zeros behind the end of the file.
func (f *File) Get(off, n int64) []byte {
	p := make([]byte, n)
	if _, err := f.ReadAt(p, off); err != nil && err != io.EOF {
		panic(err)
	}
	return p
}

// Clone returns a copy.
func (f *File) Clone() *File {
	c := NewFile(f.size)
	for at, page := range f.pages {
		c.pages[at] = slices.Clone(page)
	}
	return c
}

// Save writes the file to the disk of this machine, pages that were never
// written as holes.
func (f *File) Save(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	for at, page := range f.pages {
		if at*pageBytes >= f.size {
			continue
		}
		if _, err := out.WriteAt(page[:min(pageBytes, f.size-at*pageBytes)], at*pageBytes); err != nil {
			return err
		}
	}
	if err := out.Truncate(f.size); err != nil {
		return err
	}
	return out.Close()
}

// Seal puts right checksums into both headers and both region tables, after a
// test changed them.
func (f *File) Seal() {
	for _, s := range []struct{ off, length int64 }{
		{HeaderOff1, 4 << 10}, {HeaderOff2, 4 << 10}, {RegionOff1, 64 << 10}, {RegionOff2, 64 << 10},
	} {
		f.Put32(s.off+4, 0)
		f.Put32(s.off+4, crc(f.Get(s.off, s.length)))
	}
}

func crc(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}
