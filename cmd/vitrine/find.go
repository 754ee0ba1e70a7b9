package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/fs"
)

type findOptions struct {
	machines []string
	json     bool
}

func newFind(e *env) *cobra.Command {
	var o findOptions
	c := &cobra.Command{
		Use:   "find NAME",
		Short: "search the files of guests over all restore points",
		Long: `Looks for files inside the guests, in every restore point, newest first, and
shows each version of a file once: when it was last changed, its size, the SHA-256
of its content, and which restore points have it. Two versions are told apart by
their content alone, which is read for that.

NAME may have *, ? and [a-z] in it; case does not count. With a slash in it, it
is compared with the whole path below the volume.`,
		Example: `  vitrine find --repo /backups --vm FS01 "budget*.xlsx"
  vitrine find --repo /backups --vm WEB01 etc/nginx/nginx.conf --json`,
		Args: exactly("NAME"),
		RunE: func(c *cobra.Command, args []string) error { return runFind(c.Context(), e, o, args[0]) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.machines, "vm", nil, "search only the machine `NAME`; may be repeated")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// found is one content of one file.
type found struct {
	VM     string    `json:"vm"`
	Path   string    `json:"path"` // below guest/
	Time   time.Time `json:"time"` // of the newest restore point that has it
	Size   int64     `json:"size"`
	SHA256 string    `json:"sha256,omitempty"`
	Notice string    `json:"notice,omitempty"` // why there is no hash
	Points []string  `json:"points"`           // newest first
}

// maxVersions bounds what is remembered.
const maxVersions = 100_000

// search collects versions.
type search struct {
	e       *env
	pattern string
	whole   bool // the pattern is for paths
	all     []*found
	byKey   map[string]*found
	buf     []byte
	sum     hash.Hash
}

var errTooMany = errors.New("more than " + strconv.Itoa(maxVersions) + " versions match: ask for a longer name")

func runFind(ctx context.Context, e *env, o findOptions, pattern string) (err error) {
	f := &search{
		e: e, pattern: strings.ToLower(strings.TrimPrefix(pattern, "/")), whole: strings.Contains(pattern, "/"),
		byKey: make(map[string]*found), buf: make([]byte, 1<<20), sum: sha256.New(),
	}
	if _, err := path.Match(f.pattern, ""); err != nil {
		return &usageError{fmt.Errorf("%q is no pattern", pattern), `write \[ for a bracket`}
	}
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	t, err := fs.New(ctx, fs.Repo(r), fs.Options{Machines: o.machines})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	if _, err := t.Chosen(ctx); err != nil {
		return err
	}
	for entry, err := range t.Root().Entries(ctx) {
		if err != nil {
			return err
		}
		if !entry.Mode.IsDir() || strings.HasPrefix(entry.Name, ".") {
			continue
		}
		if err := f.machine(ctx, t.Root(), entry.Name); err != nil {
			return err
		}
	}
	if o.json {
		return e.printJSON(append([]*found{}, f.all...))
	}
	if len(f.all) == 0 {
		e.say("no file is called so in any restore point")
		return nil
	}
	rows := make([][]string, 0, len(f.all))
	for _, v := range f.all {
		held := v.Points[0]
		if n := len(v.Points); n > 1 {
			held = fmt.Sprintf("%s and %d older, from %s", held, n-1, v.Points[n-1])
		}
		rows = append(rows, []string{v.Time.Format(backup.TimeLayout), size(v.Size), cmp.Or(v.SHA256, "("+v.Notice+")"), v.VM + ":/guest/" + v.Path, held})
	}
	return e.printf("%s", table([]string{"CHANGED", "SIZE", "SHA-256", "FILE", "RESTORE POINTS"}, rows, 1))
}

// machine searches a machine's restore points, newest first.
func (f *search) machine(ctx context.Context, root fs.Dir, name string) error {
	n, err := root.Lookup(ctx, name)
	if err != nil {
		return err
	}
	d, ok := n.(fs.Dir)
	if !ok {
		return nil
	}
	var points []string
	for entry, err := range d.Entries(ctx) {
		if err != nil {
			return err
		}
		if entry.Mode.IsDir() && entry.Name != "latest" {
			points = append(points, entry.Name)
		}
	}
	slices.Reverse(points)
	for _, point := range points {
		guest, err := fs.Walk(ctx, d, point+"/guest")
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if _, broken := fs.Walk(ctx, d, point+"/ERROR.txt"); broken == nil {
				f.e.warn("restore point %s of %s cannot be opened, and was not searched", point, oneLine(name))
			}
			continue
		}
		if volumes, ok := guest.(fs.Dir); ok {
			if err := f.folder(ctx, volumes, name, point, "", -1); err != nil {
				return err
			}
		}
	}
	return nil
}

// folder searches a folder that lies depth folders below its volume. What
// cannot be read is told, and does not keep others from being found.
func (f *search) folder(ctx context.Context, d fs.Dir, vm, point, at string, depth int) error {
	for entry, err := range d.Entries(ctx) {
		below := path.Join(at, entry.Name)
		if err == nil && (entry.Mode.IsDir() || depth >= 0 && f.matches(below, entry.Name)) {
			err = f.entry(ctx, d, vm, point, below, entry, depth)
		}
		switch {
		case err == nil:
		case ctx.Err() != nil || errors.Is(err, errTooMany):
			return err
		default:
			f.e.warn("%s %s: %s", oneLine(vm), point, oneLine(err.Error()))
		}
	}
	return nil
}

// matches compares a name, or a path without its volume, with the pattern.
func (f *search) matches(at, name string) bool {
	if f.whole {
		_, name, _ = strings.Cut(at, "/")
	}
	ok, err := path.Match(f.pattern, strings.ToLower(name))
	return ok && err == nil
}

func (f *search) entry(ctx context.Context, d fs.Dir, vm, point, at string, entry fs.Entry, depth int) error {
	n, err := d.Lookup(ctx, entry.Name)
	if err != nil {
		return err
	}
	switch n := n.(type) {
	case fs.Dir:
		return f.folder(ctx, n, vm, point, at, depth+1)
	case fs.File:
		return f.file(ctx, n, vm, point, at)
	}
	return nil
}

func (f *search) file(ctx context.Context, n fs.File, vm, point, at string) error {
	i, err := n.Stat(ctx)
	if err != nil {
		return err
	}
	v := &found{VM: vm, Path: at, Time: i.Time.UTC(), Size: i.Size, Notice: i.Notice, Points: []string{point}}
	key := vm + "\x00" + at + "\x00" + v.Notice
	if v.Notice != "" {
		key += v.Time.String()
	} else {
		if v.SHA256, err = f.hash(ctx, n, i.Size); err != nil {
			return err
		}
		key += v.SHA256
	}
	if known := f.byKey[key]; known != nil {
		known.Points = append(known.Points, point)
		return nil
	}
	if len(f.all) == maxVersions {
		return errTooMany
	}
	f.all = append(f.all, v)
	f.byKey[key] = v
	return nil
}

func (f *search) hash(ctx context.Context, n fs.File, size int64) (sum string, err error) {
	h, err := n.Open(ctx)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, h.Close()) }()
	f.sum.Reset()
	got, err := io.CopyBuffer(f.sum, struct{ io.Reader }{io.NewSectionReader(readUnder{ctx, h}, 0, size)}, f.buf)
	if err == nil && got < size {
		err = io.ErrUnexpectedEOF
	}
	return hex.EncodeToString(f.sum.Sum(nil)), err
}
