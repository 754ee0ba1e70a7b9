package ntfs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"time"
)

// file attributes of Windows
const (
	attrReadOnly  = 0x00000001
	attrHidden    = 0x00000002
	attrSystem    = 0x00000004
	attrReparse   = 0x00000400
	attrOffline   = 0x00001000
	attrRecall    = 0x00440000 // on open, on data access
	attrDirectory = 0x10000000 // only in the names of a directory
)

const encrypted = "encrypted with EFS: only the guest's Windows holds the key"

// node is a file as a reader sees it: its attributes decoded.
type node struct {
	*inode
	mode    iofs.FileMode
	size    int64
	attrs   uint32
	birth   int64 // times in 100 ns since 1601
	modify  int64
	change  int64
	access  int64
	owner   *linuxOwner
	link    *link // of a symbolic link
	packed  *wofInfo
	notice  string
	hasData bool
}

// node loads what ref points to.
func (f *FS) node(ref uint64) (*node, error) {
	in, err := f.inode(ref)
	if err != nil {
		return nil, err
	}
	n := &node{inode: in}
	if err := n.readStandard(); err != nil {
		return nil, err
	}
	n.mode = 0o644
	if n.attrs&attrReadOnly != 0 {
		n.mode = 0o444
	}
	if n.isDir {
		n.mode = iofs.ModeDir | 0o755
	}
	if err := n.readSize(); err != nil {
		return nil, err
	}
	if err := n.readOwner(); err != nil {
		return nil, err
	}
	if err := n.readReparse(); err != nil {
		return nil, err
	}
	return n, n.readInterix()
}

func (n *node) readStandard() error {
	a, err := n.head(atStandard, "")
	if err != nil {
		if errors.Is(err, errNoAttribute) {
			return damage(recordName(n.num), "no standard information")
		}
		return err
	}
	b := a.value
	if len(b) < 36 {
		return damage(recordName(n.num), "standard information of %d bytes", len(b))
	}
	n.birth, n.modify = int64(le.Uint64(b)), int64(le.Uint64(b[8:]))
	n.change, n.access = int64(le.Uint64(b[16:])), int64(le.Uint64(b[24:]))
	n.attrs = le.Uint32(b[32:])
	return nil
}

// readSize takes the size from the first piece of the data.
func (n *node) readSize() error {
	if n.isDir {
		return nil
	}
	a, err := n.head(atData, "")
	switch {
	case errors.Is(err, errNoAttribute):
		return nil
	case err != nil:
		return err
	case a.resident:
		n.size = int64(len(a.value))
	case a.low != 0:
		return damage(recordName(n.num), "data begins at VCN %d", a.low)
	default:
		if n.size = int64(le.Uint64(a.body[48:])); n.size < 0 || n.size > 1<<62 {
			return damage(recordName(n.num), "data of %d bytes", n.size)
		}
	}
	n.hasData = true
	if a.flags&flagEncrypted != 0 {
		n.notice = encrypted
	} else if m := a.flags & flagCompression; m > flagLZNT1 {
		n.notice = fmt.Sprintf("compressed by method %d, which is unknown", m)
	}
	return nil
}

// open returns the content of the file's unnamed data.
func (n *node) content() (content, error) {
	if n.notice != "" {
		return nil, &NoticeError{n.notice}
	}
	if n.packed != nil {
		return n.openWOF()
	}
	if n.mode&(iofs.ModeNamedPipe|iofs.ModeSocket|iofs.ModeDevice) != 0 || !n.hasData {
		return &stream{fs: n.fs, record: n.num, typ: atData, resident: true}, nil
	}
	return n.stream(atData, "")
}

// streams returns the names of the alternate streams.
func (n *inode) streams() ([]string, error) {
	var all []string
	err := n.each(func(t uint32, name string) bool { return t == atData && name != "" }, func(a attr) error {
		if a.resident || a.low == 0 {
			all = append(all, string(appendName(nil, a.name)))
		}
		return nil
	})
	return all, err
}

// countLinks counts the names of a file without those of DOS.
func (n *inode) countLinks() int {
	names := 0
	err := n.each(func(t uint32, _ string) bool { return t == atFileName }, func(a attr) error {
		if len(a.value) >= 66 && a.value[65] != nameDOS {
			names++
		}
		return nil
	})
	if err != nil || names == 0 {
		return int(n.links)
	}
	return names
}

const (
	ticksPerSecond = 10_000_000
	unixEpoch      = 11_644_473_600 // seconds from 1601 to 1970
)

// filetime converts a time of Windows.
func filetime(t int64) time.Time {
	return time.Unix(t/ticksPerSecond-unixEpoch, t%ticksPerSecond*100).UTC()
}
