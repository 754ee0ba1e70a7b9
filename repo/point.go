package repo

import (
	"encoding/json"
	"time"
)

// RestorePoint is what one backup of one machine leaves. The repository only
// binds the images; the other fields are kept for whoever made the point.
// It is stored sealed under points/<machine>/<time>-<id>.
type RestorePoint struct {
	ID       PointID   `json:"id"`
	Machine  MachineID `json:"machine"`
	Name     string    `json:"name"` // what people call the machine
	Time     time.Time `json:"time"` // UTC, whole seconds; the name of its folder
	Previous PointID   `json:"previous,omitzero"`
	Number   uint64    `json:"number"` // 1 for the machine's first point, then counting

	Software    string    `json:"software"`       // program and version that made it
	Host        string    `json:"host,omitempty"` // where the machine ran
	Source      string    `json:"source,omitempty"`
	Level       string    `json:"level"`       // host | guest
	Method      string    `json:"method"`      // folder, child-snapshot, saved-state, …
	Consistency string    `json:"consistency"` // application | file-system | crash | offline | unknown
	Read        string    `json:"read"`        // full | incremental
	Started     time.Time `json:"started"`
	Finished    time.Time `json:"finished"`
	Tags        []string  `json:"tags,omitempty"`

	Disks       []Disk          `json:"disks"`
	Files       []File          `json:"files,omitempty"`       // configuration, byte for byte
	Checkpoints []Checkpoint    `json:"checkpoints,omitempty"` // the machine's own, each with whole disks
	VM          json.RawMessage `json:"vm,omitempty"`          // the decoded description (vm.json)
	LeftOut     []LeftOut       `json:"leftOut,omitempty"`     // what was not kept of the guest
	Kept        []LeftOut       `json:"kept,omitempty"`        // what was kept although it could have been left out, and why
	Warnings    []Warning       `json:"warnings,omitempty"`
	Events      []Event         `json:"events,omitempty"`
	Stats       Stats           `json:"stats"`

	Index []string `json:"index,omitempty"` // index objects that list the packs this run wrote
}

// Disk is one disk of a restore point and what its presented file is made of.
type Disk struct {
	Name   string `json:"name"`             // file name in the tree, with .vhdx
	ID     string `json:"id"`               // the same disk in later points has the same id
	Source string `json:"source,omitempty"` // path at the source
	Format string `json:"format"`           // vhdx | vhd | raw, at the source

	// The presented VHDX (design: the same bytes for ever).
	Layout         int    `json:"layout"`
	DiskID         string `json:"diskId"` // virtual disk id (SCSI page 83), a GUID
	FileID         string `json:"fileId"` // FileWriteGuid
	DataID         string `json:"dataId"` // DataWriteGuid
	BlockSize      int64  `json:"blockSize"`
	LogicalSector  int    `json:"logicalSector"`
	PhysicalSector int    `json:"physicalSector"`

	Tracking string   `json:"tracking,omitempty"` // what the host calls the moment of this point
	Image    ImageRef `json:"image"`
}

// File is a file kept byte for byte.
type File struct {
	Name  string    `json:"name"` // slash-separated path below config/
	Time  time.Time `json:"time"`
	Image ImageRef  `json:"image"`
}

// Checkpoint is one of the machine's own checkpoints.
type Checkpoint struct {
	ID     string          `json:"id"`
	Name   string          `json:"name"`
	Parent string          `json:"parent,omitempty"` // id of the checkpoint it follows
	Time   time.Time       `json:"time,omitzero"`
	Disks  []Disk          `json:"disks"`
	Files  []File          `json:"files,omitempty"`
	VM     json.RawMessage `json:"vm,omitempty"`
}

// LeftOut is something of a guest that no backup need keep: swap, a page file,
// free space. What was left out reads as zeros.
type LeftOut struct {
	Disk   string `json:"disk"`
	Volume string `json:"volume"`
	What   string `json:"what"`
	Bytes  int64  `json:"bytes,omitempty"`
	Why    string `json:"why,omitempty"` // it was kept
}

// Warning says what is missing from a restore point or lowers its worth.
type Warning struct {
	Object string `json:"object"` // the disk, file or checkpoint
	Code   string `json:"code"`   // disk-absent, disk-pass-through, disk-in-use, …
	Text   string `json:"text"`
}

// Event is a step of a backup with its time.
type Event struct {
	Time time.Time `json:"time"`
	Name string    `json:"name"`
	Text string    `json:"text,omitempty"`
}

// Stats counts the bytes of a backup.
type Stats struct {
	Size    int64 `json:"size"`    // of all disks and files, as the guest sees them
	Read    int64 `json:"read"`    // read at the source
	New     int64 `json:"new"`     // of it not in the repository before
	Stored  int64 `json:"stored"`  // what New takes there, compressed and sealed
	Data    int64 `json:"data"`    // neither hole nor left out
	LeftOut int64 `json:"leftOut"` // left out
}

// ImageRef finds an image: everything that a reader needs besides the packs.
type ImageRef struct {
	Size int64 `json:"size"`
	Data int64 `json:"data"`              // bytes in chunks
	Left int64 `json:"leftOut,omitempty"` // bytes left out

	// Blocks of Block bytes that hold data are counted in the map, so that a
	// file with one entry per block can be presented without reading it all.
	Block     int64 `json:"block"`
	Allocated int64 `json:"allocated"`

	// Tables are the second level of the map: 1,024 segments each.
	Tables []TableRef `json:"tables,omitempty"`
}

// TableRef finds one table of the map's second level. A table that would hold
// nothing but holes is not stored: its Hash is zero.
type TableRef struct {
	Address Address `json:"address"`
	Hash    Hash    `json:"hash"`
	Before  int64   `json:"before"` // allocated blocks in the tables before
}
