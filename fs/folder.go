package fs

import (
	"context"
	iofs "io/fs"
	"iter"
	"slices"
	"strings"
	"time"
)

const (
	dirMode  = iofs.ModeDir | 0o555
	fileMode = iofs.FileMode(0o444)
	linkMode = iofs.ModeSymlink | 0o777
)

// folder is a directory whose content is known and never changes.
type folder struct {
	info  Info
	names names // taken in it
	list  []Entry
	nodes map[string]Node
}

func newFolder(ino uint64, when time.Time) *folder {
	return &folder{
		info:  Info{Ino: ino, Mode: dirMode, Links: 2, Time: when},
		names: names{},
		nodes: make(map[string]Node),
	}
}

// put adds a node under a name that was taken from f.names. It is only called
// while the folder is made.
func (f *folder) put(name string, ino uint64, kind iofs.FileMode, n Node) {
	e := Entry{Name: name, Ino: ino, Mode: kind.Type()}
	i, _ := slices.BinarySearchFunc(f.list, e, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	f.list = slices.Insert(f.list, i, e)
	f.nodes[name] = n
	if kind.IsDir() {
		f.info.Links++
	}
}

func (f *folder) Stat(context.Context) (Info, error) { return f.info, nil }

func (f *folder) Lookup(_ context.Context, name string) (Node, error) {
	if n, ok := f.nodes[name]; ok {
		return n, nil
	}
	return nil, notExist(name)
}

func (f *folder) Entries(context.Context) iter.Seq2[Entry, error] { return entries(f.list) }

func entries(list []Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, e := range list {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func entriesError(err error) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) { yield(Entry{}, err) }
}
