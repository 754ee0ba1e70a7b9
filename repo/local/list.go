package local

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"vitrine/repo"
)

// List reads one folder at a time. What appears or vanishes meanwhile may be
// missing or not; every other object is yielded once.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
	return func(yield func(repo.Info, error) bool) {
		dir, rest := "", prefix
		if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
			dir, rest = prefix[:i], prefix[i+1:]
			if repo.CheckStoreName(dir) != nil {
				dir, rest = "", "/" // no object's name begins like that
			}
		}
		w := walk{ctx: ctx, store: s, yield: yield}
		w.run(dir, rest, "list "+prefix)
	}
}

// Strays yields what lies in the store's folder and is no object: temporary
// files, what desktops and people left, links and other special files. A
// folder is told by the slash at its end and not looked into.
func (s *Store) Strays(ctx context.Context) iter.Seq2[repo.Info, error] {
	return func(yield func(repo.Info, error) bool) {
		w := walk{ctx: ctx, store: s, yield: yield, strays: true}
		w.run("", "", "list strays")
	}
}

// walk goes through the folders in name order.
type walk struct {
	ctx    context.Context
	store  *Store
	yield  func(repo.Info, error) bool
	strays bool // yield what is no object, instead of the objects
}

// errStop is the caller's wish to see no more.
var errStop = errors.New("stop")

func (w *walk) run(dir, prefix, what string) {
	err := w.ctx.Err()
	if err == nil {
		err = w.store.isFolder(w.store.path(dir))
	}
	if err == nil {
		err = w.folder(dir, prefix)
	}
	if err == nil || isMissing(err) {
		err = w.store.there()
	}
	if err != nil && err != errStop {
		w.yield(repo.Info{}, fmt.Errorf("local: %s: %w", what, err))
	}
}

// folder yields what lies below dir under names that begin with prefix. The
// length of names bounds how deep it goes.
func (w *walk) folder(dir, prefix string) error {
	entries, err := w.entries(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if err := w.entry(dir, e); err != nil {
			return err
		}
	}
	return nil
}

// entries reads a folder; one that is not there has none. A folder sorts as
// its name with a slash, because that is how the names below it begin.
func (w *walk) entries(dir string) ([]iofs.DirEntry, error) {
	f, err := os.Open(w.store.path(dir))
	if isMissing(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil && !isMissing(err) {
		return nil, err
	}
	slices.SortFunc(entries, func(a, b iofs.DirEntry) int {
		return strings.Compare(sortKey(a), sortKey(b))
	})
	return entries, nil
}

func sortKey(e iofs.DirEntry) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

func (w *walk) entry(dir string, e iofs.DirEntry) error {
	name := path.Join(dir, e.Name())
	valid := repo.CheckStoreName(name) == nil
	switch {
	case valid && e.IsDir():
		return w.folder(name, "")
	case name == tmpDir && e.IsDir():
		if w.strays {
			return w.folder(name, "")
		}
		return nil
	case w.strays == (valid && e.Type().IsRegular()):
		return nil
	}
	st, err := e.Info()
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	in := repo.Info{Name: name, Size: st.Size(), Time: st.ModTime()}
	if st.IsDir() {
		in.Name, in.Size = name+"/", 0
	}
	if !w.yield(in, nil) {
		return errStop
	}
	return nil
}
