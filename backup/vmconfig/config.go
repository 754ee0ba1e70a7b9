package vmconfig

import (
	"fmt"
	"io"
	"time"
)

// Config describes a machine, or one of its checkpoints, whatever format it
// was read from. As JSON it is the vm.json of a restore point.
type Config struct {
	// ID is the machine's GUID, in lower case without braces.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Type says what the file describes.
	Type       Type      `json:"type"`
	Generation int       `json:"generation"` // 1 or 2
	Version    string    `json:"version"`    // of the configuration: "5.0", "9.0"
	Notes      string    `json:"notes,omitempty"`
	Created    time.Time `json:"created,omitzero"`

	Processors Processors `json:"processors"`
	Memory     Memory     `json:"memory"`
	Firmware   Firmware   `json:"firmware"`
	// TPM tells whether a virtual TPM is switched on. Each generation 2
	// machine has the device; its content lies in the state file.
	TPM bool `json:"tpm"`

	// Disks are all drives in the order of their controllers: IDE, SCSI,
	// floppy.
	Disks    []Disk    `json:"disks"`
	Adapters []Adapter `json:"adapters"`

	Power       Power `json:"power"`
	MayMove     bool  `json:"highlyAvailable"` // a failover cluster runs it
	MergeDue    bool  `json:"mergePending,omitempty"`
	Checkpoints struct {
		Automatic bool `json:"automatic"`
		// IDs are those of the checkpoints that the machine lists itself.
		IDs []string `json:"ids,omitempty"`
	} `json:"checkpoints"`

	// Checkpoint is set when Type is TypeCheckpoint.
	Checkpoint *Checkpoint `json:"checkpoint,omitempty"`

	// StateFile is where the host keeps firmware variables and TPM (.vmgs).
	StateFile string `json:"stateFile,omitempty"`
}

// Type is what a configuration describes.
type Type string

// The types known. Others are passed on as the file has them.
const (
	TypeMachine    Type = "machine"
	TypeCheckpoint Type = "checkpoint"
)

// Processors of a machine. Limit and Reserve are percent of what the
// processors could do.
type Processors struct {
	Count   int     `json:"count"`
	Limit   float64 `json:"limit"`
	Reserve float64 `json:"reserve"`
	Weight  int     `json:"weight"`
	Nested  bool    `json:"nested"` // nested virtualization
}

// Memory of a machine, in MiB. Without Dynamic only Startup counts.
type Memory struct {
	Startup int64 `json:"startupMiB"`
	Minimum int64 `json:"minimumMiB"`
	Maximum int64 `json:"maximumMiB"`
	Dynamic bool  `json:"dynamic"`
}

// Firmware is BIOS or UEFI. A generation 2 machine keeps its boot order in
// its state file.
type Firmware struct {
	ID         string   `json:"id,omitempty"` // system UUID that the guest sees
	Serial     string   `json:"serial,omitempty"`
	SecureBoot bool     `json:"secureBoot"`
	Template   string   `json:"template,omitempty"` // of secure boot: a name where known, else a GUID
	BootOrder  []string `json:"bootOrder,omitempty"`
}

// Disk is a drive with what is in it.
type Disk struct {
	Controller Controller `json:"controller"`
	Number     int        `json:"number"`   // of the controller, by kind
	Location   int        `json:"location"` // on the controller
	Kind       DiskKind   `json:"kind"`
	Path       string     `json:"path,omitempty"` // at the host
}

// Slot names where a disk is attached: "SCSI 0:1".
func (d Disk) Slot() string { return fmt.Sprintf("%s %d:%d", d.Controller, d.Number, d.Location) }

// Controller is the kind of a controller.
type Controller string

// The kinds of controllers.
const (
	IDE    Controller = "IDE"
	SCSI   Controller = "SCSI"
	Floppy Controller = "floppy"
)

// DiskKind is what a drive holds.
type DiskKind string

// The kinds of disks.
const (
	KindVirtual     DiskKind = "virtual"      // a virtual disk in a file
	KindShared      DiskKind = "shared"       // one that several machines write: a VHD set or a shared VHDX
	KindPassThrough DiskKind = "pass-through" // a disk of the host
	KindISO         DiskKind = "iso"
	KindFloppy      DiskKind = "floppy"
	KindEmpty       DiskKind = "empty" // a drive without a medium
)

// Adapter is a network adapter.
type Adapter struct {
	Name      string `json:"name"`
	MAC       string `json:"mac"` // 00:15:5d:01:02:03; zeros until the host has given one
	Static    bool   `json:"static"`
	Connected bool   `json:"connected"`
	Switch    string `json:"switch,omitempty"`
	Legacy    bool   `json:"legacy,omitempty"`
}

// Power is what the host does with the machine when it starts or stops.
type Power struct {
	Start Action `json:"start"`
	Stop  Action `json:"stop"`
}

// Action of a host.
type Action string

// The actions known.
const (
	StartNothing   Action = "nothing"
	StartIfRunning Action = "start-if-running"
	StartAlways    Action = "start"
	StopTurnOff    Action = "turn-off"
	StopSave       Action = "save"
	StopShutDown   Action = "shut-down"
)

// Checkpoint is what only the configuration of a checkpoint has. The machine
// may have looked different then: the rest of its Config is as it was.
type Checkpoint struct {
	ID string `json:"id"`
	// Parent is the checkpoint that it follows, where the file tells.
	Parent string `json:"parent,omitempty"`
}

// Parse reads a configuration of size bytes and describes it. Files that
// describe no machine are refused with ErrNoMachine.
func Parse(r io.ReaderAt, size int64) (*Config, error) {
	root, err := Tree(r, size)
	if err != nil {
		return nil, err
	}
	return Describe(root)
}
