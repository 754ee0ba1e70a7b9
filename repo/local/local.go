// Package local is a store in a folder: one file for each object, at the path
// that its name gives.
//
// An object is written into the folder tmp beside the others, brought to the
// disk, and only then named, by a step that never replaces what is there.
// When Put returns nil the file, its folder and every folder above it have
// been synced. The store therefore lies on one file system, and links in
// place of folders are refused.
//
// The folder tmp also tells that the store is really there: where a disk was
// unmounted behind its path, every method fails with an error instead of
// taking the bare mount point for an empty store.
//
// Folders are never removed, so that no Delete can race with a Put into the
// folder it empties. An empty one costs a few bytes.
package local

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"vitrine/repo"
)

const (
	tmpDir    = "tmp"                // where objects lie before they are whole
	tmpPrefix = ".tmp-"              // and how their names begin
	tmpAge    = 24 * time.Hour       // what is older was left by a crash
	piece     = 4 << 20              // bytes written between two looks at the context
	fileMode  = iofs.FileMode(0o400) // of a whole object
	dirMode   = iofs.FileMode(0o700)
)

// Store is a store in a folder. It is safe for concurrent use, also by
// several processes on the same folder.
type Store struct {
	dir    string // absolute
	marked bool   // tmp was there at Open; false only for a store that cannot be written

	mu     sync.Mutex
	synced map[string]bool // guarded by mu: folders whose way up to dir this Store has synced

	syncFile func(*os.File) error   // (*os.File).Sync
	syncDir  func(dir string) error // syncFolder
}

var _ repo.Store = (*Store)(nil)

// errGone is the store whose folder, or the disk behind it, went away.
type errGone struct{ dir string }

func (e *errGone) Error() string {
	return fmt.Sprintf("%s no longer holds the store that was opened", e.dir)
}

// Hint tells people what to look at.
func (e *errGone) Hint() string {
	return "look whether the disk or network share is still mounted at " + e.dir
}

// Create makes the folder dir, if need be, and opens the store in it.
func Create(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("local: create %s: %w", dir, err)
	}
	if err := makeFolders(abs, syncFolder); err != nil {
		return nil, fmt.Errorf("local: create %s: %w", dir, err)
	}
	return Open(abs)
}

// makeFolders makes dir and what is missing above it, and syncs the parent of
// each folder it made.
func makeFolders(dir string, sync func(string) error) error {
	err := os.Mkdir(dir, dirMode)
	parent := filepath.Dir(dir)
	if errors.Is(err, iofs.ErrNotExist) && parent != dir {
		if err := makeFolders(parent, sync); err != nil {
			return err
		}
		err = os.Mkdir(dir, dirMode)
	}
	if err == nil {
		return sync(parent)
	}
	if st, serr := os.Stat(dir); serr == nil && st.IsDir() {
		return nil
	}
	return err
}

// Open opens the store in the folder dir, which exists, and removes temporary
// files that are older than a day. A folder that cannot be written can still
// be read.
func Open(dir string) (*Store, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("local: open %s: %w", dir, err)
	}
	st, err := os.Stat(abs)
	if err == nil && !st.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, fmt.Errorf("local: open %s: %w", dir, err)
	}
	s := &Store{dir: abs, synced: make(map[string]bool), syncFile: (*os.File).Sync, syncDir: syncFolder}
	switch err := os.Mkdir(s.tmp(), dirMode); {
	case err == nil || errors.Is(err, iofs.ErrExist):
		s.marked = true
	case errors.Is(err, iofs.ErrPermission) || isReadOnly(err):
		return s, nil
	default:
		return nil, fmt.Errorf("local: open %s: %w", dir, err)
	}
	if err := s.reap(time.Now()); err != nil {
		return nil, fmt.Errorf("local: open %s: %w", dir, err)
	}
	return s, nil
}

// reap removes what crashed processes left in tmp. A reader without the right
// to remove leaves it to the next writer.
func (s *Store) reap(now time.Time) error {
	entries, err := os.ReadDir(s.tmp())
	if errors.Is(err, iofs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tmpPrefix) || !e.Type().IsRegular() {
			continue
		}
		st, err := e.Info()
		if errors.Is(err, iofs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if now.Sub(st.ModTime()) <= tmpAge {
			continue
		}
		err = removeFile(filepath.Join(s.tmp(), e.Name()))
		if errors.Is(err, iofs.ErrPermission) || isReadOnly(err) {
			return nil
		}
		if err != nil && !errors.Is(err, iofs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Delete removes the file, durably. It never removes a folder.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.delete(ctx, name); err != nil {
		return fmt.Errorf("local: delete %s: %w", name, err)
	}
	return nil
}

func (s *Store) delete(ctx context.Context, name string) error {
	if err := check(ctx, name); err != nil {
		return err
	}
	path := s.path(name)
	if st, err := os.Lstat(path); err == nil && !st.Mode().IsRegular() {
		return nil
	}
	err := s.isFolder(filepath.Dir(path))
	if err == nil {
		err = removeFile(path)
	}
	if isMissing(err) {
		return s.there()
	}
	if err != nil {
		return err
	}
	return s.syncDir(filepath.Dir(path))
}

// there tells a store that lacks an object from one that is gone.
func (s *Store) there() error {
	mark := s.dir
	if s.marked {
		mark = s.tmp()
	}
	_, err := os.Stat(mark)
	if isMissing(err) {
		return &errGone{s.dir}
	}
	return err
}

// isFolder is nil when dir is the store's folder or lies below it without a
// link on the way; else it wraps fs.ErrNotExist or tells why it cannot know.
func (s *Store) isFolder(dir string) error {
	for ; dir != s.dir; dir = filepath.Dir(dir) {
		st, err := os.Lstat(dir)
		if err == nil && !st.IsDir() {
			err = &iofs.PathError{Op: "lstat", Path: dir, Err: iofs.ErrNotExist}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) tmp() string { return filepath.Join(s.dir, tmpDir) }

func (s *Store) path(name string) string {
	return filepath.Join(s.dir, filepath.FromSlash(name))
}

func check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return repo.CheckStoreName(name)
}

// isMissing is true also for a path that leads through a file.
func isMissing(err error) bool {
	return errors.Is(err, iofs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}
