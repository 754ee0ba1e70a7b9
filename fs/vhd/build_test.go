package vhd_test

import (
	"encoding/binary"
	"math/rand/v2"
	"unicode/utf16"

	"vitrine/fs/disk"
	"vitrine/fs/vhd"
)

const sector = 512

// build describes a VHD file for tests; the zero value of most fields is right.
type build struct {
	kind      vhd.Type
	data      []byte // the disk's content where present says so
	present   func(sector int) bool
	blockSize int // 4096 when zero
	id        disk.GUID
	parent    disk.GUID
	name      string
	seed      uint64 // order of the blocks in the file; 0: that of the disk

	// These change bytes before checksums are made.
	footer func(b []byte)
	header func(b []byte)
	table  func(b []byte)
}

// bytes writes the file as the specification says, not as Open reads it.
func (o build) bytes() []byte {
	if o.blockSize == 0 {
		o.blockSize = 4096
	}
	size := len(o.data)
	footer := make([]byte, 512)
	copy(footer, "conectix")
	footer[11] = 2
	footer[13] = 1
	binary.BigEndian.PutUint64(footer[16:], 512)
	copy(footer[28:], "test")
	binary.BigEndian.PutUint64(footer[40:], uint64(size))
	binary.BigEndian.PutUint64(footer[48:], uint64(size))
	binary.BigEndian.PutUint32(footer[60:], uint32(o.kind))
	copy(footer[68:], o.id[:])
	if o.kind == vhd.Fixed {
		binary.BigEndian.PutUint64(footer[16:], 1<<64-1)
	}
	if o.footer != nil {
		o.footer(footer)
	}
	sum(footer, 64)
	if o.kind == vhd.Fixed {
		return append(append([]byte(nil), o.data...), footer...)
	}

	blocks := (size + o.blockSize - 1) / o.blockSize
	header := make([]byte, 1024)
	copy(header, "cxsparse")
	binary.BigEndian.PutUint64(header[8:], 1<<64-1)
	binary.BigEndian.PutUint64(header[16:], 1536)
	header[25] = 1
	binary.BigEndian.PutUint32(header[28:], uint32(blocks))
	binary.BigEndian.PutUint32(header[32:], uint32(o.blockSize))
	copy(header[40:], o.parent[:])
	for i, u := range utf16.Encode([]rune(o.name)) {
		binary.BigEndian.PutUint16(header[64+2*i:], u)
	}
	if o.header != nil {
		o.header(header)
	}
	sum(header, 36)

	table := make([]byte, (blocks*4+511)/512*512)
	for i := range table {
		table[i] = 0xFF
	}
	order := make([]int, blocks)
	for i := range order {
		order[i] = i
	}
	if o.seed != 0 {
		rand.New(rand.NewPCG(o.seed, 0)).Shuffle(blocks, func(i, j int) { order[i], order[j] = order[j], order[i] })
	}
	base := 1536 + len(table)
	var body []byte
	for _, block := range order {
		bitmap := make([]byte, (o.blockSize/512+4095)/4096*512)
		data := make([]byte, o.blockSize)
		used := false
		for i := range o.blockSize / sector {
			at := block*o.blockSize + i*sector
			if at >= size {
				break
			}
			if o.present != nil && !o.present(at/sector) {
				copy(data[i*sector:(i+1)*sector], "what was here before")
				continue
			}
			used = true
			bitmap[i/8] |= 0x80 >> (i % 8)
			copy(data[i*sector:], o.data[at:at+sector])
		}
		if used {
			binary.BigEndian.PutUint32(table[block*4:], uint32(base+len(body))/512)
			body = append(append(body, bitmap...), data...)
		}
	}
	if o.table != nil {
		o.table(table)
	}
	file := append([]byte(nil), footer...)
	file = append(append(append(file, header...), table...), body...)
	return append(file, footer...)
}

func sum(b []byte, field int) {
	clear(b[field : field+4])
	var s uint32
	for _, x := range b {
		s += uint32(x)
	}
	binary.BigEndian.PutUint32(b[field:], ^s)
}
