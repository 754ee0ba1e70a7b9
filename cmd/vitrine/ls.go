package main

import (
	"context"
	"errors"
	"path"
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
  vitrine ls --repo /backups SQL01@2026-11-22:/config`,
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
	list, err := listNode(ctx, n, path.Base(at))
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
		rows = append(rows, []string{bytes, data, x.Time.UTC().Format(backup.TimeLayout), name})
	}
	return e.printf("%s", table([]string{"SIZE", "DATA", "TIME", "NAME"}, rows, 0, 1))
}

// listNode describes a folder's nodes, or the node itself.
func listNode(ctx context.Context, n fs.Node, name string) ([]entryJSON, error) {
	d, ok := n.(fs.Dir)
	if !ok {
		x, err := describeNode(ctx, n, name)
		return []entryJSON{x}, err
	}
	list := []entryJSON{}
	for entry, err := range d.Entries(ctx) {
		if err != nil {
			return nil, err
		}
		child, err := d.Lookup(ctx, entry.Name)
		if err != nil {
			return nil, err
		}
		x, err := describeNode(ctx, child, entry.Name)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	return list, nil
}

func describeNode(ctx context.Context, n fs.Node, name string) (entryJSON, error) {
	info, err := n.Stat(ctx)
	if err != nil {
		return entryJSON{}, err
	}
	x := entryJSON{Name: name, Type: "file", Size: info.Size, Data: info.Alloc, Time: info.Time.UTC()}
	switch n.(type) {
	case fs.Dir:
		x.Type, x.Size, x.Data = "dir", 0, 0
	case fs.Link:
		x.Type = "link"
	}
	return x, nil
}
