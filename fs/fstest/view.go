package fstest

import (
	"context"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"testing"
	"time"

	"vitrine/fs"
)

// View is a tree as somebody sees it who uses it. Paths are slash-separated
// and relative to its root, "." being the root. Errors are those of io/fs.
type View interface {
	Lstat(path string) (Stat, error)
	ReadDir(path string) ([]Entry, error)
	Readlink(path string) (string, error)
	Open(path string) (Reader, error)
}

// Stat is what Lstat tells. Blocks are units of 512 bytes.
type Stat struct {
	Ino    uint64
	Mode   iofs.FileMode
	Size   int64
	Blocks int64
	Links  uint64
	Time   time.Time
}

// Entry is one line of a listing.
type Entry struct {
	Name string
	Ino  uint64
	Kind iofs.FileMode
}

// Reader is an opened file. Next is lseek with SEEK_DATA (hole false) or
// SEEK_HOLE; io.EOF stands for ENXIO.
type Reader interface {
	io.ReaderAt
	io.Closer
	Next(off int64, hole bool) (int64, error)
}

// Setup is how a tree is to be shown.
type Setup struct {
	Fixture    string
	Full       bool     `json:",omitempty"`
	RealLatest bool     `json:",omitempty"`
	Machines   []string `json:",omitempty"`
	Images     []string `json:",omitempty"` // of the fixture "guest": flat disks
}

// Options are those of the tree.
func (s Setup) Options() fs.Options {
	return fs.Options{Full: s.Full, RealLatest: s.RealLatest, Machines: s.Machines, Refresh: 200 * time.Millisecond}
}

// Repository makes the fixture.
func (s Setup) Repository() (*Repository, error) {
	if s.Fixture == "guest" {
		return guestFixture(s.Images)
	}
	return Fixture(s.Fixture)
}

// Subject is a tree on show.
type Subject struct {
	View
	// Dir is where the tree is mounted, "" where it is not.
	Dir string
	// Do commands the repository behind it.
	Do func(command string) (string, error)
	// Settle is how long what changes may take to be seen.
	Settle time.Duration
	// NoHoles and NoInodes say that the way it is shown cannot tell them.
	NoHoles, NoInodes bool
}

// Start shows a tree until the test ends.
type Start func(t *testing.T, s Setup) *Subject

// Bare shows a tree as it is, without a mount.
func Bare(t *testing.T, s Setup) *Subject {
	t.Helper()
	tree, r := Tree(t, s)
	return &Subject{View: bare{tree}, Do: r.Do, Settle: time.Second}
}

// Tree makes the tree of a setup.
func Tree(t testing.TB, s Setup) (*fs.Tree, *Repository) {
	t.Helper()
	r, err := s.Repository()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fs.New(context.Background(), r, s.Options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree, r
}

type bare struct{ t *fs.Tree }

func (b bare) Lstat(path string) (Stat, error) {
	n, err := fs.Walk(context.Background(), b.t.Root(), path)
	if err != nil {
		return Stat{}, err
	}
	i, err := n.Stat(context.Background())
	return Stat{Ino: i.Ino, Mode: i.Mode, Size: i.Size, Blocks: (i.Alloc + 511) / 512, Links: uint64(i.Links), Time: i.Time}, err
}

func (b bare) ReadDir(path string) ([]Entry, error) {
	n, err := fs.Walk(context.Background(), b.t.Root(), path)
	if err != nil {
		return nil, err
	}
	d, ok := n.(fs.Dir)
	if !ok {
		return nil, errors.New("not a directory")
	}
	var list []Entry
	for e, err := range d.Entries(context.Background()) {
		if err != nil {
			return nil, err
		}
		list = append(list, Entry{e.Name, e.Ino, e.Mode.Type()})
	}
	return list, nil
}

func (b bare) Readlink(path string) (string, error) {
	n, err := fs.Walk(context.Background(), b.t.Root(), path)
	if err != nil {
		return "", err
	}
	l, ok := n.(fs.Link)
	if !ok {
		return "", os.ErrInvalid
	}
	return l.Target(context.Background())
}

func (b bare) Open(path string) (Reader, error) {
	n, err := fs.Walk(context.Background(), b.t.Root(), path)
	if err != nil {
		return nil, err
	}
	f, ok := n.(fs.File)
	if !ok {
		return nil, os.ErrInvalid
	}
	h, err := f.Open(context.Background())
	if err != nil {
		return nil, err
	}
	return bareReader{h}, nil
}

type bareReader struct{ h fs.Handle }

func (r bareReader) ReadAt(p []byte, off int64) (int, error) {
	return r.h.ReadAt(context.Background(), p, off)
}

func (r bareReader) Close() error { return r.h.Close() }

func (r bareReader) Next(off int64, hole bool) (int64, error) {
	e := r.h.(fs.Extenter)
	if hole {
		return e.NextHole(context.Background(), off)
	}
	return e.NextData(context.Background(), off)
}
