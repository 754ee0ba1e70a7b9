package folder

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"strings"
	"time"

	"vitrine/fs/disk"
	"vitrine/fs/raw"
	"vitrine/fs/vhd"
	"vitrine/fs/vhdx"
	"vitrine/repo"
)

// maxLayers is the longest chain. Hyper-V keeps at most 50 checkpoints.
const maxLayers = 51

// layer is an open disk file.
type layer struct {
	name   string
	format string
	file   *os.File
	marked marked
	vhdx   *vhdx.Image // the one of the three that format says
	vhd    *vhd.Image
	raw    *raw.Disk
}

func (l *layer) differencing() bool {
	switch l.format {
	case formatVHDX:
		return l.vhdx.HasParent()
	case formatVHD:
		return l.vhd.Type() == vhd.Differencing
	}
	return false
}

// id is the identity of the virtual disk: zero where the format has none.
func (l *layer) id() disk.GUID {
	switch l.format {
	case formatVHDX:
		return l.vhdx.DiskID()
	case formatVHD:
		return l.vhd.ID()
	}
	return disk.GUID{}
}

// unfinished reports whether whoever wrote the file did not close it.
func (l *layer) unfinished() bool { return l.format == formatVHDX && l.vhdx.Dirty() }

// parentNames are the names that the parent's file may have, best first.
func (l *layer) parentNames(ctx context.Context) ([]string, error) {
	if l.format == formatVHDX {
		p, _ := l.vhdx.Parent()
		return p.BaseNames(), nil
	}
	paths, err := l.vhd.ParentPaths(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range append(paths, l.vhd.Parent().Name) {
		if name := baseName(p); name != "" {
			names = append(names, name)
		}
	}
	return names, nil
}

// accepts reports whether p is the parent that l asks for.
func (l *layer) accepts(p *layer) bool {
	switch {
	case l.format != p.format:
		return false
	case l.format == formatVHDX:
		parent, _ := l.vhdx.Parent()
		return parent.Accepts(p.vhdx.DataWriteID())
	default:
		want := l.vhd.Parent().ID
		return !want.IsZero() && want == p.vhd.ID()
	}
}

// diskError says why a disk cannot be read, with the code of a warning.
type diskError struct {
	code string
	err  error
}

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

// warning makes a warning of an error about an object.
func warning(object string, err error) repo.Warning {
	code := "disk-unreadable"
	if e, ok := errors.AsType[*diskError](err); ok {
		code = e.code
	}
	return repo.Warning{Object: object, Code: code, Text: fmt.Sprintf("%s: %v", object, err)}
}

// opener opens disk files, each once, and closes them together.
type opener struct {
	root   *os.Root
	index  *index
	layers map[string]*layer
	failed map[string]error
}

func newOpener(root *os.Root, x *index) *opener {
	return &opener{root: root, index: x, layers: make(map[string]*layer), failed: make(map[string]error)}
}

// close closes all files.
func (o *opener) close() error {
	var errs []error
	for _, l := range o.layers {
		errs = append(errs, l.file.Close())
	}
	clear(o.layers)
	return errors.Join(errs...)
}

func (o *opener) open(ctx context.Context, name string) (*layer, error) {
	if l, ok := o.layers[name]; ok {
		return l, nil
	}
	if err, ok := o.failed[name]; ok {
		return nil, err
	}
	l, err := o.openFile(ctx, name)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		o.failed[name] = err
		return nil, err
	}
	o.layers[name] = l
	return l, nil
}

func (o *opener) openFile(ctx context.Context, name string) (l *layer, err error) {
	if err := o.index.broken[name]; err != nil {
		return nil, &diskError{"disk-absent", err}
	}
	f, err := o.root.Open(name)
	switch {
	case errors.Is(err, iofs.ErrNotExist):
		return nil, &diskError{"disk-absent", errors.New("is gone")}
	case refusedInUse(err):
		return nil, &diskError{"disk-in-use", errors.New("is in use by another program")}
	case err != nil:
		return nil, &diskError{"disk-unreadable", err}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if inUse(f) {
		return nil, &diskError{"disk-in-use", errors.New("is in use by another program")}
	}
	l = &layer{name: name, format: formatOf(name), file: f}
	if l.marked, err = markFile(ctx, name, f); err != nil {
		return nil, &diskError{"disk-unreadable", err}
	}
	switch size := l.marked.mark.size; l.format {
	case formatVHDX:
		var file *raw.Disk // which knows the holes of a sparse file
		if file, err = raw.Open(f, time.Now()); err == nil {
			l.vhdx, err = vhdx.Open(file, size)
		}
	case formatVHD:
		l.vhd, err = vhd.Open(f, size)
	case formatRaw:
		l.raw, err = raw.Open(f, time.Now())
	default:
		return nil, &diskError{"disk-unsupported", fmt.Errorf("is of a format that is not known (%s)", path.Ext(name))}
	}
	if err != nil {
		return nil, &diskError{"disk-damaged", err}
	}
	return l, nil
}

// chain is a disk as the guest sees it.
type chain struct {
	disk.Disk
	layers []*layer // the leaf first
}

func (c *chain) leaf() *layer { return c.layers[0] }
func (c *chain) root() *layer { return c.layers[len(c.layers)-1] }

// chain opens a file with its parents, which it looks for in the folder.
func (o *opener) chain(ctx context.Context, name string) (*chain, error) {
	l, err := o.open(ctx, name)
	if err != nil {
		return nil, err
	}
	c := &chain{layers: []*layer{l}}
	seen := map[*layer]bool{l: true}
	for c.root().differencing() {
		if len(c.layers) == maxLayers {
			return nil, &diskError{"chain-too-long", fmt.Errorf("has more than %d parents", maxLayers-1)}
		}
		whose := "its parent"
		if len(c.layers) > 1 {
			whose = fmt.Sprintf("the parent of %s", path.Base(c.root().name))
		}
		p, err := o.parent(ctx, c.root(), whose)
		if err != nil {
			return nil, err
		}
		if seen[p] {
			return nil, &diskError{"disk-damaged", fmt.Errorf("%s is its own parent", p.name)}
		}
		seen[p] = true
		c.layers = append(c.layers, p)
	}
	if c.Disk, err = merge(c.layers); err != nil {
		return nil, &diskError{"disk-damaged", err}
	}
	return c, nil
}

func merge(layers []*layer) (disk.Disk, error) {
	switch layers[0].format {
	case formatVHDX:
		var images []*vhdx.Image
		for _, l := range layers {
			images = append(images, l.vhdx)
		}
		return vhdx.Chain(images[0], images[1:]...)
	case formatVHD:
		var images []*vhd.Image
		for _, l := range layers {
			images = append(images, l.vhd)
		}
		return vhd.Chain(images[0], images[1:]...)
	}
	return layers[0].raw, nil
}

// maxCandidates bounds the files that are tried as a parent.
const maxCandidates = 256

// parent finds the parent of l: files with the name it knows, near ones
// first, then whatever disk lies beside it. Only its identity decides. whose is
// what errors call it.
func (o *opener) parent(ctx context.Context, l *layer, whose string) (*layer, error) {
	names, err := l.parentNames(ctx)
	if err != nil {
		return nil, &diskError{"disk-damaged", err}
	}
	beside := func(f string) bool { return path.Dir(f) == path.Dir(l.name) }
	var candidates []string
	for _, near := range []bool{true, false} {
		for _, n := range names {
			for _, f := range o.index.byName[strings.ToLower(n)] {
				if beside(f) == near {
					candidates = append(candidates, f)
				}
			}
		}
	}
	byName := len(candidates)
	for _, f := range o.index.disks {
		if beside(f) {
			candidates = append(candidates, f)
		}
	}
	wrong, tried := "", map[string]bool{l.name: true}
	for i, f := range candidates {
		if tried[f] || len(tried) > maxCandidates {
			continue
		}
		tried[f] = true
		p, err := o.open(ctx, f)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil && l.accepts(p) {
			return p, nil
		}
		if i < byName && wrong == "" {
			wrong = fmt.Sprintf("%s is not %s, or was changed since", f, whose)
			if err != nil {
				wrong = fmt.Sprintf("%s, %s: %v", whose, f, err)
			}
		}
	}
	if wrong != "" {
		return nil, &diskError{"parent-wrong", errors.New(wrong)}
	}
	if len(names) > 0 {
		whose += ", " + names[0] + ","
	}
	return nil, &diskError{"parent-missing", fmt.Errorf("%s is not in the folder", whose)}
}
