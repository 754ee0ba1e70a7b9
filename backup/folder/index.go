package folder

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

const (
	maxDepth = 16
	maxFiles = 200_000 // and folders
)

// index lists the files of the folder that matter, by slash-separated paths
// relative to it.
type index struct {
	configs []string
	disks   []string
	byName  map[string][]string // everything, by base name in lower case
	byDir   map[string][]string // everything, by folder in lower case
	broken  map[string]error    // links that lead nowhere or out of the folder
}

// TooLargeError says that a folder is too large or too deep to be looked
// through.
type TooLargeError struct{ What string }

func (e *TooLargeError) Error() string { return "folder: " + e.What }

// Hint says what to do about it.
func (e *TooLargeError) Hint() string { return "name the folder that holds the machines" }

// readIndex walks through the folder; deep false stays in it.
func readIndex(ctx context.Context, root *os.Root, deep bool) (*index, error) {
	x := &index{byName: make(map[string][]string), byDir: make(map[string][]string), broken: make(map[string]error)}
	count := 0
	err := iofs.WalkDir(root.FS(), ".", func(name string, e iofs.DirEntry, err error) error {
		count++
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return err
		case count > maxFiles:
			return &TooLargeError{fmt.Sprintf("more than %d files", maxFiles)}
		case e.IsDir() && name != ".":
			if !deep || skipDir(e.Name()) {
				return iofs.SkipDir
			}
			if strings.Count(name, "/") >= maxDepth {
				return &TooLargeError{fmt.Sprintf("%s lies more than %d folders deep", name, maxDepth)}
			}
			return nil
		case e.IsDir():
			return nil
		}
		x.add(root, name, e)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("folder: list: %w", err)
	}
	return x, nil
}

// skipDir names folders whose files are copies that the host makes for itself,
// and what is left of restores that were killed.
func skipDir(name string) bool {
	return strings.HasPrefix(name, ".vitrine-restore-") || slices.ContainsFunc([]string{
		"Virtual Machines Cache", "Resource Types", "Groups",
		"System Volume Information", "$RECYCLE.BIN", "lost+found",
	}, func(s string) bool { return strings.EqualFold(s, name) })
}

func (x *index) add(root *os.Root, name string, e iofs.DirEntry) {
	format := formatOf(name)
	if format == "" && !isConfiguration(name) && !isState(name) && !strings.EqualFold(path.Ext(name), ".vhds") {
		return
	}
	if e.Type()&iofs.ModeSymlink != 0 {
		info, err := root.Stat(name)
		if err == nil && !info.Mode().IsRegular() {
			return
		}
		if err != nil {
			x.broken[name] = errors.New("is a link that leads nowhere or out of the folder")
		}
	} else if !e.Type().IsRegular() {
		return
	}
	key := strings.ToLower(path.Base(name))
	x.byName[key] = append(x.byName[key], name)
	dir := strings.ToLower(path.Dir(name))
	x.byDir[dir] = append(x.byDir[dir], name)
	switch {
	case format != "":
		x.disks = append(x.disks, name)
	case isConfiguration(name):
		x.configs = append(x.configs, name)
	}
}

// named returns the files of that name, letter case aside, that keep holds for.
func (x *index) named(name string, keep func(file string) bool) []string {
	var files []string
	for _, f := range x.byName[strings.ToLower(name)] {
		if keep(f) {
			files = append(files, f)
		}
	}
	if len(files) > 1 { // a case-sensitive file system can hold several
		exact := slices.DeleteFunc(slices.Clone(files), func(f string) bool { return path.Base(f) != name })
		if len(exact) > 0 {
			return exact
		}
	}
	return files
}

// filesOf returns the files of a configuration: itself and what lies beside it
// or in a folder beside it under its name.
func (x *index) filesOf(config string) []string {
	var files []string
	for _, f := range x.byDir[strings.ToLower(path.Dir(config))] {
		if strings.EqualFold(stem(f), stem(config)) && (f == config || isState(f)) {
			files = append(files, f)
		}
	}
	for _, f := range x.byDir[strings.ToLower(path.Join(path.Dir(config), stem(config)))] {
		if isState(f) {
			files = append(files, f)
		}
	}
	return files
}

// place is where a configuration looks for its disks.
type place struct {
	dir  string // of the configuration
	home string
	own  bool // no other machine lives in home or below
}

// homeOf returns the home of a configuration.
func homeOf(config string) string {
	dir := path.Dir(config)
	if base := path.Base(dir); strings.EqualFold(base, "Virtual Machines") || strings.EqualFold(base, "Snapshots") {
		return path.Dir(dir)
	}
	return dir
}

// below reports whether file lies in dir or deeper.
func below(file, dir string) bool { return dir == "." || strings.HasPrefix(file, dir+"/") }

// errAmbiguous says that several files could be meant.
var errAmbiguous = errors.New("several files could be meant")

// findDisk looks for the file that a configuration names, in the order in which
// Hyper-V's own import does: beside the configuration, in `Virtual Hard Disks`
// below and beside, where the path says, and, in a home with one machine,
// anywhere there. It gives iofs.ErrNotExist and errAmbiguous.
func (x *index) findDisk(p place, winPath string) (string, error) {
	name := baseName(winPath)
	if name == "" {
		return "", iofs.ErrNotExist
	}
	in := func(dir string) func(string) bool {
		return func(f string) bool { return strings.EqualFold(path.Dir(f), dir) }
	}
	parts := winParts(winPath)
	rules := []func(f string) bool{
		in(p.dir),
		in(path.Join(p.dir, "Virtual Hard Disks")),
		in(path.Join(p.home, "Virtual Hard Disks")),
		in(p.home),
		func(f string) bool { return samePlace(f, parts) },
	}
	if p.own {
		rules = append(rules, func(f string) bool { return below(f, p.home) })
	}
	for _, rule := range rules {
		switch files := x.named(name, rule); {
		case len(files) == 1:
			return files[0], nil
		case len(files) > 1:
			return "", fmt.Errorf("%w: %s", errAmbiguous, strings.Join(files[:min(len(files), 4)], ", "))
		}
	}
	return "", iofs.ErrNotExist
}
