package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/repo"
)

type listOptions struct {
	tags []string
	json bool
}

func newList(e *env) *cobra.Command {
	var o listOptions
	c := &cobra.Command{
		Use:     "list [VM...]",
		Aliases: []string{"snapshots", "points"},
		Short:   "list restore points",
		Long: `Lists the restore points of all machines, or of those named, oldest first.

SIZE is what the guest sees, NEW what the repository did not have before.`,
		Example: `  vitrine list --repo /backups
  vitrine list --repo /backups SQL01 --json`,
		RunE: func(c *cobra.Command, args []string) error { return runList(c.Context(), e, o, args) },
	}
	c.Flags().StringArrayVar(&o.tags, "tag", nil, "only restore points with this `TAG`; may be repeated")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// pointJSON is a restore point in the output of list --json.
type pointJSON struct {
	ID          repo.PointID   `json:"id"`
	VM          string         `json:"vm"`
	VMID        repo.MachineID `json:"vmId"`
	Time        time.Time      `json:"time"`
	Method      string         `json:"method"`
	Consistency string         `json:"consistency"`
	Tags        []string       `json:"tags"`
	Disks       []diskJSON     `json:"disks"`
}

type diskJSON struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Format string `json:"format"`
}

func runList(ctx context.Context, e *env, o listOptions, args []string) error {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	listed, err := backup.List(ctx, r, args...)
	if err != nil {
		return err
	}
	var points []*repo.RestorePoint
	var broken []error
	for _, l := range listed {
		switch {
		case l.Err != nil:
			broken = append(broken, fmt.Errorf("restore point %.8s of %s cannot be opened: %w", l.Info.ID, l.Info.Time.UTC().Format(backup.TimeLayout), l.Err))
		case hasTags(l.Point, o.tags):
			points = append(points, l.Point)
		}
	}
	slices.SortStableFunc(points, func(a, b *repo.RestorePoint) int {
		return cmp.Or(strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), strings.Compare(string(a.Machine), string(b.Machine)), a.Time.Compare(b.Time))
	})
	if o.json {
		err = e.printJSON(pointsJSON(points))
	} else if len(points) > 0 {
		err = e.printf("%s", pointTable(points))
	}
	if err != nil {
		return err
	}
	for _, b := range broken {
		e.fail(b)
	}
	if len(broken) > 0 {
		return errReported
	}
	return nil
}

func hasTags(p *repo.RestorePoint, tags []string) bool {
	for _, want := range tags {
		has := false
		for _, t := range p.Tags {
			has = has || t == want
		}
		if !has {
			return false
		}
	}
	return true
}

func pointsJSON(points []*repo.RestorePoint) []pointJSON {
	out := make([]pointJSON, 0, len(points))
	for _, p := range points {
		j := pointJSON{
			ID: p.ID, VM: p.Name, VMID: p.Machine, Time: p.Time.UTC(), Method: p.Method, Consistency: p.Consistency,
			Tags: append([]string{}, p.Tags...), Disks: []diskJSON{},
		}
		for _, d := range p.Disks {
			j.Disks = append(j.Disks, diskJSON{d.Name, d.Image.Size, d.Format})
		}
		out = append(out, j)
	}
	return out
}

func pointTable(points []*repo.RestorePoint) string {
	rows, shown := make([][]string, 0, len(points)), namer{}
	for _, p := range points {
		shown.add(p.Name, p.Machine)
	}
	for _, p := range points {
		rows = append(rows, []string{
			fmt.Sprintf("%.8s", p.ID), shown.name(p.Name, p.Machine), p.Time.UTC().Format(backup.TimeLayout), p.Consistency, p.Method,
			strconv.Itoa(len(p.Disks)), size(p.Stats.Size), size(p.Stats.New), strings.Join(p.Tags, ","),
		})
	}
	return table([]string{"ID", "VM", "TIME", "CONSISTENCY", "METHOD", "DISKS", "SIZE", "NEW", "TAGS"}, rows, 5, 6, 7)
}
