package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/repo"
)

type backupOptions struct {
	all     bool
	exclude []string
	as      string
	method  string
	changed string
	tags    []string
	keep    backup.Keep
	verbose bool
	json    bool
}

func newBackup(e *env) *cobra.Command {
	var o backupOptions
	c := &cobra.Command{
		Use:   "backup SOURCE [VM...]",
		Short: "make a restore point of every machine of a source",
		Long: `Makes a restore point of each machine of a source, or of the machines named: by
name, by a glob such as 'SQL*', or by id.

Whatever was stored before is not stored again, and every restore point is
complete by itself. With --changed FILE only the extents that the file lists
are read:

  {"restorePoint": "ID", "disks": {"SQL01-os.vhdx": [[FIRST BYTE, BYTES], ...]}}

ID is the machine's latest restore point; a disk that is not listed is read in
full, and so is every disk when anything about the list is in doubt.

What no guest would miss is left out and reads as zeros: the content of swap,
page and hibernation files, and space that no file uses, on volumes that are
understood completely and are in order. Anything else is kept; with --verbose,
and in restore-point.json, stands what was left out and what was kept, and why.

The exit status is 1 when a machine could not be backed up, 3 when all were but
something is missing, such as a disk that its configuration names.`,
		Example: `  vitrine backup --repo /backups /srv/hyper-v
  vitrine backup --repo /backups /srv/hyper-v SQL01 'WEB*' --exclude WEB-TEST
  vitrine backup --repo /backups /srv/export/SQL01 --changed changed.json --tag nightly`,
		Args: atLeast("SOURCE"),
		RunE: func(c *cobra.Command, args []string) error { return runBackup(c.Context(), e, o, args) },
	}
	f := c.Flags()
	f.BoolVar(&o.all, "all", false, "every machine of the source, as when none is named")
	f.StringArrayVar(&o.exclude, "exclude", nil, "leave out the machine `VM`; may be repeated")
	f.StringVar(&o.as, "as", "", "back the one machine up as the machine called `NAME`")
	f.StringVar(&o.method, "method", "", "hold machines still by `METHOD` and no other")
	f.StringVar(&o.changed, "changed", "", "read only the extents that `FILE` lists")
	f.StringArrayVar(&o.tags, "tag", nil, "give the restore points a `TAG`; may be repeated")
	f.BoolVar(&o.keep.Swap, "include-swap", false, "keep swap, page and hibernation files of the guest")
	f.BoolVar(&o.keep.Free, "include-free", false, "keep what lies in the guest's free space")
	f.BoolVar(&o.keep.NotShadowCopies, "drop-shadow-copies", false, "leave free space out also where the guest's shadow copies may need it")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "say of each disk how it was read, and what was left out of it")
	f.BoolVar(&o.json, "json", false, "print a JSON line per machine and a summary")
	return c
}

func runBackup(ctx context.Context, e *env, o backupOptions, args []string) error {
	if o.all && len(args) > 1 {
		return &usageError{errors.New("--all and the names of machines exclude each other"), ""}
	}
	options := backup.Options{
		Machines: args[1:], Exclude: o.exclude, As: o.as, Method: backup.Method(o.method), Keep: o.keep,
		Tags: o.tags, Software: "vitrine " + version, Clock: e.now,
	}
	if o.changed != "" {
		f, err := os.Open(o.changed)
		if err != nil {
			return err
		}
		options.Changed, err = backup.ReadChanges(f)
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	h, err := openSource(args[0])
	if err != nil {
		return err
	}
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	bars := newBars(ctx, e, o.json)
	options.Progress = bars
	var first error // of writing results
	var once sync.Once
	options.Done = func(m backup.MachineReport) {
		if err := printMachine(e, bars, o, m); err != nil {
			once.Do(func() { first = err })
		}
	}
	report, err := backup.Run(ctx, r, h, options)
	bars.close()
	if report == nil {
		return err
	}
	if o.json {
		first = errors.Join(first, e.printJSONLine(summarize(report)))
	} else if len(report.Machines) > 1 {
		s := report.Stats()
		first = errors.Join(first, e.printf("%s: read %s, new %s, stored %s, saved %s in %s\n", countMachines(report),
			size(s.Read), size(s.New), size(s.Stored), size(backup.Saved(s)), span(report.Finished.Sub(report.Started))))
	}
	if err == nil && first == nil && report.Err() != nil {
		return failedBackup(report)
	}
	return errors.Join(first, err)
}

// countMachines gives "3 machines", and how many of them failed.
func countMachines(r *backup.Report) string {
	failed := 0
	for _, m := range r.Machines {
		if m.Err != nil {
			failed++
		}
	}
	text := plural(len(r.Machines), "machine")
	if failed > 0 {
		text += fmt.Sprintf(", %d failed", failed)
	}
	return text
}

// failedBackup is the error of a run whose machines' errors are printed; it
// keeps what decides the exit status.
func failedBackup(r *backup.Report) error {
	for _, known := range []error{context.Canceled, repo.ErrLocked} {
		if errors.Is(r.Err(), known) {
			return fmt.Errorf("%w: %w", errReported, known)
		}
	}
	return errReported
}

type backupSummary struct {
	Type        string         `json:"type"`
	Points      []repo.PointID `json:"points"`
	BytesRead   int64          `json:"bytesRead"`
	BytesNew    int64          `json:"bytesNew"`
	BytesStored int64          `json:"bytesStored"`
	Seconds     float64        `json:"seconds"`
}

func summarize(r *backup.Report) backupSummary {
	s := r.Stats()
	sum := backupSummary{
		Type: "summary", Points: []repo.PointID{},
		BytesRead: s.Read, BytesNew: s.New, BytesStored: s.Stored,
		Seconds: r.Finished.Sub(r.Started).Seconds(),
	}
	for _, m := range r.Machines {
		if m.Point != nil {
			sum.Points = append(sum.Points, m.Point.ID)
		}
	}
	return sum
}

// machineLine is a machine in the output of backup --json.
type machineLine struct {
	Type        string         `json:"type"`
	VM          string         `json:"vm"`
	VMID        repo.MachineID `json:"vmId"`
	Point       *repo.PointID  `json:"point"`
	Method      backup.Method  `json:"method,omitempty"`
	Disks       []diskLine     `json:"disks"`
	Size        int64          `json:"size"`
	BytesRead   int64          `json:"bytesRead"`
	BytesNew    int64          `json:"bytesNew"`
	BytesStored int64          `json:"bytesStored"`
	BytesSaved  int64          `json:"bytesSaved"`
	BytesLeft   int64          `json:"bytesLeftOut"`
	Seconds     float64        `json:"seconds"`
	Warnings    []repo.Warning `json:"warnings"`
	Error       string         `json:"error,omitempty"`
}

type diskLine struct {
	Name        string        `json:"name"`
	Checkpoint  string        `json:"checkpoint,omitempty"`
	Read        string        `json:"read"`
	Base        *repo.PointID `json:"base,omitempty"`
	Why         string        `json:"why,omitempty"`
	Size        int64         `json:"size"`
	BytesRead   int64         `json:"bytesRead"`
	BytesNew    int64         `json:"bytesNew"`
	BytesStored int64         `json:"bytesStored"`
}

// printMachine tells what became of a machine, as soon as it is known.
func printMachine(e *env, b *bars, o backupOptions, m backup.MachineReport) error {
	b.pause()
	defer b.resume()
	var err error
	if o.json {
		err = e.printJSONLine(lineOf(m))
	} else if m.Point != nil {
		s := m.Stats
		left := ""
		if s.LeftOut > 0 {
			left = fmt.Sprintf(", left out %s", size(s.LeftOut))
		}
		err = e.printf("restore point %.8s %s %s %s (%s): %s, read %s, new %s, stored %s, saved %s%s in %s\n",
			m.Point.ID, oneLine(m.Point.Name), m.Point.Time.Format(backup.TimeLayout), m.Point.Consistency, m.Method,
			size(s.Size), size(s.Read), size(s.New), size(s.Stored), size(backup.Saved(s)), left, span(m.Finished.Sub(m.Started)))
		if o.verbose || o.changed != "" {
			for _, d := range m.Disks {
				err = errors.Join(err, e.printf("  %s\n", describeRead(d)))
			}
			for _, l := range m.Point.LeftOut {
				err = errors.Join(err, e.printf("  left out: %s\n", describeLeft(l)))
			}
			for _, l := range m.Point.Kept {
				err = errors.Join(err, e.printf("  kept: %s\n", describeLeft(l)))
			}
		}
	}
	e.warnAll(m.VM.Name, m.Warnings)
	if m.Err != nil && !errors.Is(m.Err, context.Canceled) {
		e.fail(m.Err)
	}
	return err
}

func describeRead(d backup.DiskReport) string {
	name := oneLine(d.Name)
	if d.Checkpoint != "" {
		name = oneLine(d.Checkpoint) + "/" + name
	}
	text := fmt.Sprintf("%s: %s, read %s, new %s", name, d.Read, size(d.Stats.Read), size(d.Stats.New))
	if d.Read == backup.ReadIncremental {
		return text + fmt.Sprintf(", changed since %.8s", d.Base)
	}
	return text + " (" + oneLine(d.Why) + ")"
}

func lineOf(m backup.MachineReport) machineLine {
	l := machineLine{
		Type: "machine", VM: m.VM.Name, VMID: m.VM.ID, Method: m.Method, Disks: []diskLine{},
		Size: m.Stats.Size, BytesRead: m.Stats.Read, BytesNew: m.Stats.New, BytesStored: m.Stats.Stored,
		BytesSaved: backup.Saved(m.Stats), BytesLeft: m.Stats.LeftOut, Seconds: m.Finished.Sub(m.Started).Seconds(),
		Warnings: m.Warnings,
	}
	if l.Warnings == nil {
		l.Warnings = []repo.Warning{}
	}
	if m.Point != nil {
		l.Point = &m.Point.ID
	}
	if m.Err != nil {
		l.Error = m.Err.Error()
	}
	for _, d := range m.Disks {
		line := diskLine{
			Name: d.Name, Checkpoint: d.Checkpoint, Read: d.Read, Why: d.Why, Size: d.Stats.Size,
			BytesRead: d.Stats.Read, BytesNew: d.Stats.New, BytesStored: d.Stats.Stored,
		}
		if !d.Base.IsZero() {
			line.Base = &d.Base
		}
		l.Disks = append(l.Disks, line)
	}
	return l
}
