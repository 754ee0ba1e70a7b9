package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"strings"
	"time"

	"vitrine/fs/disk"
	"vitrine/repo"
)

// Host has machines that can be backed up. It is safe for concurrent use.
type Host interface {
	// VMs lists the machines, by name. A machine that cannot be read whole is
	// listed all the same, with Problems.
	VMs(ctx context.Context) ([]VM, error)
	// Check tells whether m would work for vm now: nil, *PreflightError with
	// every condition that is not met, or another error when it cannot tell.
	// It changes nothing.
	Check(ctx context.Context, vm VM, m Method) error
	// Snapshot holds vm still with m until the session is closed. When it
	// fails, or ctx ends, the machine is as it was before.
	Snapshot(ctx context.Context, vm VM, m Method) (Session, error)
}

// VM is a machine as its host describes it.
type VM struct {
	ID         repo.MachineID
	Name       string
	Host       string // where it runs or lies; "" when that says nothing
	Source     string // the folder or path that it was found in
	State      State
	Generation int    // 1 or 2; 0 is unknown
	Version    string // of its configuration, such as "9.0"; "" is unknown
	Disks      []DiskSummary
	Methods    []Method        // that the host offers for it, the best first
	Config     json.RawMessage // the decoded description (vm.json); nil when there is none
	Problems   []repo.Warning  // what a restore point of it would lack, as far as is known before a snapshot
}

// DiskSummary is what an inventory tells of a disk without reading it.
type DiskSummary struct {
	Name   string // file name in a restore point, with .vhdx
	Source string // path at the host
	Format string // vhdx | vhd | raw | physical
	Size   int64  // as the guest sees it; 0 when unknown
}

// State is what a machine is doing.
type State string

// The states of a machine.
const (
	StateUnknown State = "unknown"
	StateRunning State = "running"
	StatePaused  State = "paused"
	StateSaved   State = "saved"
	StateOff     State = "off"
)

// Method is how a machine is held still while its disks are read.
type Method string

// The methods.
const (
	MethodFolder        Method = "folder"         // files that lie still: an export, a copy, bare disks
	MethodOffline       Method = "offline"        // a machine that is switched off
	MethodChildSnapshot Method = "child-snapshot" // a production checkpoint, prepared inside the guest
	MethodSavedState    Method = "saved-state"    // the machine is saved for a moment
	MethodCrash         Method = "crash"          // a checkpoint that the guest does not know of
)

// Consistency is what a guest finds when it starts from a restore point.
type Consistency string

// The levels of consistency, the best first.
const (
	ConsistencyApplication Consistency = "application"
	ConsistencyFileSystem  Consistency = "file-system"
	ConsistencyOffline     Consistency = "offline"
	ConsistencyCrash       Consistency = "crash"
	ConsistencyUnknown     Consistency = "unknown"
)

// Condition is one thing that a method needs.
type Condition struct {
	Code string `json:"code"` // short and stable, for programs: "vss-disabled"
	Text string `json:"text"` // for people
	Fix  string `json:"fix,omitempty"`
}

// PreflightError says why a method cannot be used for a machine: all
// conditions that are not met, not only the first.
type PreflightError struct {
	VM     string
	Method Method
	Unmet  []Condition
}

func (e *PreflightError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "method %s is not possible", e.Method)
	sep := ": "
	for _, c := range e.Unmet {
		b.WriteString(sep + c.Text)
		sep = "; "
	}
	return b.String()
}

// Hint is the first remedy.
func (e *PreflightError) Hint() string {
	for _, c := range e.Unmet {
		if c.Fix != "" {
			return c.Fix
		}
	}
	return ""
}

// Session is a machine held still. Its methods are called from one goroutine;
// the disks are read from several.
type Session interface {
	// Contents is what there is to store; the same on every call.
	Contents() *Contents
	// Verify is called after the last read and before the restore point is
	// committed. It fails with an error that wraps ErrSourceChanged and names
	// the disk or file when something read may not be what stood there at the
	// moment of the snapshot.
	Verify(ctx context.Context) error
	// Commit is called once the restore point is safe in the repository: the
	// host may drop the tracking that older points needed.
	Commit(ctx context.Context) error
	// Close gives the machine back. It is always called, once; without a
	// Commit before it the host keeps the tracking of the older point.
	Close() error
}

// Contents is what a session offers to a restore point.
type Contents struct {
	Time        time.Time // the moment that the disks show; zero is now
	Consistency Consistency
	Disks       []SourceDisk
	Files       iofs.FS // configuration, byte for byte; nil is none
	Checkpoints []SourceCheckpoint
	VM          json.RawMessage // the decoded description (vm.json); nil when there is none
	Warnings    []repo.Warning  // what is missing: disks absent, pass-through, in use
	Events      []repo.Event    // what the host did, with its times
}

// SourceCheckpoint is one of the machine's own checkpoints: its disks are
// whole, merged with their parents.
type SourceCheckpoint struct {
	ID     string
	Name   string
	Parent string // id of the checkpoint it follows; "" is none
	Time   time.Time
	Disks  []SourceDisk
	Files  iofs.FS
	VM     json.RawMessage
}

// SourceDisk is a disk of a session. The engine closes it when it was read.
type SourceDisk interface {
	disk.Disk
	io.Closer
	Info() DiskInfo
	// Changed yields every extent [start,end) that may have been written since
	// the moment that since names, in any order: ErrNoTracking when the host
	// does not know that moment or cannot swear to it.
	Changed(ctx context.Context, since string) (iter.Seq2[int64, int64], error)
}

// DiskInfo describes a source disk as plain data.
type DiskInfo struct {
	Name   string // file name in the restore point, with .vhdx; unique among its disks
	ID     string // the same disk at a later time has the same id, whatever it is called
	Source string // path at the host
	Format string // vhdx | vhd | raw

	DiskID         string // virtual disk id (SCSI page 83), a GUID; "" when the format has none
	BlockSize      int64  // of the container; 0 when it has none
	LogicalSector  int    // 512 or 4096; 0 when unknown
	PhysicalSector int

	Tracking string // names the moment of this session, to be asked about later; "" without tracking
}

// Errors that a provider gives and the engine tells apart.
var (
	ErrNoTracking    = errors.New("no change tracking since then")
	ErrSourceChanged = errors.New("changed while it was read")
)
