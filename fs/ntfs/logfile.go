package ntfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"

	"vitrine/fs/disk"
)

const (
	restartClean    = 0x0002
	restartNoClient = 0xFFFF
	restartPages    = 2
)

// readLog looks whether $LogFile was closed: a volume whose log still has a
// client was in use, and what its log holds may be missing from the rest.
func (f *FS) readLog() {
	clean, err := f.logClean()
	if err != nil {
		f.doubtful(fmt.Sprintf("$LogFile cannot be judged: %v", err))
	} else if !clean {
		f.doubtful("$LogFile was not closed: the volume was in use, its newest changes may be missing here")
	}
}

func (f *FS) logClean() (bool, error) {
	n, err := f.inode(recLogFile)
	if err != nil {
		return false, err
	}
	s, err := n.stream(atData, "")
	if err != nil {
		return false, err
	}
	// The second restart page follows the first; the size of both is in them.
	var newest uint64
	var clean, found, empty bool
	size := int64(4096)
	for i := range restartPages {
		off := int64(i) * size
		if off+size > s.size {
			break
		}
		p := make([]byte, size)
		if err := s.readFull(p, off); err != nil {
			return false, err
		}
		if i == 0 {
			empty = len(bytes.Trim(p, "\xff")) == 0
			if n := int64(le.Uint32(p[16:])); string(p[:4]) == "RSTR" && n > size && n <= maxBlock && n&(n-1) == 0 && n <= s.size {
				size, p = n, make([]byte, n)
				if err := s.readFull(p, 0); err != nil {
					return false, err
				}
			}
		}
		if lsn, ok, state := restartPage(p); ok && (!found || lsn > newest) {
			newest, clean, found = lsn, state, true
		}
	}
	switch {
	case found:
		return clean, nil
	case empty:
		return true, nil // emptied by chkdsk or another system
	}
	return false, errors.New("neither of its restart pages is valid")
}

// restartPage decodes a restart page: its newest LSN and whether the log was
// closed when it was written.
func restartPage(p []byte) (lsn uint64, ok, clean bool) {
	if fixup(p, "RSTR") != nil {
		return 0, false, false
	}
	at := int(le.Uint16(p[24:]))
	if at < 30 || at+48 > len(p) {
		return 0, false, false
	}
	area := p[at:]
	return le.Uint64(area), true, le.Uint16(area[12:]) == restartNoClient || le.Uint16(area[14:])&restartClean != 0
}

// readHibernation looks into hiberfil.sys.
func (f *FS) readHibernation() {
	n, err := f.find("hiberfil.sys")
	if errors.Is(err, iofs.ErrNotExist) {
		return
	}
	var head [4]byte
	if err == nil {
		var s *stream
		if s, err = n.stream(atData, ""); err == nil {
			if s.size < int64(len(head)) {
				return
			}
			err = s.readFull(head[:], 0)
		}
	}
	switch {
	case err != nil:
		f.doubtful(fmt.Sprintf("hiberfil.sys cannot be read, Windows may be hibernated: %v", err))
	case bytes.EqualFold(head[:], []byte("hibr")), bytes.EqualFold(head[:], []byte("rstr")):
		f.doubtful("Windows is hibernated (fast startup counts): changes may be in hiberfil.sys that are missing here")
	default:
		return
	}
	f.hibernated = true
}

// Hibernated reports whether hiberfil.sys holds a sleeping Windows, or cannot
// be read: leaving it out of a backup would lose what is in it.
func (f *FS) Hibernated() bool { return f.hibernated }

// shadowID is the identity that the structures of in-guest shadow copies carry.
var shadowID = [16]byte{0x6B, 0x87, 0x08, 0x38, 0x76, 0xC1, 0x48, 0x4E, 0xB7, 0xAE, 0x04, 0x04, 0x6E, 0x6C, 0xC7, 0x52}

const (
	shadowHeader    = 0x1E00
	shadowBlock     = 16 << 10
	maxShadowBlocks = 256
)

// HasShadowCopies reports whether the guest keeps shadow copies on the volume.
// They read clusters that are free by now. Any doubt counts as yes.
func (f *FS) HasShadowCopies() bool {
	var head [512]byte
	if f.read(head[:], shadowHeader) != nil || [16]byte(head[:16]) != shadowID {
		return false
	}
	// The catalogue's blocks are chained; each begins with a header of 128
	// bytes and has entries as long, of type 2 and 3 for a shadow copy.
	next := int64(le.Uint64(head[48:]))
	block := make([]byte, shadowBlock)
	for range maxShadowBlocks {
		if next == 0 {
			return false
		}
		if next < 0 || disk.ReadFull(context.Background(), f.r, block, next) != nil || [16]byte(block[:16]) != shadowID {
			return true
		}
		for at := 128; at < shadowBlock; at += 128 {
			if t := le.Uint64(block[at:]); t > 1 {
				return true
			}
		}
		next = int64(le.Uint64(block[40:]))
	}
	return true
}
