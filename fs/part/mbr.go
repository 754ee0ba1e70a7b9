package part

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

const (
	slotsAt = 446
	// maxLogical bounds the chain of extended boot records.
	maxLogical = 256
)

// slot is one of the four entries of a boot sector.
type slot struct {
	kind           byte
	first, sectors uint32
}

func (s slot) extended() bool { return s.kind == 0x05 || s.kind == 0x0f || s.kind == 0x85 }

// bootSlots returns the entries of a boot sector; nil where it is none.
func bootSlots(b []byte) []slot {
	if b[510] != 0x55 || b[511] != 0xaa {
		return nil
	}
	slots := make([]slot, 4)
	for i := range slots {
		e := b[slotsAt+16*i:]
		if e[0]&0x7f != 0 {
			return nil
		}
		slots[i] = slot{e[4], binary.LittleEndian.Uint32(e[8:]), binary.LittleEndian.Uint32(e[12:])}
	}
	return slots
}

// bareVolume reports whether a disk's first sector is a file system's own boot
// sector, which ends in the same two bytes as a table.
func bareVolume(b []byte, slots []slot) bool {
	for _, name := range []string{"NTFS    ", "EXFAT   ", "-FVE-FS-", "ReFS\x00\x00\x00\x00"} {
		if string(b[3:11]) == name {
			return true
		}
	}
	if b[0] != 0xeb && b[0] != 0xe9 || !bytes.HasPrefix(b[54:], []byte("FAT1")) && !bytes.HasPrefix(b[82:], []byte("FAT32")) {
		return false
	}
	return !slices.ContainsFunc(slots, func(s slot) bool { return s.kind != 0 && s.first != 0 && s.sectors != 0 })
}

// readMBR collects the partitions of the four slots and those inside the
// extended one.
func (t *Table) readMBR(r io.ReaderAt, size int64, slots []slot) error {
	next := 5
	for i, s := range slots {
		switch {
		case s.kind == 0 || s.kind == 0xee || s.sectors == 0:
		case s.extended():
			if next > 5 {
				t.Notes = append(t.Notes, "the disk has more than one extended partition; only the first counts")
				continue
			}
			n, err := t.readLogical(r, size, s)
			if err != nil {
				return err
			}
			next += n
		default:
			t.add(Partition{Index: i + 1, Type: Type{MBR: s.kind}, ID: t.partID(i + 1)}, uint64(s.first), uint64(s.sectors), size)
		}
	}
	return nil
}

func (t *Table) partID(index int) string {
	if t.ID == "" {
		return ""
	}
	return fmt.Sprintf("%s-%02x", t.ID, index)
}

// readLogical follows the chain of boot records inside an extended partition
// and returns how many logical partitions it names.
func (t *Table) readLogical(r io.ReaderAt, size int64, ext slot) (int, error) {
	count := 0
	broken := func(format string, args ...any) {
		t.Notes = append(t.Notes, "logical partitions: "+fmt.Sprintf(format, args...)+"; those behind it are not shown")
	}
	seen := map[uint64]bool{}
	b := make([]byte, 512)
	for at := uint64(ext.first); ; {
		if seen[at] {
			broken("the chain of boot records loops at sector %d", at)
			return count, nil
		}
		if len(seen) == maxLogical {
			broken("the chain has more than %d boot records", maxLogical)
			return count, nil
		}
		seen[at] = true
		off := at * uint64(t.Sector)
		if off+512 > uint64(size) {
			broken("boot record at sector %d lies behind the end of the disk", at)
			return count, nil
		}
		if err := readAt(r, b, int64(off)); err != nil {
			return count, fmt.Errorf("part: read extended boot record at %d: %w", off, err)
		}
		slots := bootSlots(b)
		if slots == nil {
			broken("there is no boot record at sector %d", at)
			return count, nil
		}
		for i, s := range slots {
			if s.kind == 0 || s.sectors == 0 || s.extended() {
				continue
			}
			// The last two slots should be empty: Linux takes them where they
			// lie inside the extended partition, and so do we.
			end := at + uint64(s.first) + uint64(s.sectors)
			if i >= 2 && end > uint64(ext.first)+uint64(ext.sectors) {
				continue
			}
			p := Partition{Index: 5 + count, Type: Type{MBR: s.kind}, ID: t.partID(5 + count)}
			if end > uint64(ext.first)+uint64(ext.sectors) {
				p.Notes = append(p.Notes, "it ends behind its extended partition")
			}
			t.add(p, at+uint64(s.first), uint64(s.sectors), size)
			count++
		}
		link := slices.IndexFunc(slots, func(s slot) bool { return s.extended() && s.sectors != 0 })
		if link < 0 {
			return count, nil
		}
		if slots[link].first >= ext.sectors {
			broken("the boot record at sector %d leads out of the extended partition", at)
			return count, nil
		}
		at = uint64(ext.first) + uint64(slots[link].first)
	}
}

func sortByStart(list []*Partition) {
	slices.SortStableFunc(list, func(a, b *Partition) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
}
