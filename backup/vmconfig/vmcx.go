package vmconfig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The container: two copies of the header, a table of objects (which may name
// further tables), the objects. All numbers are little-endian, all checksums
// CRC-32 with the field itself taken as zero.
const (
	headerSignature = 0x01282014
	headerSize      = 46
	headerStride    = 0x1000 // the second header lies there
	formatVersion   = 0x0400

	tableSignature = 0x01110001
	tableStart     = 0x2000
	objectSize     = 18

	objectTable    = 1
	objectKeyTable = 2
	objectFile     = 3

	maxObjectTables = 64
	maxObjects      = 16 << 10
	maxKeyBytes     = 16 << 20 // of all key tables together
)

type header struct {
	sequence           uint16
	logOffset, logSize uint64
}

type object struct {
	kind   uint8
	offset uint64
	size   uint32
}

// container is an opened VMCX file with its replay log applied.
type container struct {
	r       *overlay
	objects []object
	files   map[uint64]uint32 // file objects: offset -> size
}

func readVMCX(r io.ReaderAt, size int64) (*Node, error) {
	h, err := readHeaders(r)
	if err != nil {
		return nil, err
	}
	o, err := replay(r, size, h)
	if err != nil {
		return nil, err
	}
	c := &container{r: o, files: make(map[uint64]uint32)}
	if err := c.readObjects(); err != nil {
		return nil, err
	}
	return c.readKeys()
}

// readHeaders returns the current header: the valid one with the higher
// sequence number.
func readHeaders(r io.ReaderAt) (header, error) {
	a, rawA, errA := readHeader(r, 0)
	b, rawB, errB := readHeader(r, headerStride)
	for _, err := range []error{errA, errB} {
		if _, damaged := errors.AsType[*CorruptError](err); err != nil && !damaged && !errors.Is(err, ErrFormat) {
			return header{}, err
		}
	}
	switch {
	case errA != nil && errB != nil:
		return header{}, errA
	case errA != nil:
		return b, nil
	case errB != nil:
		return a, nil
	case a.sequence == b.sequence && string(rawA) != string(rawB):
		return header{}, &CorruptError{headerStride, "two different headers with one sequence number"}
	case newer(b.sequence, a.sequence):
		return b, nil
	}
	return a, nil
}

func readHeader(r io.ReaderAt, off int64) (header, []byte, error) {
	b := make([]byte, headerSize)
	if _, err := r.ReadAt(b, off); err != nil {
		if errors.Is(err, io.EOF) {
			return header{}, nil, &CorruptError{off, "file ends inside of a header"}
		}
		return header{}, nil, fmt.Errorf("vmconfig: read header: %w", err)
	}
	le := binary.LittleEndian
	if le.Uint32(b) != headerSignature {
		if off == 0 {
			return header{}, nil, fmt.Errorf("vmconfig: %w", ErrFormat)
		}
		return header{}, nil, &CorruptError{off, "no header"}
	}
	if !checksumOK(b, 4) {
		return header{}, nil, &CorruptError{off, "checksum of the header"}
	}
	if v := le.Uint32(b[10:]); v != formatVersion {
		return header{}, nil, &CorruptError{off, fmt.Sprintf("unknown version %#x", v)}
	}
	return header{le.Uint16(b[8:]), le.Uint64(b[26:]), le.Uint64(b[34:])}, b, nil
}

// newer reports whether sequence number a follows b; they wrap around.
func newer(a, b uint16) bool { return int16(a-b) > 0 }

// checksumOK compares the CRC-32 of b, with the four bytes at field taken as
// zero, with those four bytes.
func checksumOK(b []byte, field int) bool {
	c := crc32.ChecksumIEEE(b[:field])
	c = crc32.Update(c, crc32.IEEETable, make([]byte, 4))
	c = crc32.Update(c, crc32.IEEETable, b[field+4:])
	return c == binary.LittleEndian.Uint32(b[field:])
}

// readObjects reads all object tables, each once.
func (c *container) readObjects() error {
	todo := []uint64{tableStart}
	seen := map[uint64]bool{tableStart: true}
	for len(todo) > 0 {
		off := todo[0]
		todo = todo[1:]
		more, err := c.readObjectTable(off)
		if err != nil {
			return err
		}
		for _, next := range more {
			if seen[next] {
				return &CorruptError{int64(off), "object table listed twice"}
			}
			if len(seen) == maxObjectTables {
				return &CorruptError{int64(off), "too many object tables"}
			}
			seen[next] = true
			todo = append(todo, next)
		}
	}
	return nil
}

func (c *container) readObjectTable(off uint64) (tables []uint64, err error) {
	head, err := c.r.bytes(off, 8, "object table")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint32(head) != tableSignature {
		return nil, &CorruptError{int64(off), "no object table"}
	}
	count := le.Uint32(head[4:])
	if count > maxObjects {
		return nil, &CorruptError{int64(off), fmt.Sprintf("object table of %d entries", count)}
	}
	b, err := c.r.bytes(off+8, uint64(count)*objectSize, "object table")
	if err != nil {
		return nil, err
	}
	for i := range int(count) {
		e, at := b[i*objectSize:][:objectSize], int64(off)+8+int64(i)*objectSize
		o := object{e[0], le.Uint64(e[5:]), le.Uint32(e[13:])}
		if o.kind == 0 || e[17] == 0 {
			continue
		}
		if !checksumOK(e, 1) {
			return nil, &CorruptError{at, "checksum of an object"}
		}
		if err := c.addObject(o, at); err != nil {
			return nil, err
		}
		if o.kind == objectTable {
			tables = append(tables, o.offset)
		}
	}
	return tables, nil
}

func (c *container) addObject(o object, at int64) error {
	if len(c.objects) == maxObjects {
		return &CorruptError{at, "too many objects"}
	}
	switch o.kind {
	case objectTable, objectKeyTable, objectFile:
		if !within(o.offset, uint64(o.size), uint64(c.r.size)) {
			return &CorruptError{at, "object lies outside of the file"}
		}
	}
	if o.kind == objectFile {
		c.files[o.offset] = o.size
	}
	c.objects = append(c.objects, o)
	return nil
}

// within reports whether [off,off+n) lies below size.
func within(off, n, size uint64) bool { return off <= size && n <= size-off }
