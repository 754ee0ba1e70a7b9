package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/repo"
)

// pointHelp explains how a restore point is named.
const pointHelp = `POINT is SQL01 or SQL01@latest, SQL01@2026-11-22 (its last of that day, UTC),
SQL01@2026-11-22T22-00-05Z, or the start of a restore point's id.`

type showOptions struct {
	json bool
}

func newShow(e *env) *cobra.Command {
	var o showOptions
	c := &cobra.Command{
		Use:   "show POINT",
		Short: "show all that is known of a restore point",
		Long: `Shows how a restore point was made and what is in it; what was left out of it,
because no guest would miss it; and what was kept all the same, and why.

` + pointHelp,
		Example: `  vitrine show --repo /backups SQL01
  vitrine show --repo /backups SQL01@2026-11-22 --json`,
		Args: exactly("POINT"),
		RunE: func(c *cobra.Command, args []string) error { return runShow(c.Context(), e, o, args[0]) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runShow(ctx context.Context, e *env, o showOptions, spec string) error {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	p, err := backup.Find(ctx, r, spec)
	if err != nil {
		return err
	}
	notes, err := r.Notes(ctx, p.ID)
	if err != nil {
		return err
	}
	if o.json {
		return e.printJSON(struct {
			*repo.RestorePoint
			Notes []repo.Note `json:"notes"`
		}{p, append([]repo.Note{}, notes...)})
	}
	return e.printf("%s", describePoint(p, notes))
}

func describePoint(p *repo.RestorePoint, notes []repo.Note) string {
	var b strings.Builder
	field := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s%s\n", name, oneLine(fmt.Sprintf(format, args...)))
	}
	field("id", "%s", p.ID)
	field("machine", "%s (%s)", p.Name, p.Machine)
	field("time", "%s", p.Time.UTC().Format(backup.TimeLayout))
	field("consistency", "%s", p.Consistency)
	field("method", "%s, %s read", p.Method, p.Read)
	if p.Source != "" {
		field("source", "%s", p.Source)
	}
	field("made by", "%s in %s", p.Software, span(p.Finished.Sub(p.Started)))
	field("size", "%s, read %s, new %s, stored %s", size(p.Stats.Size), size(p.Stats.Read), size(p.Stats.New), size(p.Stats.Stored))
	for _, l := range p.LeftOut {
		field("left out", "%s", describeLeft(l))
	}
	for _, l := range p.Kept {
		field("kept", "%s", describeLeft(l))
	}
	if len(p.Tags) > 0 {
		field("tags", "%s", strings.Join(p.Tags, ", "))
	}
	for _, w := range p.Warnings {
		field("missing", "%s", w.Text)
	}
	for _, n := range notes {
		if n.Kind != repo.NoteCommitted {
			field("note", "%s %s", n.Time.UTC().Format(backup.TimeLayout), n.Kind)
		}
	}
	b.WriteString(contentTable("", p.Disks, p.Files))
	for _, c := range p.Checkpoints {
		fmt.Fprintf(&b, "\ncheckpoint   %s\n", oneLine(c.Name))
		b.WriteString(contentTable("", c.Disks, c.Files))
	}
	return b.String()
}

// describeLeft says what was left out and how much it is, or why it was kept.
func describeLeft(l repo.LeftOut) string {
	text := l.What
	if l.Volume != "" {
		text += " of " + l.Volume
	}
	if l.Disk != "" {
		text += " on " + l.Disk
	}
	if l.Why != "" {
		return oneLine(text + ": " + l.Why)
	}
	return oneLine(text + ", " + size(l.Bytes))
}

func contentTable(dir string, disks []repo.Disk, files []repo.File) string {
	var rows [][]string
	for _, d := range disks {
		rows = append(rows, []string{dir + d.Name, d.Format, size(d.Image.Size), size(d.Image.Data)})
	}
	for _, f := range files {
		rows = append(rows, []string{dir + "config/" + f.Name, "file", size(f.Image.Size), size(f.Image.Data)})
	}
	if len(rows) == 0 {
		return ""
	}
	return "\n" + table([]string{"NAME", "FORMAT", "SIZE", "DATA"}, rows, 2, 3)
}
