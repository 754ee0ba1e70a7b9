package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"vitrine/backup"
)

type restoreOptions struct {
	to     string
	as     string
	format string
	disks  []string
	json   bool
}

func newRestore(e *env) *cobra.Command {
	var o restoreOptions
	c := &cobra.Command{
		Use:   "restore POINT --to DIR",
		Short: "write a machine back: disks and configuration",
		Long: `Writes a restore point into a new folder below DIR, called like the machine.
Nothing is ever overwritten, and the folder has its name only when all of it is
there.

A Hyper-V machine is written as an export of it, with "Virtual Machines",
"Virtual Hard Disks" and "Snapshots", each disk under the name that the
configuration has for it. Hyper-V Manager imports it, or:

  Import-VM -Path 'DIR\SQL01\Virtual Machines\<id>.vmcx' -Copy -GenerateNewId

"vitrine backup DIR" finds the same machine again. Every disk is whole and has
no parent, also those of checkpoints and those called .avhdx. Disks are VHDX
files, or VHD files where they were; with another --format the configuration
still names the old files.

Anything else is written as the mounted tree shows it.

` + pointHelp,
		Example: `  vitrine restore --repo /backups SQL01 --to /srv/restored
  vitrine restore --repo /backups SQL01@2026-11-22 --to /srv/restored --as SQL01-old
  vitrine restore --repo /backups SQL01 --to /tmp --disk SQL01-data --format raw`,
		Args: exactly("POINT"),
		RunE: func(c *cobra.Command, args []string) error { return runRestore(c.Context(), e, o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.to, "to", "", "make the machine's folder in `DIR`")
	f.StringVar(&o.as, "as", "", "call the machine's folder `NAME`")
	f.StringVar(&o.format, "format", "", "write all disks as vhdx, vhd or raw")
	f.StringArrayVar(&o.disks, "disk", nil, "restore only the disk `NAME`; may be repeated")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runRestore(ctx context.Context, e *env, o restoreOptions, spec string) error {
	if o.to == "" {
		return &usageError{errors.New("--to DIR is missing"), ""}
	}
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := backup.Find(ctx, r, spec)
	if err != nil {
		return err
	}
	started := e.now()
	bars := newBars(ctx, e, o.json)
	done, err := backup.Restore(ctx, r, p, backup.RestoreOptions{
		To: o.to, As: o.as, Format: backup.Format(o.format), Disks: o.disks, Progress: bars,
	})
	bars.close()
	if err != nil {
		return err
	}
	took := e.now().Sub(started)
	if o.json {
		return e.printJSON(struct {
			ID      string   `json:"id"`
			Dir     string   `json:"dir"`
			Files   []string `json:"files"`
			Written int64    `json:"bytesWritten"`
			Seconds float64  `json:"seconds"`
		}{p.ID.String(), done.Dir, done.Files, done.Written, took.Seconds()})
	}
	return e.printf("restored %s of %s to %s: %s, %s written in %s\n", oneLine(p.Name), p.Time.UTC().Format(backup.TimeLayout), done.Dir,
		plural(len(done.Files), "file"), size(done.Written), span(took))
}
