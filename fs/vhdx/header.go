package vhdx

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"unicode"
	"unicode/utf16"

	"vitrine/fs/disk"
)

const (
	identifierSignature = "vhdxfile"
	creatorBytes        = 512

	headerSignature = "head"
	headerOff1      = 64 * kib
	headerOff2      = 128 * kib
	headerBytes     = 4 * kib

	// structuresOff is where the parts of a file begin that the log may
	// change: behind the headers.
	structuresOff = 192 * kib
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of b with the four bytes at 4 taken as zero: headers,
// region tables and log entries all keep theirs there.
func checksum(b []byte) uint32 {
	crc := crc32.Update(0, castagnoli, b[:4])
	crc = crc32.Update(crc, castagnoli, []byte{0, 0, 0, 0})
	return crc32.Update(crc, castagnoli, b[8:])
}

// header is one of the two headers, [MS-VHDX] 2.2.2.
type header struct {
	sequence    uint64
	fileWriteID disk.GUID
	dataWriteID disk.GUID
	logID       disk.GUID // zero: the log is empty
	logVersion  uint16
	version     uint16
	logLength   uint32
	logOff      uint64
}

// decodeHeader returns false for bytes that are no valid header.
func decodeHeader(b []byte) (header, bool) {
	if len(b) < headerBytes || string(b[:4]) != headerSignature {
		return header{}, false
	}
	if binary.LittleEndian.Uint32(b[4:]) != checksum(b[:headerBytes]) {
		return header{}, false
	}
	return header{
		sequence:    binary.LittleEndian.Uint64(b[8:]),
		fileWriteID: disk.GUID(b[16:32]),
		dataWriteID: disk.GUID(b[32:48]),
		logID:       disk.GUID(b[48:64]),
		logVersion:  binary.LittleEndian.Uint16(b[64:]),
		version:     binary.LittleEndian.Uint16(b[66:]),
		logLength:   binary.LittleEndian.Uint32(b[68:]),
		logOff:      binary.LittleEndian.Uint64(b[72:]),
	}, true
}

// encode returns the header's 4 KiB.
func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, headerSignature)
	binary.LittleEndian.PutUint64(b[8:], h.sequence)
	copy(b[16:], h.fileWriteID[:])
	copy(b[32:], h.dataWriteID[:])
	copy(b[48:], h.logID[:])
	binary.LittleEndian.PutUint16(b[64:], h.logVersion)
	binary.LittleEndian.PutUint16(b[66:], h.version)
	binary.LittleEndian.PutUint32(b[68:], h.logLength)
	binary.LittleEndian.PutUint64(b[72:], h.logOff)
	binary.LittleEndian.PutUint32(b[4:], checksum(b))
	return b
}

// currentHeader returns the valid header with the higher sequence number. Two
// valid headers with one sequence number name no current one, unless they are
// the same byte for byte, as Disk2vhd writes them.
func currentHeader(ctx context.Context, v *view) (header, error) {
	var raw [2][headerBytes]byte
	var h [2]header
	var valid [2]bool
	for i, off := range []int64{headerOff1, headerOff2} {
		if err := v.read(ctx, raw[i][:], off); err != nil {
			return header{}, err
		}
		h[i], valid[i] = decodeHeader(raw[i][:])
	}

	current := h[0]
	switch {
	case !valid[0] && !valid[1]:
		return header{}, corrupt("headers", headerOff1, "neither of the two is valid")
	case !valid[0]:
		current = h[1]
	case !valid[1]:
	case h[1].sequence > h[0].sequence:
		current = h[1]
	case h[1].sequence == h[0].sequence && !bytes.Equal(raw[0][:], raw[1][:]):
		return header{}, corrupt("headers", headerOff1, "two different headers with sequence number %d", h[0].sequence)
	}
	return current, current.check(v.size)
}

// check looks at the fields that every file must get right.
func (h header) check(fileSize int64) error {
	if h.version != 1 {
		return &UnsupportedError{Feature: fmt.Sprintf("format version %d", h.version)}
	}
	if h.logVersion != 0 && !h.logID.IsZero() {
		return &UnsupportedError{Feature: fmt.Sprintf("log version %d", h.logVersion)}
	}
	if h.logLength == 0 || h.logLength%mib != 0 || h.logOff < mib || h.logOff%mib != 0 {
		return corrupt("header", headerOff1, "log of %d bytes at %d is not in whole MiB", h.logLength, h.logOff)
	}
	if h.logOff > uint64(fileSize) || uint64(h.logLength) > uint64(fileSize)-h.logOff {
		return corrupt("header", headerOff1, "log of %d bytes at %d ends behind the file's %d", h.logLength, h.logOff, fileSize)
	}
	return nil
}

// decodeCreator returns the program that made the file. The text is anybody's:
// what cannot be printed is replaced.
func decodeCreator(b []byte) string {
	var units []uint16
	for ; len(b) >= 2; b = b[2:] {
		unit := binary.LittleEndian.Uint16(b)
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	runes := utf16.Decode(units)
	for i, r := range runes {
		if !unicode.IsPrint(r) {
			runes[i] = unicode.ReplacementChar
		}
	}
	return string(runes)
}

func encodeUTF16(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}
