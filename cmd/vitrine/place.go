package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"

	"vitrine/backup"
	"vitrine/fs"
	"vitrine/repo"
)

// placeHelp explains what ls and cp take.
const placeHelp = `POINT:/PATH is a place in a restore point as the mounted tree shows it:
/SQL01-os.vhdx, /config, /checkpoints. ` + pointHelp

// splitPlace cuts POINT:/PATH; a moment may be written with colons.
func splitPlace(s string) (point, path string, ok bool) {
	if i := strings.Index(s, ":/"); i >= 0 {
		return s[:i], strings.Trim(s[i+2:], "/"), true
	}
	if p, ok := strings.CutSuffix(s, ":"); ok {
		return p, "", true
	}
	return s, "", false
}

// view is the tree of one machine, and the folder of one restore point in it.
type view struct {
	tree *fs.Tree
	dir  fs.Dir
}

func (v *view) close() error { return v.tree.Close() }

// openView finds a restore point in the tree.
func openView(ctx context.Context, r *repo.Repo, spec string) (*view, error) {
	p, err := backup.Find(ctx, r, spec)
	if err != nil {
		return nil, err
	}
	t, err := fs.New(ctx, fs.Repo(r), fs.Options{Machines: []string{string(p.Machine)}})
	if err != nil {
		return nil, err
	}
	dir, err := pointFolder(ctx, t, p)
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return &view{t, dir}, nil
}

// pointFolder finds the one machine's folder, and the point's in it.
func pointFolder(ctx context.Context, t *fs.Tree, p *repo.RestorePoint) (fs.Dir, error) {
	for entry, err := range t.Root().Entries(ctx) {
		if err != nil {
			return nil, err
		}
		if !entry.Mode.IsDir() || strings.HasPrefix(entry.Name, ".") {
			continue
		}
		moment := p.Time.UTC().Format(backup.TimeLayout)
		// Points of the same second carry their ids.
		for _, suffix := range []string{"", fmt.Sprintf(" (%.8s)", p.ID), fmt.Sprintf(" (%s)", p.ID)} {
			n, err := fs.Walk(ctx, t.Root(), entry.Name+"/"+moment+suffix)
			if errors.Is(err, iofs.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			if d, ok := n.(fs.Dir); ok {
				return d, nil
			}
		}
	}
	return nil, fmt.Errorf("restore point %.8s is not in the tree: %w", p.ID, iofs.ErrNotExist)
}

// node finds a place below the restore point.
func (v *view) node(ctx context.Context, path string) (fs.Node, error) {
	if path == "" {
		return v.dir, nil
	}
	return fs.Walk(ctx, v.dir, path)
}

// noPlace is the error of a path that is not there.
func noPlace(path string, err error) error {
	if errors.Is(err, iofs.ErrNotExist) {
		return &hinted{fmt.Errorf("there is no /%s in this restore point", path), "vitrine ls POINT:/ shows what there is"}
	}
	return fmt.Errorf("/%s: %w", path, err)
}
