package ntfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"vitrine/fs/disk"
)

const cacheBytes = 16 << 20

// FS is an NTFS volume. It is safe for concurrent use.
type FS struct {
	r       io.ReaderAt
	size    int64
	geo     geometry
	mft     *stream
	upcase  upcase
	cache   *cache
	buffers sync.Pool // of *[]byte, for compressed data

	label      string
	notes      []string
	doubt      string // why free space may not be trusted
	hibernated bool

	ownLetter func() bool // whether drive C: is this volume, found when first asked
}

// Probe reports whether r begins, or ends, with the boot sector of NTFS.
func Probe(r io.ReaderAt, size int64) bool {
	_, _, err := readBoot(r, size)
	return err == nil
}

// Open reads what every access needs: the boot sector, the place of $MFT and
// what the volume says of its state. Damage elsewhere is an error of the file
// that has it. r is never written to.
func Open(r io.ReaderAt, size int64) (*FS, error) {
	geo, fromCopy, err := readBoot(r, size)
	if err != nil {
		return nil, fmt.Errorf("ntfs: open boot sector: %w", err)
	}
	f := &FS{r: r, size: size, geo: geo, cache: newCache(cacheBytes)}
	f.ownLetter = sync.OnceValue(f.hasWindows)
	if fromCopy {
		f.doubtful("the boot sector is damaged; its copy at the end of the volume was used")
	}
	if end := geo.clusters * geo.cluster; end > size {
		f.doubtful(fmt.Sprintf("the volume is cut off: %d of %d bytes are there", size, end))
	}
	if err := f.openMFT(); err != nil {
		return nil, fmt.Errorf("ntfs: open $MFT: %w", err)
	}
	f.upcase = f.readUpcase()
	f.readVolume()
	f.readLog()
	f.readHibernation()
	return f, nil
}

// doubtful notes what is wrong with the volume; free space is not trusted then.
func (f *FS) doubtful(what string) {
	f.notes = append(f.notes, what)
	if f.doubt == "" {
		f.doubt = what
	}
}

// read reads exactly len(p) bytes of the volume.
func (f *FS) read(p []byte, off int64) error {
	if off < 0 || off > f.size || int64(len(p)) > f.size-off {
		return fmt.Errorf("ntfs: read %d bytes at %d: the volume ends at %d: %w", len(p), off, f.size, io.ErrUnexpectedEOF)
	}
	if err := disk.ReadFull(context.Background(), f.r, p, off); err != nil {
		return fmt.Errorf("ntfs: read %d bytes at %d: %w", len(p), off, err)
	}
	return nil
}

// openMFT finds the records: record 0 describes the file they are in. Where it
// has an attribute list, each further piece must lie in what is known so far.
func (f *FS) openMFT() error {
	b := make([]byte, f.geo.record)
	err := f.firstRecord(b, f.geo.mft)
	if err != nil {
		if f.geo.mirror <= 0 || f.geo.mirror >= f.geo.clusters || f.firstRecord(b, f.geo.mirror) != nil {
			return err
		}
		f.doubtful("the first record of $MFT is damaged; its copy in $MFTMirr was used")
	}
	n, err := parseInode(f, recMFT, b)
	if err != nil {
		return err
	}
	for _, a := range n.base {
		if a.typ == atData && a.name == "" && !a.resident && a.low == 0 {
			if f.mft, err = n.open([]attr{a}); err != nil {
				return err
			}
			break
		}
	}
	if f.mft == nil || f.mft.unit > 0 {
		return damage(recordName(recMFT), "no data that could hold records")
	}
	f.mft.size = f.mft.init // records behind were never written
	if f.mft.size < f.geo.record {
		return damage(recordName(recMFT), "no records in %d bytes", f.mft.size)
	}
	if err := n.loadList(); err != nil {
		return err
	}
	for _, e := range n.list {
		if e.typ != atData || e.name != "" || e.low == 0 {
			continue
		}
		attrs, err := n.extension(e.ref)
		if err != nil {
			return err
		}
		for i := range attrs {
			if a := &attrs[i]; a.typ == atData && a.name == "" && a.id == e.id && a.low == e.low {
				if err := f.mft.extend(a); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (f *FS) firstRecord(b []byte, lcn int64) error {
	off := lcn * f.geo.cluster
	if err := f.read(b, off); err != nil {
		return err
	}
	if err := checkRecord(b); err != nil {
		return &DamageError{recordName(recMFT), off, err.Error()}
	}
	return nil
}

// readUpcase reads the table that names are ordered by.
func (f *FS) readUpcase() upcase {
	n, err := f.inode(recUpCase)
	if err == nil {
		var b []byte
		if b, err = n.value(atData, "", upcaseBytes); err == nil && len(b) == upcaseBytes {
			return parseUpcase(b)
		}
		if err == nil {
			f.notes = append(f.notes, fmt.Sprintf("$UpCase is too short: %d of %d bytes", len(b), upcaseBytes))
			return parseUpcase(b)
		}
	}
	f.notes = append(f.notes, fmt.Sprintf("$UpCase cannot be read, names are compared by Unicode's rules: %v", err))
	return defaultUpcase()
}

// flags of $VOLUME_INFORMATION
const (
	volumeDirty  = 0x0001
	volumeResize = 0x0002
	volumeChkdsk = 0x4000
)

// readVolume reads the label, and whether Windows marked the volume as dirty.
func (f *FS) readVolume() {
	n, err := f.inode(recVolume)
	if err != nil {
		f.doubtful(fmt.Sprintf("$Volume cannot be read: %v", err))
		return
	}
	if name, err := n.value(atVolumeName, "", 512); err == nil {
		f.label = string(appendName(nil, string(name)))
	} else if !errors.Is(err, errNoAttribute) {
		f.notes = append(f.notes, fmt.Sprintf("the label cannot be read: %v", err))
	}
	b, err := n.value(atVolumeInfo, "", 4096)
	switch {
	case err != nil || len(b) < 12:
		f.doubtful("$Volume does not say which state the volume is in")
		return
	case b[8] != 1 && b[8] != 3:
		f.doubtful(fmt.Sprintf("the volume is of NTFS version %d.%d, which is unknown", b[8], b[9]))
	}
	switch flags := le.Uint16(b[10:]); {
	case flags&volumeDirty != 0:
		f.doubtful("the volume is marked dirty: Windows would check it (chkdsk) before use")
	case flags&volumeResize != 0:
		f.doubtful("the volume was being resized")
	case flags&volumeChkdsk != 0:
		f.doubtful("the volume was being checked (chkdsk)")
	}
}

// Type is "NTFS".
func (f *FS) Type() string { return "NTFS" }

// Label is the name that the volume's user gave it.
func (f *FS) Label() string { return f.label }

// UUID is the volume's serial number in hexadecimal, as blkid shows it.
func (f *FS) UUID() string { return fmt.Sprintf("%016X", f.geo.serial) }

// Notes says what a reader of the volume should know: what is damaged, and
// which changes may be missing.
func (f *FS) Notes() []string { return append([]string(nil), f.notes...) }

// Consistent reports whether the volume was closed cleanly, so that what it
// says of free space is true; if not, the sentence says why. A snapshot taken
// of a running Windows is not closed cleanly: whether its log was flushed (VSS)
// is for those to know who took it.
func (f *FS) Consistent() (bool, string) { return f.doubt == "", f.doubt }
