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
/SQL01-os.vhdx, /config, /guest. The files inside the guest are below /guest, in
a folder for each volume: "/guest/C (NTFS Windows)/Users". For short, the volume
may stand first, also by its name alone ("/C:/Users", "/root/etc"), or be left
away where one volume only has the path ("/etc/fstab"). ` + pointHelp

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

// node finds a place below the restore point: one that the tree has, or else
// one in a volume of the guest.
func (v *view) node(ctx context.Context, path string) (fs.Node, error) {
	n, err := fs.Follow(ctx, v.dir, path)
	if !errors.Is(err, iofs.ErrNotExist) || v.owns(ctx, path) {
		return n, err
	}
	inGuest, short := v.inGuest(ctx, path)
	if short != nil {
		return nil, short
	}
	if inGuest == "" {
		return nil, err
	}
	return fs.Follow(ctx, v.dir, inGuest)
}

// owns reports whether a path begins with a name that the restore point has
// itself.
func (v *view) owns(ctx context.Context, path string) bool {
	first, _, _ := strings.Cut(path, "/")
	_, err := v.dir.Lookup(ctx, first)
	return err == nil
}

// inGuest completes a path that leaves guest/ away, and maybe the volume; ""
// when no volume has it.
func (v *view) inGuest(ctx context.Context, path string) (string, error) {
	n, err := v.dir.Lookup(ctx, "guest")
	if errors.Is(err, iofs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	guest, ok := n.(fs.Dir)
	if !ok {
		return "", nil
	}
	var named, found []string
	first, rest, _ := strings.Cut(path, "/")
	for e, err := range guest.Entries(ctx) {
		if err != nil {
			return "", err
		}
		if !e.Mode.IsDir() {
			continue
		}
		if volumeNamed(e.Name, first) {
			named = append(named, "guest/"+e.Name+"/"+rest)
		}
		at := "guest/" + e.Name + "/" + path
		if _, err := fs.Follow(ctx, v.dir, at); err == nil {
			found = append(found, at)
		} else if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	for _, list := range [][]string{named, found} {
		switch len(list) {
		case 0:
		case 1:
			return list[0], nil
		default:
			return "", &hinted{fmt.Errorf("/%s is in several volumes", path), "write one of /" + strings.Join(list, ", /")}
		}
	}
	return "", nil
}

// volumeNamed reports whether a volume's folder is meant by its own name, by
// what stands before the brackets, or by a drive letter.
func volumeNamed(folder, name string) bool {
	base, _, _ := strings.Cut(folder, " (")
	letter := strings.TrimSuffix(name, ":")
	return strings.EqualFold(folder, name) || strings.EqualFold(base, name) || len(letter) == 1 && letter != name && strings.EqualFold(base, letter)
}

// noPlace is the error of a path that is not there.
func noPlace(path string, err error) error {
	if errors.Is(err, iofs.ErrNotExist) {
		return &hinted{fmt.Errorf("there is no /%s in this restore point", path), "vitrine ls POINT:/ shows what there is"}
	}
	return fmt.Errorf("/%s: %w", path, err)
}
