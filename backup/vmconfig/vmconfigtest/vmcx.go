package vmconfigtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"unicode/utf16"

	"vitrine/backup/vmconfig"
)

// The layout of the files written: headers at 0 and 4096, one object table,
// the log, then key tables and file objects, each on a page.
const (
	page       = 4096
	tableStart = 0x2000
	logStart   = 0x3000
	logSize    = 0x9000
	heapStart  = logStart + logSize

	largeValue = 0x800 // from this size on a value is a file object
)

// VMCX writes a tree as a .vmcx or .vmrs file. It panics on trees that the
// format cannot hold: more than 227 tables and objects, values of other types.
func VMCX(root *vmconfig.Node) []byte {
	w := &writer{heap: heapStart}
	for i, n := range root.Children {
		w.entry(n, 0, 0, i+1)
	}
	w.closeTable()
	return w.file()
}

type writer struct {
	table   []byte // being filled; nil at first
	tables  [][]byte
	objects []chunk // file objects
	heap    uint64  // next free place for file objects
}

type chunk struct {
	off  uint64
	data []byte
}

// entry writes n below its parent and then what is below n.
func (w *writer) entry(n *vmconfig.Node, table uint16, offset uint32, inserted int) {
	kind, flags, value := w.value(n)
	name := append([]byte(n.Name), 0)
	size := 21 + len(name) + len(value)
	if w.table == nil || len(w.table)+size > page {
		w.openTable()
	}
	le := binary.LittleEndian
	b := make([]byte, size)
	b[0], b[1] = kind, flags
	le.PutUint32(b[2:], uint32(size))
	le.PutUint16(b[6:], table)
	le.PutUint32(b[8:], offset)
	le.PutUint32(b[16:], uint32(inserted))
	b[20] = byte(len(name))
	copy(b[21:], name)
	copy(b[21+len(name):], value)
	le.PutUint32(b[12:], crc32.ChecksumIEEE(b))
	here, at := uint16(len(w.tables)+1), uint32(len(w.table))
	w.table = append(w.table, b...)
	for i, c := range n.Children {
		w.entry(c, here, at, i+1)
	}
}

func (w *writer) openTable() {
	w.closeTable()
	le := binary.LittleEndian
	b := make([]byte, 10, page)
	le.PutUint16(b, 2)
	le.PutUint16(b[2:], uint16(len(w.tables)+1))
	le.PutUint16(b[4:], 1)
	le.PutUint32(b[6:], crc32.ChecksumIEEE(b))
	w.table = b
}

func (w *writer) closeTable() {
	if w.table != nil {
		w.tables = append(w.tables, w.table[:page])
		w.table = nil
	}
}

func (w *writer) value(n *vmconfig.Node) (kind, flags byte, b []byte) {
	le := binary.LittleEndian
	switch v := n.Value.(type) {
	case nil:
		return 9, 0, le.AppendUint32(make([]byte, 8), uint32(len(n.Children)+1))
	case int64:
		return 3, 0, le.AppendUint64(nil, uint64(v))
	case uint64:
		return 4, 0, le.AppendUint64(nil, v)
	case float64:
		return 5, 0, le.AppendUint64(nil, math.Float64bits(v))
	case bool:
		b = make([]byte, 4)
		if v {
			b[0] = 1
		}
		return 8, 0, b
	case string:
		for _, u := range utf16.Encode([]rune(v)) {
			b = le.AppendUint16(b, u)
		}
		return w.sized(6, b)
	case []byte:
		return w.sized(7, v)
	case *vmconfig.Object:
		b = make([]byte, v.Size())
		if _, err := v.ReadAt(b, 0); err != nil && err != io.EOF {
			panic(err)
		}
		return w.large(7, b)
	}
	panic(fmt.Sprintf("vmconfigtest: value of type %T", n.Value))
}

func (w *writer) sized(kind byte, b []byte) (byte, byte, []byte) {
	if len(b) >= largeValue {
		return w.large(kind, b)
	}
	return kind, 0, append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func (w *writer) large(kind byte, b []byte) (byte, byte, []byte) {
	off := w.heap
	w.objects = append(w.objects, chunk{off, b})
	w.heap += (uint64(len(b)) + page - 1) / page * page
	return kind, 1, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), off)
}

// file puts everything in its place.
func (w *writer) file() []byte {
	le := binary.LittleEndian
	b := make([]byte, w.heap+uint64(len(w.tables))*page)
	putHeader(b[:46], 2)
	putHeader(b[page:][:46], 1)

	le.PutUint32(b[tableStart:], 0x01110001)
	le.PutUint32(b[tableStart+4:], 227)
	slot := 0
	object := func(kind byte, off uint64, size int) {
		if slot == 227 {
			panic("vmconfigtest: more than 227 objects")
		}
		e := b[tableStart+8+18*slot:][:18]
		e[0], e[17] = kind, 1
		le.PutUint64(e[5:], off)
		le.PutUint32(e[13:], uint32(size))
		le.PutUint32(e[1:], crc32.ChecksumIEEE(e))
		slot++
	}
	for i, t := range w.tables {
		off := w.heap + uint64(i)*page
		copy(b[off:], t)
		object(2, off, page)
	}
	for _, o := range w.objects {
		copy(b[o.off:], o.data)
		object(3, o.off, len(o.data))
	}
	le.PutUint32(b[logStart:], 0x01110003)
	le.PutUint32(b[logStart+13:], 145)
	le.PutUint32(b[logStart+4:], crc32.ChecksumIEEE(b[logStart:][:34]))
	return b
}

func putHeader(b []byte, sequence uint16) {
	le := binary.LittleEndian
	le.PutUint32(b, 0x01282014)
	le.PutUint16(b[8:], sequence)
	le.PutUint32(b[10:], 0x400)
	le.PutUint32(b[22:], page)
	le.PutUint64(b[26:], logStart)
	le.PutUint64(b[34:], logSize)
	le.PutUint32(b[42:], page)
	le.PutUint32(b[4:], crc32.ChecksumIEEE(b))
}

// Dirty returns the file with what lies in [off,off+n) moved into its replay
// log and overwritten with rubbish, as a crash in the middle of a write leaves
// it. It works for files of VMCX and for real ones with an empty log; calls
// add up.
func Dirty(file []byte, off, n int) []byte {
	le := binary.LittleEndian
	b := append([]byte(nil), file...)
	start := int(le.Uint64(b[26:]))
	log := b[start:]
	count := int(le.Uint32(log[8:]))
	data := 34 + 145*28
	for i := range count {
		e := log[34+28*i:]
		data = max(data, int(le.Uint64(e[12:]))+int(le.Uint32(e[8:])))
	}
	copy(log[data:data+n], b[off:off+n])
	e := log[34+28*count:][:28]
	clear(e)
	le.PutUint64(e, uint64(off))
	le.PutUint32(e[8:], uint32(n))
	le.PutUint64(e[12:], uint64(data))
	le.PutUint32(e[24:], crc32.ChecksumIEEE(log[data:data+n]))
	// The checksum of an entry covers the checksum of its data.
	le.PutUint32(e[20:], crc32.ChecksumIEEE(e))
	le.PutUint32(log[8:], uint32(count+1))
	le.PutUint32(log[4:], 0)
	le.PutUint32(log[4:], crc32.ChecksumIEEE(log[:34]))
	for i := off; i < off+n; i++ {
		b[i] ^= 0xa5
	}
	return b
}
