package main

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/fs"
)

type lsOptions struct {
	json bool
}

func newLs(e *env) *cobra.Command {
	var o lsOptions
	c := &cobra.Command{
		Use:   "ls POINT[:/PATH]",
		Short: "list what is in a restore point",
		Long:  "Lists a folder of a restore point, or one file.\n\n" + placeHelp,
		Example: `  vitrine ls --repo /backups SQL01
  vitrine ls --repo /backups SQL01@2026-11-22:/config
  vitrine ls --repo /backups SQL01:/C:/Users`,
		Args: exactly("POINT"),
		RunE: func(c *cobra.Command, args []string) error { return runLs(c.Context(), e, o, args[0]) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// entryJSON is a file or folder in the output of ls --json.
type entryJSON struct {
	Name string    `json:"name"`
	Type string    `json:"type"` // file | dir | link
	Size int64     `json:"size"`
	Data int64     `json:"data"` // bytes that are not holes
	Time time.Time `json:"time"`
	// Target is where a link leads, within its volume.
	Target string `json:"target,omitempty"`
	// Notice says why the content cannot be had.
	Notice string `json:"notice,omitempty"`
}

func runLs(ctx context.Context, e *env, o lsOptions, place string) (err error) {
	point, at, _ := splitPlace(place)
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	v, err := openView(ctx, r, point)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	n, err := v.node(ctx, at)
	if err != nil {
		return noPlace(at, err)
	}
	list, err := listNode(ctx, e, n, path.Base(at))
	if err != nil {
		return noPlace(at, err)
	}
	if o.json {
		return e.printJSON(list)
	}
	if len(list) == 0 {
		return nil
	}
	rows := make([][]string, 0, len(list))
	for _, x := range list {
		name, bytes, data := x.Name, size(x.Size), size(x.Data)
		if x.Type == "dir" {
			name, bytes, data = name+"/", "-", "-"
		}
		if x.Type == "link" {
			name += " -> " + x.Target
		}
		if x.Notice != "" {
			name += " (" + x.Notice + ")"
		}
		rows = append(rows, []string{bytes, data, x.Time.UTC().Format(backup.TimeLayout), name})
	}
	return e.printf("%s", table([]string{"SIZE", "DATA", "TIME", "NAME"}, rows, 0, 1))
}

// listNode describes a folder's nodes, or the node itself.
func listNode(ctx context.Context, e *env, n fs.Node, name string) ([]entryJSON, error) {
	d, ok := n.(fs.Dir)
	if !ok {
		x, err := describeNode(ctx, n, name)
		return []entryJSON{x}, err
	}
	list := []entryJSON{}
	for entry, err := range d.Entries(ctx) {
		var x entryJSON
		if err == nil {
			x, err = describeEntry(ctx, d, entry.Name)
		}
		switch {
		case err == nil:
			list = append(list, x)
		case ctx.Err() != nil || entry.Name == "" && len(list) == 0:
			return nil, err
		default:
			// One that is damaged does not hide the others.
			e.warn("%s", oneLine(err.Error()))
		}
	}
	slices.SortFunc(list, func(a, b entryJSON) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func describeEntry(ctx context.Context, d fs.Dir, name string) (entryJSON, error) {
	n, err := d.Lookup(ctx, name)
	if err != nil {
		return entryJSON{}, err
	}
	return describeNode(ctx, n, name)
}

func describeNode(ctx context.Context, n fs.Node, name string) (entryJSON, error) {
	info, err := n.Stat(ctx)
	if err != nil {
		return entryJSON{}, err
	}
	x := entryJSON{Name: name, Type: "file", Size: info.Size, Data: info.Alloc, Time: info.Time.UTC(), Notice: info.Notice}
	switch n := n.(type) {
	case fs.Dir:
		x.Type, x.Size, x.Data = "dir", 0, 0
	case fs.Link:
		x.Type = "link"
		x.Target, err = n.Target(ctx)
	}
	return x, err
}
