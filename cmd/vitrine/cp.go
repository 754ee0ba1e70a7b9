package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/fs"
	"vitrine/fs/raw"
)

func newCp(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "cp POINT:/PATH... DEST",
		Short: "copy files and folders out of a restore point",
		Long: `Copies files, or folders with all that is in them, to DEST: a folder that
exists, or a name for the one thing copied. Holes stay holes. Nothing is ever
overwritten.

` + placeHelp,
		Example: `  vitrine cp --repo /backups SQL01:/SQL01-data.vhdx /tmp
  vitrine cp --repo /backups SQL01@2026-11-22:/config /tmp/sql01-config`,
		Args: atLeast("POINT:/PATH", "DEST"),
		RunE: func(c *cobra.Command, args []string) error { return runCp(c.Context(), e, args) },
	}
}

func runCp(ctx context.Context, e *env, args []string) error {
	from, dest := args[:len(args)-1], args[len(args)-1]
	for _, place := range from {
		if _, _, ok := splitPlace(place); !ok {
			return &usageError{fmt.Errorf("%q names no place in a restore point", place), "write POINT:/PATH, or POINT:/ for all of it"}
		}
	}
	info, err := os.Stat(dest)
	into := err == nil && info.IsDir()
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if !into && len(from) > 1 {
		return &usageError{fmt.Errorf("%s is not a folder", dest), "several things are copied into a folder that exists"}
	}
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	c := &copying{bars: newBars(ctx, e, false)}
	defer c.bars.close()
	for _, place := range from {
		point, at, _ := splitPlace(place)
		v, err := openView(ctx, r, point)
		if err != nil {
			return err
		}
		err = c.place(ctx, v, at, dest, into)
		if err := errors.Join(err, v.close()); err != nil {
			return err
		}
	}
	return nil
}

// copying writes nodes of the tree as files.
type copying struct {
	bars *bars
}

// place copies what lies at a path to dest, or into it.
func (c *copying) place(ctx context.Context, v *view, at, dest string, into bool) error {
	n, err := v.node(ctx, at)
	if err != nil {
		return noPlace(at, err)
	}
	parent, name := filepath.Dir(dest), filepath.Base(dest)
	switch {
	case into && at != "":
		parent, name = dest, path.Base(at)
	case into:
		parent, name = dest, "."
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return err
	}
	return errors.Join(c.node(ctx, root, n, name), root.Close())
}

func (c *copying) node(ctx context.Context, root *os.Root, n fs.Node, name string) error {
	switch n := n.(type) {
	case fs.Dir:
		return c.dir(ctx, root, n, name)
	case fs.File:
		if err := c.file(ctx, root, n, name); err != nil {
			if exists := (*backup.ExistsError)(nil); errors.As(err, &exists) {
				return err
			}
			return fmt.Errorf("copy %s: %w", name, err)
		}
	}
	return nil // a link leads to what is copied under its own name
}

func (c *copying) dir(ctx context.Context, root *os.Root, d fs.Dir, name string) error {
	if name != "." {
		err := root.Mkdir(filepath.FromSlash(name), 0o700)
		if errors.Is(err, os.ErrExist) {
			return &backup.ExistsError{Path: filepath.Join(root.Name(), filepath.FromSlash(name))}
		}
		if err != nil {
			return err
		}
	}
	for entry, err := range d.Entries(ctx) {
		if err != nil {
			return err
		}
		child, err := d.Lookup(ctx, entry.Name)
		if err != nil {
			return err
		}
		if err := c.node(ctx, root, child, path.Join(name, entry.Name)); err != nil {
			return err
		}
	}
	return nil
}

func (c *copying) file(ctx context.Context, root *os.Root, n fs.File, name string) (err error) {
	info, err := n.Stat(ctx)
	if err != nil {
		return err
	}
	h, err := n.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	local := filepath.FromSlash(name)
	f, err := root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if errors.Is(err, os.ErrExist) {
		return &backup.ExistsError{Path: filepath.Join(root.Name(), local)}
	}
	if err != nil {
		return err
	}
	meter := c.bars.Begin("", name, info.Size)
	_, err = raw.Write(ctx, backup.Target(f), handleDisk{h, info.Size}, raw.WriteOptions{Progress: meter.Add})
	meter.End(err)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, root.Remove(local))
	}
	return root.Chtimes(local, info.Time, info.Time)
}

// handleDisk is an opened file of the tree as a disk.
type handleDisk struct {
	fs.Handle
	size int64
}

func (d handleDisk) Size() int64 { return d.size }

func (d handleDisk) ReadAt(p []byte, off int64) (int, error) {
	return d.Handle.ReadAt(context.Background(), p, off)
}

// ReadAtContext is ReadAt that gives up when ctx ends.
func (d handleDisk) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return d.Handle.ReadAt(ctx, p, off)
}

func (d handleDisk) NextData(off int64) (start, end int64, err error) {
	x, ok := d.Handle.(fs.Extenter)
	if !ok {
		if off >= d.size {
			return 0, 0, io.EOF
		}
		return max(off, 0), d.size, nil
	}
	if start, err = x.NextData(context.Background(), off); err != nil {
		return 0, 0, err
	}
	end, err = x.NextHole(context.Background(), start)
	return start, end, err
}
