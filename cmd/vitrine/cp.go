package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"vitrine/fs"
	"vitrine/repo"
)

type cpOptions struct {
	zip string
}

func newCp(e *env) *cobra.Command {
	var o cpOptions
	c := &cobra.Command{
		Use:   "cp POINT:/PATH... DEST",
		Short: "copy files and folders out of a restore point",
		Long: `Copies files, or folders with all that is in them, to DEST: a folder that
exists, or a name for the one thing copied. With --zip they go into a new archive
instead. Holes stay holes. Nothing is ever overwritten, and nothing is written
outside of DEST, whatever a guest called its files.

Files of a guest keep their time and their permissions, but never those that let
a program run as somebody else. Links are copied where they lead to something
within the folder that is copied. Other links, devices, and files whose content
cannot be had are named and left out; the exit status is 3 then. A name that
cannot be had here is changed, and the original is told. With POINT:/ the folder
"guest" stays behind: its files are on the disks.

` + placeHelp,
		Example: `  vitrine cp --repo /backups SQL01:/SQL01-data.vhdx /tmp
  vitrine cp --repo /backups SQL01@2026-11-22:/C:/Projects /tmp
  vitrine cp --repo /backups SQL01:/C:/Projects --zip projects.zip`,
		Args: func(c *cobra.Command, args []string) error {
			if o.zip != "" {
				return atLeast("POINT:/PATH")(c, args)
			}
			return atLeast("POINT:/PATH", "DEST")(c, args)
		},
		RunE: func(c *cobra.Command, args []string) error { return runCp(c.Context(), e, o, args) },
	}
	c.Flags().StringVar(&o.zip, "zip", "", "write a new archive `FILE` instead of files")
	return c
}

func runCp(ctx context.Context, e *env, o cpOptions, args []string) (err error) {
	from, dest := args, ""
	if o.zip == "" {
		from, dest = args[:len(args)-1], args[len(args)-1]
	}
	for _, place := range from {
		if _, _, ok := splitPlace(place); !ok {
			return &usageError{fmt.Errorf("%q names no place in a restore point", place), "write POINT:/PATH, or POINT:/ for all of it"}
		}
	}
	into := o.zip != ""
	if !into {
		if into, err = isFolder(dest); err != nil {
			return err
		}
		if !into && len(from) > 1 {
			return &usageError{fmt.Errorf("%s is not a folder", dest), "several things are copied into a folder that exists"}
		}
	}
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	c := &copying{e: e, bars: newBars(ctx, e, false)}
	defer c.bars.close()
	if o.zip == "" {
		parent, name := dest, ""
		if !into {
			parent, name = filepath.Split(filepath.Clean(dest))
			parent = cmp.Or(parent, ".")
		}
		root, err := os.OpenRoot(parent)
		if err != nil {
			return err
		}
		defer root.Close()
		c.to = &folderSink{root}
		return c.places(ctx, r, from, name)
	}
	f, err := os.OpenFile(o.zip, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	z := newZipSink(f)
	c.to = z
	err = c.places(ctx, r, from, "")
	if errors.Is(err, errReported) {
		return errors.Join(z.w.Close(), f.Close(), err)
	}
	if err = errors.Join(err, z.w.Close(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(o.zip))
	}
	return nil
}

func isFolder(name string) (bool, error) {
	info, err := os.Stat(name)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.IsDir(), err
}

// copying writes nodes of the tree to a sink.
type copying struct {
	e      *env
	bars   *bars
	to     sink
	failed int // files and folders that were reported and left out
}

// places copies what lies at each place, under a name of its own where it is
// not given one.
func (c *copying) places(ctx context.Context, r *repo.Repo, from []string, name string) error {
	for _, place := range from {
		point, at, _ := splitPlace(place)
		v, err := openView(ctx, r, point)
		if err != nil {
			return err
		}
		if err := errors.Join(c.place(ctx, v, at, name), v.close()); err != nil {
			return err
		}
	}
	if c.failed > 0 {
		return errReported
	}
	return nil
}

func (c *copying) place(ctx context.Context, v *view, at, name string) error {
	n, err := v.node(ctx, at)
	if err != nil {
		return noPlace(at, err)
	}
	switch base := path.Base(at); {
	case name != "":
	case at == "":
		name = "."
	default:
		name = c.to.fit(base)
		c.renamed(at, base, name)
	}
	failed := c.failed
	if err := c.node(ctx, n, at, name, -1); err != nil {
		return err
	}
	// One file that was asked for by its name.
	if _, ok := n.(fs.File); ok && c.failed > failed {
		return errReported
	}
	return nil
}

func (c *copying) renamed(at, from, to string) {
	if from != to {
		c.e.warn("/%s is called %q here", oneLine(at), to)
	}
}

// node copies what lies at a place of the restore point, depth folders below
// the one that is copied, which is -1 itself. What cannot be copied is reported,
// and does not keep others from it.
func (c *copying) node(ctx context.Context, n fs.Node, at, name string, depth int) error {
	var err error
	switch n := n.(type) {
	case fs.Dir:
		return c.dir(ctx, n, at, name, depth)
	case fs.File:
		err = c.file(ctx, n, at, name)
	case fs.Link:
		err = c.link(ctx, n, at, name, depth)
	}
	return c.report(ctx, at, err)
}

// report tells of what is wrong with one place. What is wrong with all of them
// ends the command.
func (c *copying) report(ctx context.Context, at string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil || errors.Is(err, syscall.ENOSPC):
		return err
	case errors.Is(err, iofs.ErrExist):
		return err // taken: see create
	}
	c.failed++
	c.e.fail(fmt.Errorf("copy /%s: %w", at, err))
	return nil
}

func (c *copying) dir(ctx context.Context, d fs.Dir, at, name string, depth int) error {
	info, err := d.Stat(ctx)
	if err != nil {
		return c.report(ctx, at, err)
	}
	if err := c.to.dir(name); err != nil {
		return c.report(ctx, at, err)
	}
	for entry, err := range d.Entries(ctx) {
		below := strings.TrimPrefix(at+"/"+entry.Name, "/")
		if err != nil {
			if err := c.report(ctx, at, err); err != nil {
				return err
			}
			break
		}
		child, err := d.Lookup(ctx, entry.Name)
		if err != nil {
			if err := c.report(ctx, below, err); err != nil {
				return err
			}
			continue
		}
		if fs.HoldsVolumes(child) {
			continue
		}
		if err := c.create(ctx, child, below, name, entry.Name, depth+1); err != nil {
			return err
		}
	}
	if err := c.to.done(name, info); err != nil {
		return c.report(ctx, at, err)
	}
	return nil
}

// maxSame bounds the names of a folder that are one name here.
const maxSame = 1000

// create copies a child under its name, or under another where that is taken
// or cannot be had.
func (c *copying) create(ctx context.Context, n fs.Node, at, dir, own string, depth int) error {
	name := c.to.fit(own)
	for i := 2; ; i++ {
		err := c.node(ctx, n, at, path.Join(dir, name), depth)
		switch {
		case err == nil:
			c.renamed(at, own, name)
			return nil
		case !errors.Is(err, iofs.ErrExist), dir == ".":
			return err
		case i > maxSame:
			c.failed++
			c.e.fail(fmt.Errorf("copy /%s: %w", at, err))
			return nil
		}
		ext := path.Ext(own)
		if len(ext) > 32 || ext == own {
			ext = ""
		}
		stem := strings.TrimSuffix(own, ext)
		suffix := fmt.Sprintf(" (%d)%s", i, ext)
		for len(stem)+len(suffix) > maxName {
			_, last := utf8.DecodeLastRuneInString(stem)
			stem = stem[:len(stem)-last]
		}
		name = c.to.fit(stem + suffix)
	}
}

func (c *copying) file(ctx context.Context, n fs.File, at, name string) (err error) {
	info, err := n.Stat(ctx)
	if err != nil {
		return err
	}
	if info.Notice != "" {
		c.e.warn("/%s is left out: %s", oneLine(at), oneLine(info.Notice))
		return nil
	}
	h, err := n.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	meter := c.bars.Begin("", name, info.Size)
	err = c.to.file(ctx, name, info, h, meter.Add)
	meter.End(err)
	return err
}

func (c *copying) link(ctx context.Context, l fs.Link, at, name string, depth int) error {
	target, err := l.Target(ctx)
	if err != nil {
		return err
	}
	if !staysInside(depth, target, runtime.GOOS == "windows") {
		c.e.warn("/%s is left out: it is a link to %s", oneLine(at), oneLine(target))
		return nil
	}
	return c.to.link(name, target)
}

// staysInside reports whether a link's target, read from a folder depth folders
// below the one that is copied, stays in that.
func staysInside(depth int, target string, windows bool) bool {
	if target == "" || strings.HasPrefix(target, "/") || strings.IndexByte(target, 0) >= 0 || windows && strings.ContainsAny(target, `\:`) {
		return false
	}
	ups, names := 0, false
	for part := range strings.SplitSeq(target, "/") {
		switch {
		case part == "" || part == ".":
		case part == "..":
			// Behind a name it depends on where that leads.
			if ups++; names || ups > depth {
				return false
			}
		default:
			names = true
		}
	}
	return true
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
