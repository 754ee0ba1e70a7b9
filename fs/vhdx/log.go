package vhdx

import (
	"context"
	"encoding/binary"
	"hash/crc32"

	"vitrine/fs/disk"
)

const (
	logSector = 4 * kib

	// maxLog is the longest log that is replayed, and with it what a replay
	// may keep in memory. Hyper-V and QEMU make logs of 1 MiB.
	maxLog = 64 * mib

	// maxFile is the largest size that a log may give its file: the largest
	// disk with its structures is far below.
	maxFile = 128 << 40

	logEntrySignature = "loge"
	zeroSignature     = "zero"
	dataDescSignature = "desc"
	dataSignature     = "data"

	logEntryBytes    = 64
	descriptorBytes  = 32
	firstDescriptors = (logSector - logEntryBytes) / descriptorBytes // in the entry's first sector
	moreDescriptors  = logSector / descriptorBytes                   // in each further one
)

// logEntry is the head of a log entry, [MS-VHDX] 2.3.1.1. Offsets at, tail are
// offsets in the ring.
type logEntry struct {
	at, length  int64
	tail        int64
	sequence    uint64
	descriptors int64
	flushed     uint64 // the file was at least so long
	last        uint64 // the file has to be at least so long after replay
}

// descriptorSectors is the number of sectors before the data sectors.
func (e logEntry) descriptorSectors() int64 {
	if e.descriptors <= firstDescriptors {
		return 1
	}
	return 1 + (e.descriptors-firstDescriptors+moreDescriptors-1)/moreDescriptors
}

// descriptorsIn returns where the descriptors of one sector of the entry begin
// and how many there are.
func (e logEntry) descriptorsIn(sector int64) (off, n int64) {
	if sector == 0 {
		return logEntryBytes, min(e.descriptors, firstDescriptors)
	}
	before := firstDescriptors + (sector-1)*moreDescriptors
	return 0, min(e.descriptors-before, moreDescriptors)
}

// logRing reads the sectors of a log.
type logRing struct {
	ctx    context.Context
	file   *view
	off    int64
	length int64
	id     disk.GUID

	window   []byte // some sectors at windowAt
	windowAt int64
}

// sector returns the sector at an offset of the ring, past its end from its
// beginning on. It is valid until the next call.
func (l *logRing) sector(at int64) ([]byte, error) {
	at %= l.length
	if at < l.windowAt || at >= l.windowAt+int64(len(l.window)) {
		if l.window == nil {
			l.window = make([]byte, min(l.length, mib))
		}
		l.windowAt = at / int64(len(l.window)) * int64(len(l.window))
		if err := l.file.read(l.ctx, l.window, l.off+l.windowAt); err != nil {
			l.windowAt = l.length
			return nil, err
		}
	}
	return l.window[at-l.windowAt:][:logSector], nil
}

// replay reads the log that h names and returns its writes and the size that
// the file has after them.
func replay(ctx context.Context, file *view, h header) (*patches, int64, error) {
	if h.logLength > maxLog {
		return nil, 0, &UnsupportedError{Feature: "log to replay of more than 64 MiB"}
	}
	l := &logRing{ctx: ctx, file: file, off: int64(h.logOff), length: int64(h.logLength), id: h.logID}
	entries, err := l.active()
	if err != nil {
		return nil, 0, err
	}
	if len(entries) == 0 {
		return nil, 0, corrupt("log", l.off, "the header names log %s and no entry of it is whole", h.logID)
	}

	if newest := entries[len(entries)-1]; newest.flushed > uint64(file.size) {
		return nil, 0, corrupt("log", l.off+newest.at, "the file is cut short: it was %d bytes long and is %d", newest.flushed, file.size)
	}
	size := uint64(file.size)
	for _, e := range entries {
		if e.last > maxFile {
			return nil, 0, corrupt("log", l.off+e.at, "the file would become %d bytes long", e.last)
		}
		size = max(size, uint64(roundUp(int64(e.last), mib)))
	}

	writes := &patches{}
	for _, e := range entries {
		if err := l.collect(e, int64(size), writes); err != nil {
			return nil, 0, err
		}
	}
	writes.finish()
	return writes, int64(size), nil
}

// active returns the entries to replay, oldest first: of all runs of valid
// entries with sequence numbers in a row whose last entry's tail lies in the
// run, the one that ends highest, from that tail on. [MS-VHDX] 2.3.3
//
// Every sector is looked at a bounded number of times: no valid entry has the
// head of another one inside it, and a run that is invalid is so whatever entry
// of it one begins at, for they all end with the same one.
func (l *logRing) active() ([]logEntry, error) {
	var best []logEntry
	for at := int64(0); at < l.length; {
		run, length, err := l.run(at)
		if err != nil {
			return nil, err
		}
		if len(run) == 0 {
			at += logSector
			continue
		}
		at += length
		if best != nil && run[len(run)-1].sequence <= best[len(best)-1].sequence {
			continue
		}
		for i, e := range run {
			if e.at == run[len(run)-1].tail {
				best = run[i:]
				break
			}
		}
	}
	return best, nil
}

// run returns the valid entries from a place of the ring on whose sequence
// numbers follow each other, and the length of them together.
func (l *logRing) run(at int64) (run []logEntry, length int64, err error) {
	for length < l.length {
		e, ok, err := l.entry((at + length) % l.length)
		if err != nil {
			return nil, 0, err
		}
		if !ok || e.length > l.length-length {
			break
		}
		if n := len(run); n > 0 && e.sequence != run[n-1].sequence+1 {
			break
		}
		run = append(run, e)
		length += e.length
	}
	return run, length, nil
}

// entry checks the entry at a place of the ring: its own fields, then all its
// sectors and its checksum.
func (l *logRing) entry(at int64) (logEntry, bool, error) {
	s, err := l.sector(at)
	if err != nil {
		return logEntry{}, false, err
	}
	e, ok := l.decodeEntry(s, at)
	if !ok {
		return logEntry{}, false, nil
	}
	want := binary.LittleEndian.Uint32(s[4:])
	crc := crc32.Update(0, castagnoli, s[:4])
	crc = crc32.Update(crc, castagnoli, []byte{0, 0, 0, 0})
	crc = crc32.Update(crc, castagnoli, s[8:])

	data := int64(0) // data sectors that the descriptors ask for
	for i := range e.length / logSector {
		if s, err = l.sector(at + i*logSector); err != nil {
			return logEntry{}, false, err
		}
		if i > 0 {
			if string(s[:4]) == logEntrySignature {
				return logEntry{}, false, nil
			}
			crc = crc32.Update(crc, castagnoli, s)
		}
		switch {
		case i < e.descriptorSectors():
			n, ok := countData(e, s, i)
			if !ok {
				return logEntry{}, false, nil
			}
			data += n
		case i < e.descriptorSectors()+data:
			high, low := binary.LittleEndian.Uint32(s[4:]), binary.LittleEndian.Uint32(s[logSector-4:])
			if string(s[:4]) != dataSignature || uint64(high)<<32|uint64(low) != e.sequence {
				return logEntry{}, false, nil
			}
		}
	}
	whole := e.descriptorSectors()+data <= e.length/logSector && crc == want
	return e, whole, nil
}

// decodeEntry reads the head of an entry and checks what it says of itself.
func (l *logRing) decodeEntry(s []byte, at int64) (logEntry, bool) {
	if string(s[:4]) != logEntrySignature || disk.GUID(s[32:48]) != l.id {
		return logEntry{}, false
	}
	e := logEntry{
		at:          at,
		length:      int64(binary.LittleEndian.Uint32(s[8:])),
		tail:        int64(binary.LittleEndian.Uint32(s[12:])),
		sequence:    binary.LittleEndian.Uint64(s[16:]),
		descriptors: int64(binary.LittleEndian.Uint32(s[24:])),
		flushed:     binary.LittleEndian.Uint64(s[48:]),
		last:        binary.LittleEndian.Uint64(s[56:]),
	}
	ok := e.length >= logSector && e.length%logSector == 0 && e.length <= l.length &&
		e.tail%logSector == 0 && e.tail < l.length &&
		e.sequence > 0 && e.descriptorSectors() <= e.length/logSector
	return e, ok
}

// countData returns how many of the descriptors in a sector of an entry have a
// data sector, and false when a descriptor is not of that entry.
func countData(e logEntry, s []byte, sector int64) (int64, bool) {
	data := int64(0)
	off, n := e.descriptorsIn(sector)
	for d := range n {
		b := s[off+d*descriptorBytes:][:descriptorBytes]
		if binary.LittleEndian.Uint64(b[24:]) != e.sequence {
			return 0, false
		}
		switch string(b[:4]) {
		case dataDescSignature:
			data++
		case zeroSignature:
		default:
			return 0, false
		}
	}
	return data, true
}

// collect adds the writes of a valid entry.
func (l *logRing) collect(e logEntry, size int64, writes *patches) error {
	descriptors := make([]byte, logSector)
	dataAt := e.at + e.descriptorSectors()*logSector
	for i := range e.descriptorSectors() {
		s, err := l.sector(e.at + i*logSector)
		if err != nil {
			return err
		}
		copy(descriptors, s)
		off, n := e.descriptorsIn(i)
		for d := range n {
			b := descriptors[off+d*descriptorBytes:][:descriptorBytes]
			target := binary.LittleEndian.Uint64(b[16:])
			if string(b[:4]) == zeroSignature {
				length := binary.LittleEndian.Uint64(b[8:])
				if err := l.checkTarget(e, target, length, size); err != nil {
					return err
				}
				if length > 0 {
					writes.addZeros(int64(target), int64(target+length))
				}
				continue
			}

			if err := l.checkTarget(e, target, logSector, size); err != nil {
				return err
			}
			if s, err = l.sector(dataAt); err != nil {
				return err
			}
			dataAt += logSector
			data := make([]byte, logSector)
			copy(data, b[8:16])
			copy(data[8:], s[8:logSector-4])
			copy(data[logSector-4:], b[4:8])
			writes.addSector(int64(target), data)
		}
	}
	return nil
}

// checkTarget refuses writes that no log holds: outside the file, to the
// headers, to the log itself.
func (l *logRing) checkTarget(e logEntry, target, length uint64, size int64) error {
	if target%logSector != 0 || length%logSector != 0 {
		return corrupt("log", l.off+e.at, "writes %d bytes at %d, not in whole sectors", length, target)
	}
	if target > uint64(size) || length > uint64(size)-target {
		return corrupt("log", l.off+e.at, "writes %d bytes at %d, the file ends at %d", length, target, size)
	}
	if target < structuresOff {
		return corrupt("log", l.off+e.at, "writes %d bytes at %d, into the headers", length, target)
	}
	if target < uint64(l.off+l.length) && target+length > uint64(l.off) {
		return corrupt("log", l.off+e.at, "writes %d bytes at %d, into the log", length, target)
	}
	return nil
}
