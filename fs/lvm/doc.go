// Package lvm reads LVM2: it finds the volume groups on a machine's disks and
// presents their logical volumes as disks. It never writes.
//
//	member      a physical volume: a disk or partition that belongs to a group
//	group       members and the volumes cut out of them
//	volume      a logical volume
//	extent      the unit in which a group gives out space, 4 MiB mostly
//	segment     a run of a volume's extents that is laid out in one way
//	pool        a thin pool: chunks of a data volume given out on first write,
//	            with a map of them in a metadata volume
//
// Linear, striped and thin volumes are read, and RAID 1 where a leg says that
// it is whole. Everything else is named with a sentence saying what it is.
//
// Sources: lvm2 lib/format_text (layout.h, import.c) for labels, metadata areas
// and their text; Linux drivers/md/dm-thin-metadata.c and persistent-data for
// pools, dm-raid.c for the state of legs.
package lvm

import (
	"fmt"
	"sync"

	"vitrine/fs/disk"
)

// Found is what Open finds.
type Found struct {
	Groups []*Group
	// Loose are members whose group cannot be told.
	Loose []Loose
}

// Loose is a member without a group: its metadata is damaged, or it was never
// given to one.
type Loose struct {
	Disk int    // its number among the disks that Open was given
	Why  string // a sentence
}

// Group is a volume group.
type Group struct {
	Name    string
	ID      string
	Members []Member
	// Volumes are the volumes a user sees, in the order of the metadata.
	Volumes []*Volume
	// Notes are sentences about what is damaged or odd.
	Notes []string

	mu     sync.Mutex // while a volume is opened
	pools  map[string]*pool
	unit   int64 // bytes of an extent
	all    map[string]*Volume
	byName map[string]int // in Members
	doubt  bool           // two volumes claim one extent, or two disks to be one member
}

// Member is a physical volume of a group.
type Member struct {
	Name   string // pv0
	ID     string
	Device string // where it was last seen in the machine, /dev/sda3
	Disk   int    // its number among the disks that Open was given; -1: missing

	disk         disk.Disk
	start, count int64 // first extent in bytes, number of extents
}

// UnsupportedError says why a volume is not opened although nothing is damaged.
type UnsupportedError struct {
	Volume string // group/volume
	Why    string // a sentence
}

func (e *UnsupportedError) Error() string { return fmt.Sprintf("lvm: open %s: %s", e.Volume, e.Why) }

// MissingError says that a volume lies on a member that is not there.
type MissingError struct {
	Volume string
	Member Member
}

func (e *MissingError) Error() string {
	return fmt.Sprintf("lvm: open %s: member %s (%s, last seen as %s) is missing", e.Volume, e.Member.Name, e.Member.ID, e.Member.Device)
}

// Hint says what to do.
func (e *MissingError) Hint() string {
	return "back up all disks of the group: the missing one may be excluded, passed through or attached to another machine"
}

// damage makes an error that names its place.
func damage(format string, args ...any) error { return fmt.Errorf("lvm: damaged "+format, args...) }
