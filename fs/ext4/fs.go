package ext4

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"sync"

	"vitrine/fs/disk"
)

// FS is a volume. It is safe for concurrent use.
type FS struct {
	volume
	super    *super
	replayed bool   // the overlay is the journal's
	doubt    string // why the bitmaps cannot be trusted, or ""
	notes    []string

	systemLock sync.Mutex
	system     *disk.Set
}

var (
	_ iofs.ReadDirFS  = (*FS)(nil)
	_ iofs.StatFS     = (*FS)(nil)
	_ iofs.ReadLinkFS = (*FS)(nil)
)

// Probe reports whether the volume r looks like ext2, ext3 or ext4.
func Probe(r io.ReaderAt, size int64) bool {
	var p [2]byte
	if size < superOff+superSize {
		return false
	}
	err := disk.ReadFull(context.Background(), r, p[:], superOff+56)
	return err == nil && binary.LittleEndian.Uint16(p[:]) == magic
}

// Open opens the volume r of size bytes. A journal that was not written back is
// replayed in memory; where that is impossible the volume is refused, because
// its files may be in pieces.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	ctx := context.Background()
	fsys := &FS{volume: volume{r: r, size: size}}
	p := make([]byte, superSize)
	if err := fsys.readAt(ctx, p, superOff); err != nil {
		return nil, fmt.Errorf("ext4: open volume: %w", err)
	}
	s, err := parseSuper(p)
	if err != nil {
		return nil, err
	}
	fsys.super, fsys.blockSize = s, s.blockSize
	if err := fsys.openLog(ctx); err != nil {
		return nil, err
	}
	fsys.judge()
	if root, err := fsys.inode(ctx, rootInode); err != nil {
		return nil, fmt.Errorf("ext4: open volume: %w", err)
	} else if !root.is(modeDir) {
		return nil, root.corrupt(root.off, "the root folder is none: mode %06o", root.mode)
	}
	return fsys, nil
}

// openLog replays the journal if the superblock says that it must be.
func (fsys *FS) openLog(ctx context.Context) error {
	if !fsys.super.hasCompat(compatJournal) && !fsys.super.has(incompatRecover) {
		return nil
	}
	j, err := fsys.openJournal(ctx)
	if !fsys.super.has(incompatRecover) {
		// A clean volume can be read without its journal.
		if err != nil {
			fsys.doubt = "its journal cannot be read"
			fsys.note("the journal cannot be read, but nothing in it is needed: %v", err)
		} else if j.start != 0 {
			fsys.doubt = "its journal is not empty, but the volume says that it is clean"
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("ext4: replay journal: %w", err)
	}
	log, err := j.replay(ctx)
	if err != nil {
		return fmt.Errorf("ext4: replay journal: %w", err)
	}
	fsys.volume.overlay, fsys.volume.cache, fsys.replayed = log.overlay, cache{}, true
	fsys.system = nil
	fsys.note("the volume was in use: %d transactions of its journal were replayed in memory", log.transactions)
	if log.damaged != "" {
		fsys.doubt = "its journal is damaged"
		fsys.note("the journal is damaged, and what came later is missing: %s", log.damaged)
	}
	for _, b := range log.overlay.blocks {
		if b.bad {
			fsys.doubt = "its journal is damaged"
		}
	}
	if log.fastCommits {
		fsys.doubt = "its journal has fast commits, which were not replayed"
		fsys.note("the last seconds of changes are missing: they are fast commits of the journal, which are not replayed")
	}
	return fsys.reloadSuper(ctx)
}

// reloadSuper takes over what the replay changed in the superblock.
func (fsys *FS) reloadSuper(ctx context.Context) error {
	block := uint64(superOff / fsys.blockSize)
	b, err := fsys.block(ctx, block)
	if err != nil {
		return fmt.Errorf("ext4: open volume: %w", err)
	}
	s, err := parseSuper(b[superOff%fsys.blockSize:])
	if err != nil {
		return err
	}
	if s.blockSize != fsys.blockSize {
		return corrupt("superblock", superOff, "the journal changes the block size")
	}
	fsys.super = s
	return nil
}

func (fsys *FS) note(format string, args ...any) {
	fsys.notes = append(fsys.notes, fmt.Sprintf(format, args...))
}

// judge decides whether the bitmaps can be trusted.
func (fsys *FS) judge() {
	s := fsys.super
	switch {
	case s.state&stateError != 0:
		fsys.doubt = "it recorded errors: it needs e2fsck"
		fsys.note("the volume recorded errors and needs e2fsck")
	case fsys.doubt != "":
	case s.state&stateOrphans != 0:
		fsys.doubt = "deleted files were being cleared away"
	case s.state&stateValid == 0:
		fsys.doubt = "it was not unmounted"
		fsys.note("the volume was in use and has nothing to replay: the latest changes may be incomplete")
	case s.rocompat&^rocompatKnown != 0:
		fsys.doubt = fmt.Sprintf("it uses features that are not understood (0x%x)", s.rocompat&^rocompatKnown)
	case fsys.size/s.blockSize < int64(s.blocks):
		fsys.doubt = "it is longer than the volume that holds it"
		fsys.note("the file system has %d bytes, the volume only %d: files may be cut off", s.blockOff(s.blocks), fsys.size)
	}
}

// Type is "ext2", "ext3" or "ext4", by the features in use.
func (fsys *FS) Type() string { return fsys.super.kind() }

// Label is the name that the volume was given.
func (fsys *FS) Label() string { return strings.ToValidUTF8(fsys.super.label, "\uFFFD") }

// UUID is the volume's identity.
func (fsys *FS) UUID() string {
	u := fsys.super.uuid
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Notes are sentences about the volume that its user should know.
func (fsys *FS) Notes() []string { return append([]string(nil), fsys.notes...) }

// Replayed reports whether the journal was replayed: the volume was in use when
// it was copied, and only the one who copied it knows whether in one moment.
func (fsys *FS) Replayed() bool { return fsys.replayed }

// Consistent reports whether Free can be trusted, and if not, why.
func (fsys *FS) Consistent() (bool, string) { return fsys.doubt == "", fsys.doubt }
