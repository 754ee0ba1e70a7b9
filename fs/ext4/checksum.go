package ext4

import "hash/crc32"

// crc32c continues crc over p as the kernel does: without the inversions that
// crc32.Update makes at both ends.
func crc32c(crc uint32, p []byte) uint32 {
	return ^crc32.Update(^crc, crc32.MakeTable(crc32.Castagnoli), p)
}

// crc32cNumber continues crc over a little-endian number.
func crc32cNumber(crc, number uint32) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	for range 4 {
		crc = table[byte(crc)^byte(number)] ^ crc>>8
		number >>= 8
	}
	return crc
}

// crc32cZeros continues crc over n zeros, which stand for a checksum.
func crc32cZeros(crc uint32, n int) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	for range n {
		crc = table[byte(crc)] ^ crc>>8
	}
	return crc
}

// crc16 continues the checksum of descriptors without metadata_csum.
func crc16(crc uint16, p []byte) uint16 {
	for _, b := range p {
		crc ^= uint16(b)
		for range 8 {
			carry := crc & 1
			crc >>= 1
			if carry != 0 {
				crc ^= 0xA001
			}
		}
	}
	return crc
}

// bigEndianCRC is the table of the checksum that journals had before
// crc32c: the polynomial of crc32, highest bit first.
type bigEndianCRC [256]uint32

func newBigEndianCRC() *bigEndianCRC {
	var t bigEndianCRC
	for i := range t {
		c := uint32(i) << 24
		for range 8 {
			carry := c >> 31
			c <<= 1
			if carry != 0 {
				c ^= 0x04C11DB7
			}
		}
		t[i] = c
	}
	return &t
}

func (t *bigEndianCRC) update(crc uint32, p []byte) uint32 {
	for _, b := range p {
		crc = crc<<8 ^ t[byte(crc>>24)^b]
	}
	return crc
}
