// Package part finds the partitions of a disk and says what a volume holds
// where no package here opens it.
//
//	table       the list of partitions a disk carries: GPT, MBR, or none
//	partition   a run of bytes of a disk that is meant to hold one volume
//	sector      the disk's logical sector, 512 or 4096 bytes: the unit of tables
//	logical     a partition inside an extended one, found through a chain of
//	            extended boot records
//	content     what the first bytes of a volume say it holds
//
// Sources: UEFI specification 2.10 chapter 5 (GPT, protective MBR); for MBR
// what Linux and Windows agree on. A table is read as both would read it; what
// they would reject is reported in notes and never guessed at.
package part

import (
	"fmt"

	"vitrine/fs/disk"
)

// Scheme is the kind of a table.
type Scheme string

// The kinds of tables. A disk without a table is one partition with number 0.
const (
	GPT  Scheme = "GPT"
	MBR  Scheme = "MBR"
	None Scheme = "none"
)

// Table is what a disk says about its partitions.
type Table struct {
	Scheme     Scheme
	Sector     int    // bytes; of the table, which may differ from the disk's
	ID         string // disk GUID, or MBR signature as 8 hex digits; "" when none
	Partitions []Partition
	// Notes are sentences about what is damaged or odd.
	Notes []string
}

// Partition is one volume's place on a disk. It lies inside the disk.
type Partition struct {
	// Index is the number Linux and Windows give it: from 1, logical ones from
	// 5; 0 for a disk without a table.
	Index int
	Start int64 // bytes
	Size  int64 // bytes
	Type  Type
	Name  string // GPT only
	ID    string // GUID of a GPT partition; MBR signature and number, as Linux' PARTUUID
	// Notes are sentences about what is wrong with its entry: where there are
	// any, nothing about the partition can be relied on.
	Notes []string
}

// Extent is the partition's place.
func (p Partition) Extent() disk.Extent { return disk.Extent{Off: p.Start, Len: p.Size} }

// Type says what a partition is for: a GUID on GPT, a byte on MBR, neither on
// a disk without a table.
type Type struct {
	GUID disk.GUID
	MBR  byte
}

// String returns the type's name, or its number where it has none.
func (t Type) String() string {
	if name, ok := typeName(t); ok {
		return name
	}
	switch {
	case !t.GUID.IsZero():
		return t.GUID.String()
	case t.MBR != 0:
		return fmt.Sprintf("type 0x%02x", t.MBR)
	}
	return "whole disk"
}

// Role groups the types by what is done with them.
type Role int

// The roles a partition's type gives it.
const (
	// Files: file systems, or nothing known.
	Files Role = iota
	// Boot: code or reserved space, without files.
	Boot
	// Swap: Linux swap space.
	Swap
	// LVM: a physical volume.
	LVM
	// Foreign: part of something that spans partitions or disks and is not
	// opened; see Advice.
	Foreign
)
