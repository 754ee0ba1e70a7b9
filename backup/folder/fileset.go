package folder

import (
	"cmp"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"
)

// fileSet is an io/fs.FS of some files of the folder, named as they lie below
// dir.
type fileSet struct {
	root  *os.Root
	files map[string]string   // name in the set -> name in the folder
	dirs  map[string][]string // folder in the set -> its entries, by base name
}

var _ iofs.FS = (*fileSet)(nil)

func newFileSet(root *os.Root, dir string, names []string) *fileSet {
	s := &fileSet{root: root, files: make(map[string]string), dirs: map[string][]string{".": nil}}
	for _, full := range names {
		name := full
		if dir != "." {
			name = strings.TrimPrefix(full, dir+"/")
		}
		s.files[name] = full
		for child := name; child != "."; child = path.Dir(child) {
			parent := path.Dir(child)
			if !slices.Contains(s.dirs[parent], path.Base(child)) {
				s.dirs[parent] = append(s.dirs[parent], path.Base(child))
			}
		}
	}
	for _, entries := range s.dirs {
		slices.Sort(entries)
	}
	return s
}

// Open opens a file, for reading, or lists a folder.
func (s *fileSet) Open(name string) (iofs.File, error) {
	if !iofs.ValidPath(name) {
		return nil, &iofs.PathError{Op: "open", Path: name, Err: iofs.ErrInvalid}
	}
	if full, ok := s.files[name]; ok {
		return s.root.Open(full)
	}
	if entries, ok := s.dirs[name]; ok {
		return &dirFile{set: s, name: name, rest: entries}, nil
	}
	return nil, &iofs.PathError{Op: "open", Path: name, Err: iofs.ErrNotExist}
}

// dirFile is an open folder of a fileSet.
type dirFile struct {
	set  *fileSet
	name string
	rest []string
}

var _ iofs.ReadDirFile = (*dirFile)(nil)

func (d *dirFile) Stat() (iofs.FileInfo, error) { return dirInfo(path.Base(d.name)), nil }
func (d *dirFile) Close() error                 { return nil }

func (d *dirFile) Read([]byte) (int, error) {
	return 0, &iofs.PathError{Op: "read", Path: d.name, Err: fmt.Errorf("is a folder")}
}

// ReadDir lists the folder as io/fs says.
func (d *dirFile) ReadDir(n int) ([]iofs.DirEntry, error) {
	take := len(d.rest)
	if n > 0 {
		if take == 0 {
			return nil, io.EOF
		}
		take = min(take, n)
	}
	var list []iofs.DirEntry
	for _, base := range d.rest[:take] {
		name := path.Join(d.name, base)
		full, ok := d.set.files[name]
		if !ok {
			list = append(list, iofs.FileInfoToDirEntry(dirInfo(base)))
			continue
		}
		info, err := d.set.root.Stat(full)
		if err != nil {
			return list, err
		}
		list = append(list, iofs.FileInfoToDirEntry(info))
	}
	d.rest = d.rest[take:]
	return list, nil
}

// dirInfo describes a folder of a fileSet by its name.
type dirInfo string

func (d dirInfo) Name() string        { return cmp.Or(string(d), ".") }
func (d dirInfo) Size() int64         { return 0 }
func (d dirInfo) Mode() iofs.FileMode { return iofs.ModeDir | 0o555 }
func (d dirInfo) ModTime() time.Time  { return time.Time{} }
func (d dirInfo) IsDir() bool         { return true }
func (d dirInfo) Sys() any            { return nil }
