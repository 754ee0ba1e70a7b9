package vmconfig

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// The replay log holds writes that were promised and perhaps not made: a file
// copied from under a running host has to be read as if they had been.
const (
	logSignature  = 0x01110003
	logHeaderSize = 34
	logEntrySize  = 28
	maxLogEntries = 4096
	maxLogBytes   = 16 << 20 // of all writes in the log together
	maxGrowth     = 64 << 20 // how far a write may lie behind the end of the file
)

// overlay is a file with the writes of its replay log applied in memory.
type overlay struct {
	r      io.ReaderAt
	file   int64 // size of the file
	size   int64 // size with the writes applied
	writes []write
}

type write struct {
	off  int64
	data []byte
}

// replay reads the log that h points at.
func replay(r io.ReaderAt, size int64, h header) (*overlay, error) {
	o := &overlay{r: r, file: size, size: size}
	if h.logSize == 0 {
		return o, nil
	}
	// The space set aside for the log may reach past the end of the file:
	// what was never written need not be there.
	if h.logSize < logHeaderSize || !within(h.logOffset, logHeaderSize, uint64(size)) {
		return nil, &CorruptError{0, "replay log lies outside of the file"}
	}
	head, err := o.bytes(h.logOffset, logHeaderSize, "replay log")
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	if le.Uint32(head) != logSignature {
		return nil, &CorruptError{int64(h.logOffset), "no replay log"}
	}
	if !checksumOK(head, 4) {
		return nil, &CorruptError{int64(h.logOffset), "checksum of the replay log"}
	}
	count := uint64(le.Uint32(head[8:]))
	if count > maxLogEntries || logHeaderSize+count*logEntrySize > h.logSize {
		return nil, &CorruptError{int64(h.logOffset), fmt.Sprintf("replay log of %d entries", count)}
	}
	entries, err := o.bytes(h.logOffset+logHeaderSize, count*logEntrySize, "replay log")
	if err != nil {
		return nil, err
	}
	// The writes are collected before they are applied: the log is not
	// changed by what it says.
	var writes []write
	var total uint64
	for i := range int(count) {
		e, at := entries[i*logEntrySize:][:logEntrySize], int64(h.logOffset)+logHeaderSize+int64(i)*logEntrySize
		if !checksumOK(e, 20) {
			return nil, &CorruptError{at, "checksum of an entry of the replay log"}
		}
		target, n, from := le.Uint64(e), uint64(le.Uint32(e[8:])), le.Uint64(e[12:])
		total += n
		if total > maxLogBytes || !within(from, n, h.logSize) || !within(target, n, uint64(size)+maxGrowth) {
			return nil, &CorruptError{at, "replay log reaches outside"}
		}
		data, err := o.bytes(h.logOffset+from, n, "replay log")
		if err != nil {
			return nil, err
		}
		if crc32.ChecksumIEEE(data) != le.Uint32(e[24:]) {
			return nil, &CorruptError{int64(h.logOffset + from), "checksum of data in the replay log"}
		}
		writes = append(writes, write{int64(target), data})
	}
	o.writes = writes
	for _, w := range writes {
		o.size = max(o.size, w.off+int64(len(w.data)))
	}
	return o, nil
}

// ReadAt reads the file as if the log had been applied.
func (o *overlay) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("vmconfig: negative offset")
	}
	if off >= o.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), o.size-off))
	q := p[:n]
	clear(q)
	if off < o.file {
		m := int(min(int64(n), o.file-off))
		if got, err := o.r.ReadAt(q[:m], off); got < m {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return 0, err
		}
	}
	for _, w := range o.writes {
		from, to := max(off, w.off), min(off+int64(n), w.off+int64(len(w.data)))
		if from < to {
			copy(q[from-off:to-off], w.data[from-w.off:])
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// bytes reads n bytes at off, all of them or none.
func (o *overlay) bytes(off, n uint64, what string) ([]byte, error) {
	if !within(off, n, uint64(o.size)) {
		return nil, &CorruptError{int64(min(off, 1<<62)), what + " reaches past the end of the file"}
	}
	b := make([]byte, n)
	if _, err := o.ReadAt(b, int64(off)); err != nil && n > 0 {
		return nil, fmt.Errorf("vmconfig: read %s: %w", what, err)
	}
	return b, nil
}
