package ntfs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"slices"
	"strings"
	"time"

	"vitrine/fs/disk"
)

var (
	_ iofs.ReadDirFS  = (*FS)(nil)
	_ iofs.StatFS     = (*FS)(nil)
	_ iofs.ReadLinkFS = (*FS)(nil)
)

// at walks to a path for an operation.
func (f *FS) at(op, name string, follow bool) (spot, error) {
	if !iofs.ValidPath(name) {
		return spot{}, &iofs.PathError{Op: op, Path: name, Err: iofs.ErrInvalid}
	}
	s, err := f.walk(name, follow)
	if err != nil {
		return spot{}, &iofs.PathError{Op: op, Path: name, Err: err}
	}
	return s, nil
}

// Open opens a file, a directory or, as "name:stream", an alternate stream,
// following links. A file whose content cannot be given opens too; reading it
// gives a *NoticeError.
func (f *FS) Open(name string) (iofs.File, error) {
	s, err := f.at("open", name, true)
	if err != nil {
		return nil, err
	}
	i, err := f.info(s, base(name))
	if err != nil {
		return nil, &iofs.PathError{Op: "open", Path: name, Err: err}
	}
	if s.isDir && s.stream == "" {
		return &dirFile{info: i, path: name}, nil
	}
	c, err := s.openContent()
	var notice *NoticeError
	if err != nil && !errors.As(err, &notice) {
		return nil, &iofs.PathError{Op: "open", Path: name, Err: err}
	}
	return &file{info: i, path: name, content: c, refused: err}, nil
}

// openContent opens the data that a path leads to.
func (s spot) openContent() (content, error) {
	if s.stream == "" {
		return s.content()
	}
	a, err := s.head(atData, s.stream)
	if err != nil {
		return nil, err
	}
	if a.flags&flagEncrypted != 0 {
		return nil, &NoticeError{encrypted}
	}
	return s.inode.stream(atData, s.stream)
}

// Stat describes what a path leads to, following links.
func (f *FS) Stat(name string) (iofs.FileInfo, error) { return f.stat("stat", name, true) }

// Lstat describes a file without following a link in the last place.
func (f *FS) Lstat(name string) (iofs.FileInfo, error) { return f.stat("lstat", name, false) }

func (f *FS) stat(op, name string, follow bool) (iofs.FileInfo, error) {
	s, err := f.at(op, name, follow)
	if err != nil {
		return nil, err
	}
	i, err := f.info(s, base(name))
	if err != nil {
		return nil, &iofs.PathError{Op: op, Path: name, Err: err}
	}
	return i, nil
}

// ReadLink returns the target of a symbolic link or mount point with slashes:
// relative to the link's folder when it stays on the volume, else as Windows
// wrote it ("D:/data", "UNC/server/share", "Volume{…}/"), which leads nowhere.
func (f *FS) ReadLink(name string) (string, error) {
	s, err := f.at("readlink", name, false)
	if err != nil {
		return "", err
	}
	if s.link == nil || s.stream != "" {
		return "", &iofs.PathError{Op: "readlink", Path: name, Err: iofs.ErrInvalid}
	}
	return f.readLink(s), nil
}

// ReadDir returns the entries of a directory by name. Damaged parts of its index
// are an error beside the entries of the others.
func (f *FS) ReadDir(name string) ([]iofs.DirEntry, error) {
	s, err := f.at("readdir", name, true)
	if err != nil {
		return nil, err
	}
	if !s.isDir || s.stream != "" {
		return nil, &iofs.PathError{Op: "readdir", Path: name, Err: errNotDir}
	}
	d := &dirFile{info: &info{node: s.node}, path: name}
	all, err := d.ReadDir(-1)
	slices.SortFunc(all, func(a, b iofs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return all, err
}

func base(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// info is the fs.FileInfo of a node.
type info struct {
	*node
	name string
	size int64
	mode iofs.FileMode
	alt  bool // of an alternate stream
}

func (f *FS) info(s spot, name string) (*info, error) {
	i := &info{node: s.node, name: name, size: s.size, mode: s.mode}
	if s.stream == "" {
		return i, nil
	}
	a, err := s.head(atData, s.stream)
	if err != nil {
		return nil, err
	}
	i.alt, i.mode = true, s.mode.Perm()&^0o111
	if i.size = int64(len(a.value)); !a.resident {
		if i.size = int64(le.Uint64(a.body[48:])); i.size < 0 {
			return nil, damage(recordName(s.num), "stream of %d bytes", i.size)
		}
	}
	return i, nil
}

func (i *info) Name() string        { return i.name }
func (i *info) Size() int64         { return i.size }
func (i *info) Mode() iofs.FileMode { return i.mode }
func (i *info) IsDir() bool         { return i.mode.IsDir() }
func (i *info) ModTime() time.Time  { return filetime(i.modify) }
func (i *info) String() string      { return iofs.FormatFileInfo(i) }

// Sys returns a *Sys.
func (i *info) Sys() any { return &Sys{i} }

// Sys is what NTFS knows of a file beyond fs.FileInfo.
type Sys struct{ i *info }

// Inode is the number of the file's MFT record.
func (s *Sys) Inode() uint64 { return s.i.num }

// Links counts the file's names, without those for DOS.
func (s *Sys) Links() int { return s.i.countLinks() }

// Owner is known of files that WSL made.
func (s *Sys) Owner() (uid, gid uint32, ok bool) {
	if o := s.i.owner; o != nil {
		return o.uid, o.gid, true
	}
	return 0, 0, false
}

// BirthTime is when the file was made.
func (s *Sys) BirthTime() time.Time { return filetime(s.i.birth) }

// AccessTime is when the file was last read, as far as Windows keeps that.
func (s *Sys) AccessTime() time.Time { return filetime(s.i.access) }

// ChangeTime is when the file's record last changed.
func (s *Sys) ChangeTime() time.Time { return filetime(s.i.change) }

// Attributes are the file attributes of Windows (FILE_ATTRIBUTE_…).
func (s *Sys) Attributes() uint32 { return s.i.attrs }

// Notice says why the content cannot be given, "" when it can.
func (s *Sys) Notice() string {
	if s.i.alt {
		return ""
	}
	return s.i.notice
}

// Streams returns the names of the file's alternate streams, each opened as
// "name:stream". The one that holds a packed file's content is not listed.
func (s *Sys) Streams() []string {
	if s.i.alt {
		return nil
	}
	all, err := s.i.streams()
	if err != nil {
		return nil
	}
	if s.i.packed != nil {
		all = slices.DeleteFunc(all, func(n string) bool { return n == "WofCompressedData" })
	}
	return all
}

// Extents returns where on the volume the content of a file lies, and fails
// where that cannot be told beyond doubt: every cluster must be marked as used
// and belong to no metadata file. Page files and the like in the root must have
// the attributes that Windows gives them.
func (f *FS) Extents(name string) ([]disk.Extent, error) {
	s, err := f.at("extents", name, true)
	if err != nil {
		return nil, err
	}
	all, err := f.extents(s, name)
	if err != nil {
		return nil, &iofs.PathError{Op: "extents", Path: name, Err: err}
	}
	return all, nil
}

func (f *FS) extents(s spot, name string) ([]disk.Extent, error) {
	if s.isDir {
		return nil, errIsDir
	}
	if (s.notice != "" && s.notice != encrypted) || s.packed != nil {
		return nil, errors.New("ntfs: its content is not in its own clusters")
	}
	if pageFile(name) && s.attrs&(attrHidden|attrSystem) != attrHidden|attrSystem {
		return nil, fmt.Errorf("ntfs: not hidden and of the system, so not the one that Windows made")
	}
	stream := s.stream
	in, err := s.inode.stream(atData, stream)
	if err != nil {
		return nil, err
	}
	if in.resident || in.unit > 0 {
		return nil, errors.New("ntfs: not stored as it is: resident or compressed")
	}
	c := f.geo.cluster
	if end := in.list.end * c; end < in.size {
		return nil, damage(in.object(), "clusters for %d of %d bytes", end, in.size)
	}
	all := in.extents()
	if err := f.checkUsed(all, s.num); err != nil {
		return nil, err
	}
	return all, nil
}

// pageFile reports whether a path names a file that Windows keeps memory in.
func pageFile(name string) bool {
	switch strings.ToLower(name) {
	case "pagefile.sys", "swapfile.sys", "hiberfil.sys":
		return true
	}
	return false
}
