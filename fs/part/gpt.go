package part

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"

	"vitrine/fs/disk"
)

const (
	gptMagic = "EFI PART"
	// maxEntries bytes of entries are read: 128 entries take 16 KiB.
	maxEntries    = 1 << 20
	maxPartitions = 1024
)

// gptHeader is what one copy of a GPT says.
type gptHeader struct {
	self, other   uint64
	first, last   uint64
	id            disk.GUID
	entries       uint64
	count, length uint32
	entriesCRC    uint32
}

// parseGPT reads a header that stands in sector at; the error says what is
// wrong with it.
func parseGPT(b []byte, at uint64) (gptHeader, error) {
	var h gptHeader
	le := binary.LittleEndian
	if string(b[:8]) != gptMagic {
		return h, fmt.Errorf("there is none")
	}
	n := le.Uint32(b[12:])
	if n < 92 || int(n) > len(b) {
		return h, fmt.Errorf("its header has an impossible length of %d", n)
	}
	own := append([]byte(nil), b[:n]...)
	clear(own[16:20])
	if crc32.ChecksumIEEE(own) != le.Uint32(b[16:]) {
		return h, fmt.Errorf("the checksum of its header is wrong")
	}
	h = gptHeader{
		self: le.Uint64(b[24:]), other: le.Uint64(b[32:]), first: le.Uint64(b[40:]), last: le.Uint64(b[48:]),
		id: disk.GUID(b[56:72]), entries: le.Uint64(b[72:]),
		count: le.Uint32(b[80:]), length: le.Uint32(b[84:]), entriesCRC: le.Uint32(b[88:]),
	}
	switch {
	case h.self != at:
		return h, fmt.Errorf("its header says to be that of sector %d", h.self)
	case h.length < 128 || h.length%8 != 0 || h.length > 4096:
		return h, fmt.Errorf("its entries are %d bytes long", h.length)
	case uint64(h.count)*uint64(h.length) > maxEntries:
		return h, fmt.Errorf("it has %d entries", h.count)
	}
	return h, nil
}

// loadGPT reads the copy whose header stands in sector at; why says what is
// wrong with it, err that the disk cannot be read.
func loadGPT(r io.ReaderAt, size int64, sector int, at uint64) (h gptHeader, entries []byte, why, err error) {
	unit := uint64(sector)
	if at > uint64(size)/unit || (at+1)*unit > uint64(size) {
		return h, nil, fmt.Errorf("the disk is too small"), nil
	}
	b := make([]byte, sector)
	if err := readAt(r, b, int64(at*unit)); err != nil {
		return h, nil, nil, fmt.Errorf("part: read GPT header in sector %d: %w", at, err)
	}
	if h, why = parseGPT(b, at); why != nil {
		return h, nil, why, nil
	}
	n := uint64(h.count) * uint64(h.length)
	if h.entries > uint64(size)/unit || h.entries*unit+n > uint64(size) {
		return h, nil, fmt.Errorf("its entries lie behind the end of the disk"), nil
	}
	entries = make([]byte, n)
	if err := readAt(r, entries, int64(h.entries*unit)); err != nil {
		return h, nil, nil, fmt.Errorf("part: read GPT entries at sector %d: %w", h.entries, err)
	}
	if crc32.ChecksumIEEE(entries) != h.entriesCRC {
		return h, nil, fmt.Errorf("the checksum of its entries is wrong"), nil
	}
	return h, entries, nil, nil
}

// readGPT returns the disk's GPT, or nil when it has none that counts: without
// a protective MBR only a whole primary copy on a disk without any boot sector
// does.
func readGPT(r io.ReaderAt, size int64, sector int, protective, noBoot bool) (*Table, error) {
	if !protective && !noBoot {
		return nil, nil
	}
	other := 512 + 4096 - sector
	for _, unit := range []int{sector, other} {
		h, entries, why, err := loadGPT(r, size, unit, 1)
		if err != nil {
			return nil, err
		}
		if why == nil {
			if noBoot {
				if c, err := Identify(r, size); err != nil || len(c) > 0 {
					return nil, err
				}
			}
			t := h.table(entries, unit, size)
			if unit != sector {
				t.Notes = append(t.Notes, fmt.Sprintf("the GPT was written for sectors of %d bytes, the disk has %d", unit, sector))
			}
			_, _, why, err := loadGPT(r, size, unit, h.other)
			if err != nil {
				return nil, err
			}
			if why != nil {
				t.Notes = append(t.Notes, fmt.Sprintf("the backup copy of the GPT is of no use: %v", why))
			}
			return t, nil
		}
		if noBoot {
			continue
		}
		backup := uint64(size)/uint64(unit) - 1
		if h.self == 1 && h.other > 1 && h.other < backup {
			backup = h.other
		}
		h, entries, bad, err := loadGPT(r, size, unit, backup)
		if err != nil {
			return nil, err
		}
		if bad == nil {
			t := h.table(entries, unit, size)
			t.Notes = append(t.Notes, fmt.Sprintf("the primary GPT is damaged (%v); its backup copy is used", why))
			return t, nil
		}
	}
	return nil, nil
}

// table makes the list of partitions.
func (h gptHeader) table(entries []byte, sector int, size int64) *Table {
	t := &Table{Scheme: GPT, Sector: sector, ID: h.id.String()}
	le := binary.LittleEndian
	for i := 0; i < int(h.count); i++ {
		e := entries[i*int(h.length):][:128]
		p := Partition{Index: i + 1, Type: Type{GUID: disk.GUID(e[:16])}, ID: disk.GUID(e[16:32]).String(), Name: gptName(e[56:128])}
		if p.Type.GUID.IsZero() {
			continue
		}
		if len(t.Partitions) == maxPartitions {
			t.Notes = append(t.Notes, fmt.Sprintf("the disk has more than %d partitions; the rest is not shown", maxPartitions))
			break
		}
		first, last := le.Uint64(e[32:]), le.Uint64(e[40:])
		if last < first || last == 1<<64-1 {
			t.Notes = append(t.Notes, fmt.Sprintf("partition %d (%s) ends before it begins and is not shown", p.Index, p.Type))
			continue
		}
		if first < h.first || last > h.last {
			p.Notes = append(p.Notes, "it lies outside the part of the disk that the GPT gives to partitions")
		}
		t.add(p, first, last-first+1, size)
	}
	return t
}

func gptName(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		u := binary.LittleEndian.Uint16(b[i:])
		if u == 0 {
			break
		}
		units = append(units, u)
	}
	return strings.TrimSpace(string(utf16.Decode(units)))
}
