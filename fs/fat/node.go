package fat

import (
	"time"

	iofs "io/fs"
)

// rootID is the id of the root directory, which has no entry.
const rootID = 1

// node is what a directory says of a file.
type node struct {
	name       string
	short      string // second name of FAT; "" if the first one is short
	id         uint64 // place of its entry, in units of 32 bytes
	place      int64  // place of its entry
	dir        bool
	readOnly   bool
	contiguous bool // the table is not used: the clusters lie in a row
	size       int64
	valid      int64 // bytes that were written; the rest reads as zeros
	first      uint32
	mtime      time.Time
	atime      time.Time
	btime      time.Time
}

func (n *node) mode() iofs.FileMode {
	m := iofs.FileMode(0o644)
	if n.dir {
		m = iofs.ModeDir | 0o755
	}
	if n.readOnly {
		m &^= 0o222
	}
	return m
}

// dosTime decodes a time of FAT; tens are units of 10 ms. Nonsense gives the
// zero time.
func dosTime(date, clock uint16, tens uint8, zone *time.Location) time.Time {
	day, month, year := int(date&31), time.Month(date>>5&15), int(date>>9)+1980
	if day == 0 || month == 0 || month > 12 || tens > 199 {
		return time.Time{}
	}
	t := time.Date(year, month, day, int(clock>>11), int(clock>>5&63), int(clock&31)*2, int(tens)*1e7, zone)
	return t.UTC()
}

// info is the iofs.FileInfo of a node, and what its Sys returns.
type info struct {
	node
	as string
}

var _ iofs.FileInfo = info{}

func (i info) Name() string        { return i.as }
func (i info) Mode() iofs.FileMode { return i.mode() }
func (i info) ModTime() time.Time  { return i.mtime }
func (i info) IsDir() bool         { return i.dir }
func (i info) Sys() any            { return i }

// Size is the number of bytes of a file, and 0 for a directory.
func (i info) Size() int64 {
	if i.dir {
		return 0
	}
	return i.size
}

// Inode is the place of the file's directory entry, for want of a number.
func (i info) Inode() uint64 { return i.id }

// Links is 1.
func (i info) Links() int { return 1 }

// Owner tells that there is none.
func (i info) Owner() (uid, gid uint32, ok bool) { return 0, 0, false }

// BirthTime is when the file was made.
func (i info) BirthTime() time.Time { return i.btime }

// AccessTime is when the file was last read; FAT keeps the day only.
func (i info) AccessTime() time.Time { return i.atime }

// ChangeTime is not kept: the zero time.
func (i info) ChangeTime() time.Time { return time.Time{} }

// Notice is "": every content can be given.
func (i info) Notice() string { return "" }
