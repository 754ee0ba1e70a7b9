package vhdxtest

import (
	"bytes"
	"encoding/binary"
	"slices"

	"vitrine/fs/disk"
)

const sectorBytes = 4 << 10

// Write is one descriptor of a log entry: Data (4 KiB) at Off, or, without
// Data, Zeros bytes of zeros.
type Write struct {
	Off   uint64
	Data  []byte
	Zeros uint64
}

// LogEntry is an entry of a log. Encode puts in its length, descriptors and
// checksum.
type LogEntry struct {
	ID       disk.GUID
	Sequence uint64
	Tail     uint32
	Flushed  uint64
	Last     uint64
	Writes   []Write
}

// Encode returns the bytes of the entry.
func (e LogEntry) Encode() []byte {
	le := binary.LittleEndian
	heads := make([]byte, 64)
	var data []byte
	for _, w := range e.Writes {
		d := make([]byte, 32)
		le.PutUint64(d[16:], w.Off)
		le.PutUint64(d[24:], e.Sequence)
		if w.Data == nil {
			copy(d, "zero")
			le.PutUint64(d[8:], w.Zeros)
		} else {
			copy(d, "desc")
			copy(d[4:8], w.Data[sectorBytes-4:])
			copy(d[8:16], w.Data[:8])
			s := make([]byte, sectorBytes)
			copy(s, "data")
			le.PutUint32(s[4:], uint32(e.Sequence>>32))
			copy(s[8:], w.Data[8:sectorBytes-4])
			le.PutUint32(s[sectorBytes-4:], uint32(e.Sequence))
			data = append(data, s...)
		}
		heads = append(heads, d...)
	}
	heads = append(heads, make([]byte, (sectorBytes-len(heads)%sectorBytes)%sectorBytes)...)
	b := append(heads, data...)
	copy(b, "loge")
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], e.Tail)
	le.PutUint64(b[16:], e.Sequence)
	le.PutUint32(b[24:], uint32(len(e.Writes)))
	copy(b[32:], e.ID[:])
	le.PutUint64(b[48:], e.Flushed)
	le.PutUint64(b[56:], e.Last)
	SealEntry(b)
	return b
}

// SealEntry puts the right checksum into the bytes of an entry.
func SealEntry(b []byte) {
	clear(b[4:8])
	binary.LittleEndian.PutUint32(b[4:], crc(b))
}

// PutLog writes bytes into the log of a file of Build, round its end if need
// be, and returns the offset in the ring behind them.
func PutLog(f *File, at int64, b []byte) int64 {
	for len(b) > 0 {
		n := min(int64(len(b)), LogLength-at)
		f.Put(LogOff+at, b[:n]...)
		b = b[n:]
		at = (at + n) % LogLength
	}
	return at
}

// SetLog names the log in both headers: it is dirty unless id is zero.
func SetLog(f *File, id disk.GUID) {
	f.Put(HeaderOff1+48, id[:]...)
	f.Put(HeaderOff2+48, id[:]...)
	f.Seal()
}

// MoveToLog makes a file dirty, as a crash does: the sectors (of 4 KiB) at the
// given offsets go into the log from its offset at on, perEntry to an entry, and
// rubbish takes their places. What the disk holds after replay stays the same.
func MoveToLog(f *File, at int64, perEntry int, offsets ...int64) {
	id := ID(0x70)
	first := at
	sequence := uint64(0x1_0000_0000) - 2 // carries into the high word
	for part := range slices.Chunk(offsets, perEntry) {
		e := LogEntry{ID: id, Sequence: sequence, Tail: uint32(first), Flushed: uint64(f.Size()), Last: uint64(f.Size())}
		for _, off := range part {
			data := f.Get(off, sectorBytes)
			if bytes.Count(data, []byte{0}) == sectorBytes {
				e.Writes = append(e.Writes, Write{Off: uint64(off), Zeros: sectorBytes})
			} else {
				e.Writes = append(e.Writes, Write{Off: uint64(off), Data: data})
			}
			f.Put(off, bytes.Repeat([]byte{0xEE}, sectorBytes)...)
		}
		at = PutLog(f, at, e.Encode())
		sequence++
	}
	SetLog(f, id)
}
