package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"vitrine/repo"
)

// Options of a run; the zero value backs up every machine of the host.
type Options struct {
	Machines []string // names, globs or ids; none is all
	Exclude  []string
	As       string   // back up the one selected machine as the one of this name
	Method   Method   // "" is the first of the host's methods that works
	Changed  *Changes // nil is none
	Keep     Keep     // what the guest would not miss and is kept all the same
	Tags     []string
	Software string // program and version, kept in the restore points
	Parallel int    // disks read at a time; 0 is 1: one disk keeps all processors busy

	Progress Progress
	Done     func(MachineReport) // told of each machine when it is done; nil is silent
	Clock    func() time.Time    // nil is time.Now
	Rand     io.Reader           // nil is crypto/rand
}

func (o *Options) fill() {
	if o.Parallel <= 0 {
		o.Parallel = 1
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	if o.Done == nil {
		o.Done = func(MachineReport) {}
	}
	o.Progress = orSilent(o.Progress)
}

// Report says what a run did, in the order of the host's machines.
type Report struct {
	Machines []MachineReport
	Started  time.Time
	Finished time.Time
}

// MachineReport says what a run did for one machine. A machine may have both a
// Point and an Err: the point is good, but the machine could not be given back
// as it should.
type MachineReport struct {
	VM       VM // with the name and id that it is kept under
	Method   Method
	Point    *repo.RestorePoint // nil when there is none
	Disks    []DiskReport
	Stats    repo.Stats     // of disks, checkpoints and files
	Warnings []repo.Warning // those of the point, and what went wrong behind its commit
	Err      error
	Started  time.Time
	Finished time.Time
}

// DiskReport says how one disk was read.
type DiskReport struct {
	Name       string
	Checkpoint string       // of which checkpoint; "" is the machine itself
	Read       string       // full | incremental
	Base       repo.PointID // the point whose image it starts from; zero is none
	Why        string       // the reason of a full read
	Stats      repo.Stats
}

// The values of DiskReport.Read and repo.RestorePoint.Read.
const (
	ReadFull        = "full"
	ReadIncremental = "incremental"
)

// Stats adds up the machines.
func (r *Report) Stats() repo.Stats {
	var s repo.Stats
	for _, m := range r.Machines {
		addStats(&s, m.Stats)
	}
	return s
}

// Err joins the errors of the machines; nil when all went well.
func (r *Report) Err() error {
	var errs []error
	for _, m := range r.Machines {
		errs = append(errs, m.Err)
	}
	return errors.Join(errs...)
}

// Warned tells whether any machine has a warning.
func (r *Report) Warned() bool {
	for _, m := range r.Machines {
		if len(m.Warnings) > 0 {
			return true
		}
	}
	return false
}

// Saved is what did not have to be stored of the data there is: the work of
// deduplication and compression.
func Saved(s repo.Stats) int64 { return max(s.Data-s.Stored, 0) }

// Run backs up machines of h into r, one after another. The error is about the
// run as a whole: nothing to select, no list of machines, ctx at its end. What
// befell one machine stands in its report and does not keep the others from
// their turn.
func Run(ctx context.Context, r *repo.Repo, h Host, o Options) (*Report, error) {
	o.fill()
	vms, err := h.VMs(ctx)
	if err != nil {
		return nil, fmt.Errorf("backup: list machines: %w", err)
	}
	vms, err = Select(vms, o.Machines, o.Exclude)
	if err != nil {
		return nil, err
	}
	if len(vms) == 0 {
		return nil, errors.New("there is no machine to back up")
	}
	found := slices.Clone(vms) // as the host knows them
	if o.As != "" {
		if len(vms) > 1 {
			return nil, fmt.Errorf("%d machines cannot all be backed up as %s", len(vms), o.As)
		}
		if err := rename(ctx, r, &vms[0], o.As); err != nil {
			return nil, err
		}
	}
	report := &Report{Started: o.Clock()}
	for i, vm := range vms {
		m := MachineReport{VM: vm, Started: o.Clock()}
		if m.Err = twin(vms, vm); m.Err == nil {
			runMachine(ctx, r, h, o, found[i], &m)
		}
		m.Finished = o.Clock()
		report.Machines = append(report.Machines, m)
		o.Done(m)
		if ctx.Err() != nil {
			break
		}
	}
	report.Finished = o.Clock()
	return report, ctx.Err()
}

// rename makes vm the machine that the repository knows as name, or a new one
// that is always the same for this name.
func rename(ctx context.Context, r *repo.Repo, vm *VM, name string) error {
	all, err := infos(ctx, r, "")
	if err != nil {
		return err
	}
	own, err := machineInfos(ctx, r, all, name)
	if err != nil {
		return err
	}
	vm.Name, vm.ID = name, repo.MachineID(nameGUID("machine", name))
	if len(own) > 0 {
		vm.ID = own[0].Machine
	}
	return nil
}

// twin is the error for a machine whose id another one of the run has too:
// their restore points would mix.
func twin(vms []VM, vm VM) error {
	for _, other := range vms {
		if other.ID == vm.ID && (other.Name != vm.Name || other.Source != vm.Source) {
			return &TwinError{VM: vm, Other: other}
		}
	}
	return nil
}

// TwinError says that two machines of a source have one id.
type TwinError struct{ VM, Other VM }

func (e *TwinError) Error() string {
	return fmt.Sprintf("backup: %s (%s) has the same id as %s (%s): %s", e.VM.Name, e.VM.Source, e.Other.Name, e.Other.Source, e.VM.ID)
}

// Hint says how both can be kept.
func (e *TwinError) Hint() string {
	return "one is a copy of the other: back up its folder on its own, with --as NAME to keep it as a machine of its own"
}

func addStats(to *repo.Stats, s repo.Stats) {
	to.Size += s.Size
	to.Read += s.Read
	to.New += s.New
	to.Stored += s.Stored
	to.Data += s.Data
	to.LeftOut += s.LeftOut
}
