package xfs

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// FS is an XFS volume. It is safe for concurrent use.
type FS struct {
	r          io.ReaderAt
	size       int64
	sb         *super
	pages      *pages
	root       *inode
	notes      []string
	doubt      string          // why free space cannot be trusted
	unfinished map[uint64]bool // inodes whose extents the log left half changed
}

// Open reads the superblock and looks at the log of the volume of size bytes
// in r. It refuses volumes whose features it does not know.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	ctx := context.Background()
	b := make([]byte, min(max(size, 0), 1<<15))
	if err := disk.ReadFull(ctx, r, b, 0); err != nil {
		return nil, fmt.Errorf("xfs: read superblock: %w", err)
	}
	sb, err := parseSuper(b)
	if err != nil {
		return nil, err
	}
	v := &FS{r: r, size: size, sb: sb, pages: newPages(r, size)}
	if have := int64(sb.blocks) << sb.blockLog; have > size {
		v.question(fmt.Sprintf("the volume is cut off: it has %d bytes of %d", size, have))
	}
	if sb.roUnknown != 0 {
		v.question(fmt.Sprintf("features %#x are not known; they allow reading", sb.roUnknown))
	}
	v.recover(ctx)
	if v.root, err = v.inode(ctx, sb.root); err != nil {
		return nil, fmt.Errorf("xfs: open root directory: %w", err)
	}
	if !v.root.isDir() {
		off, _ := sb.inodePlace(sb.root)
		return nil, damaged("root directory", off, "it is no directory")
	}
	return v, nil
}

// question notes a doubt about the volume's free space.
func (v *FS) question(why string) {
	v.notes = append(v.notes, why)
	if v.doubt == "" {
		v.doubt = why
	}
}

// Type is "XFS".
func (v *FS) Type() string { return "XFS" }

// Label is the name given to the volume.
func (v *FS) Label() string { return v.sb.label }

// UUID is the volume's id, as Linux writes it.
func (v *FS) UUID() string {
	u := v.sb.uuid
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Notes are sentences about the state of the volume.
func (v *FS) Notes() []string { return append([]string(nil), v.notes...) }

// Consistent reports whether Free can be trusted, and why not.
func (v *FS) Consistent() (bool, string) { return v.doubt == "", v.doubt }
