package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/repo"
)

type checkOptions struct {
	readData bool
	json     bool
}

func newCheck(e *env) *cobra.Command {
	var o checkOptions
	c := &cobra.Command{
		Use:   "check",
		Short: "compare the repository with itself",
		Long: `Opens every object and follows every map: what restore points need is there and is
what was meant. With --read-data every chunk is read and its content checked;
without it a flipped bit inside of a chunk goes unseen.

Damage is told with the object and what it hits: machine, restore point, disk and
bytes. The exit status is 1 when there is any.`,
		Example: `  vitrine check --repo /backups
  vitrine check --repo /backups --read-data`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runCheck(c.Context(), e, o) },
	}
	c.Flags().BoolVar(&o.readData, "read-data", false, "read every chunk")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runCheck(ctx context.Context, e *env, o checkOptions) error {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	bars := newBars(ctx, e, o.json)
	progress := &counter{bars: bars}
	report, err := r.Check(ctx, repo.CheckOptions{ReadData: o.readData, Progress: progress.to})
	progress.end(err)
	bars.close()
	if err != nil {
		return err
	}
	if o.json {
		err = e.printJSON(report)
	} else {
		err = printCheck(e, o, report)
	}
	if err == nil && !report.Clean() {
		return errReported
	}
	return err
}

// counter shows progress that is told as how far it has come.
type counter struct {
	bars  *bars
	meter backup.Meter
	done  int64
}

func (c *counter) to(done, total int64) {
	if c.meter == nil {
		c.meter = c.bars.Begin("", "reading", total)
	}
	c.meter.Add(done - c.done)
	c.done = done
}

func (c *counter) end(err error) {
	if c.meter != nil {
		c.meter.End(err)
	}
}

func printCheck(e *env, o checkOptions, report *repo.CheckReport) error {
	for _, f := range report.Findings {
		e.say("error: %s: %s", oneLine(f.Object), oneLine(f.Text))
		for _, a := range f.Affected {
			e.say("error:   hits %s", describeAffected(a))
		}
	}
	for _, n := range report.Notes {
		e.say("note: %s", oneLine(n))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "checked %s, %s, %s of %s", plural(report.Points, "restore point"), plural(report.Images, "image"),
		plural(report.Packs, "pack"), size(report.Stored))
	if o.readData {
		fmt.Fprintf(&b, ", read %s", size(report.Read))
	}
	if report.Clean() {
		b.WriteString(": no damage\n")
	} else {
		fmt.Fprintf(&b, ": %s damaged\n", plural(len(report.Findings), "object"))
	}
	return e.printf("%s", b.String())
}

func describeAffected(a repo.Affected) string {
	name := oneLine(a.Name)
	if name == "" {
		name = string(a.Machine)
	}
	s := name + "@" + a.Time.UTC().Format(backup.TimeLayout)
	if a.Image == "" {
		return s
	}
	return fmt.Sprintf("%s %s bytes %d to %d", s, oneLine(a.Image), a.Start, a.End)
}
