package part

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// Read reads the table of a disk of size bytes. sector is the disk's logical
// sector; 0 means 512. A table written for the other sector size is found too,
// and noted. An error means that the disk could not be read.
func Read(r io.ReaderAt, size int64, sector int) (*Table, error) {
	if sector != 4096 {
		sector = 512
	}
	t := &Table{Scheme: None, Sector: sector}
	if size < 512 {
		return t.whole(size), nil
	}
	boot := make([]byte, 512)
	if err := readAt(r, boot, 0); err != nil {
		return nil, fmt.Errorf("part: read boot sector: %w", err)
	}
	slots := bootSlots(boot)
	if bareVolume(boot, slots) {
		return t.whole(size), nil
	}
	protective, others := false, 0
	for _, s := range slots {
		switch {
		case s.kind == 0xee:
			protective = true
		case s.kind != 0 && s.sectors != 0:
			others++
		}
	}

	found, err := readGPT(r, size, sector, protective, slots == nil)
	if err != nil {
		return nil, err
	}
	switch {
	case found != nil:
		if protective && others > 0 {
			found.Notes = append(found.Notes, "the disk carries a second, older table for other systems (hybrid MBR); the GPT counts")
		}
		if slots == nil {
			found.Notes = append(found.Notes, "the boot sector that protects the GPT is damaged")
		}
		found.finish(size)
		return found, nil
	case slots == nil:
		return t.whole(size), nil
	}
	t.Scheme = MBR
	if id := binary.LittleEndian.Uint32(boot[440:]); id != 0 {
		t.ID = fmt.Sprintf("%08x", id)
	}
	if protective {
		t.Notes = append(t.Notes, "the disk should have a GPT, but neither its primary nor its backup copy is valid")
	}
	if err := t.readMBR(r, size, slots); err != nil {
		return nil, err
	}
	if len(t.Partitions) == 0 && !protective && others == 0 {
		if c, err := Identify(r, size); err != nil {
			return nil, err
		} else if len(c) > 0 {
			t.Scheme, t.ID = None, ""
			return t.whole(size), nil
		}
	}
	t.finish(size)
	return t, nil
}

func readAt(r io.ReaderAt, p []byte, off int64) error {
	return disk.ReadFull(context.Background(), r, p, off)
}

// whole makes the table of a disk that is one volume.
func (t *Table) whole(size int64) *Table {
	t.Partitions = nil
	if size > 0 {
		t.Partitions = []Partition{{Size: size}}
	}
	return t
}

// add takes a partition of sectors as its entry gives it, and cuts or drops
// what is not on the disk.
func (t *Table) add(p Partition, first, sectors uint64, size int64) {
	unit := uint64(t.Sector)
	limit := uint64(size)
	if sectors == 0 || first > limit/unit || first*unit >= limit {
		t.Notes = append(t.Notes, fmt.Sprintf("partition %d (%s) begins behind the end of the disk and is not shown", p.Index, p.Type))
		return
	}
	p.Start = int64(first * unit)
	room := limit - first*unit
	if sectors > room/unit {
		p.Size = int64(room)
		p.Notes = append(p.Notes, "it ends behind the end of the disk")
	} else {
		p.Size = int64(sectors * unit)
	}
	t.Partitions = append(t.Partitions, p)
}

// finish notes which partitions lie over each other.
func (t *Table) finish(size int64) {
	order := make([]*Partition, len(t.Partitions))
	for i := range t.Partitions {
		order[i] = &t.Partitions[i]
	}
	sortByStart(order)
	var far *Partition
	for _, p := range order {
		if far != nil && p.Start < far.Start+far.Size {
			p.Notes = append(p.Notes, fmt.Sprintf("it lies over partition %d", far.Index))
			far.Notes = append(far.Notes, fmt.Sprintf("partition %d lies over it", p.Index))
		}
		if far == nil || p.Start+p.Size > far.Start+far.Size {
			far = p
		}
	}
	for i := range t.Partitions {
		if p := &t.Partitions[i]; len(p.Notes) > maxNotes {
			p.Notes = p.Notes[:maxNotes]
		}
	}
	if len(t.Notes) > maxNotes {
		t.Notes = append(t.Notes[:maxNotes], "and more of the kind")
	}
}

// maxNotes is the number of sentences worth reading.
const maxNotes = 16
