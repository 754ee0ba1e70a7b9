package ext4

import (
	iofs "io/fs"
	"time"
)

// Attributes is what FileInfo.Sys returns: what an inode says beyond io/fs.
type Attributes struct {
	inode                   uint64
	links                   int
	uid, gid                uint32
	born, accessed, changed time.Time
	notice                  string
}

// Inode is the number of the inode.
func (a *Attributes) Inode() uint64 { return a.inode }

// Links is the number of names that the file has.
func (a *Attributes) Links() int { return a.links }

// Owner is who owns the file, by the guest's numbers.
func (a *Attributes) Owner() (uid, gid uint32, ok bool) { return a.uid, a.gid, true }

// BirthTime is when the file was made; zero where the volume does not say.
func (a *Attributes) BirthTime() time.Time { return a.born }

// AccessTime is when the file was read.
func (a *Attributes) AccessTime() time.Time { return a.accessed }

// ChangeTime is when the inode was changed.
func (a *Attributes) ChangeTime() time.Time { return a.changed }

// Notice says why the content cannot be given; "" when it can.
func (a *Attributes) Notice() string { return a.notice }

type info struct {
	name     string
	size     int64
	mode     iofs.FileMode
	modified time.Time
	attr     Attributes
}

func newInfo(name string, n *inode) *info {
	return &info{
		name:     name,
		size:     n.size,
		mode:     n.fileMode(),
		modified: n.modified,
		attr: Attributes{
			inode:    uint64(n.number),
			links:    int(n.links),
			uid:      n.uid,
			gid:      n.gid,
			born:     n.born,
			accessed: n.accessed,
			changed:  n.changed,
			notice:   n.notice(),
		},
	}
}

func (i *info) Name() string        { return i.name }
func (i *info) Size() int64         { return i.size }
func (i *info) Mode() iofs.FileMode { return i.mode }
func (i *info) ModTime() time.Time  { return i.modified }
func (i *info) IsDir() bool         { return i.mode.IsDir() }
func (i *info) Sys() any            { return &i.attr }
func (i *info) String() string      { return iofs.FormatFileInfo(i) }
