// Package raw reads disks that lie in files byte for byte, and writes any disk
// into a file, holes as holes.
//
//	hole     a part of a file that its file system knows to be zeros
//	settled  of a file: nobody has written to it for a while
//
// A hole is believed only in a settled file. File systems have reported holes
// where data lay that was written but not yet on its way to the disk (OpenZFS
// #15526), and more than one backup is incomplete because of that. So a file
// is read whole, zeros and all, unless
//
//   - it is an ordinary file on ext4, XFS, Btrfs or tmpfs, or a sparse file on
//     a local disk of Windows: others (ZFS, network, overlay) are not asked;
//   - neither its content nor its inode changed for a minute before Open, by
//     the time of either;
//   - where a reader may ask for that, the system wrote back what it held of
//     the file when it was opened;
//   - its times and its size are, at every look-up, what they were then.
package raw

import (
	"fmt"
	"io"
	"os"
	"time"

	"vitrine/fs/disk"
)

// settledAfter is how long a file must have been left alone.
const settledAfter = time.Minute

// Disk is a raw disk in a file or on a block device.
type Disk struct {
	f     *os.File
	size  int64
	holes bool // the file was settled when it was opened
	stamp stamp
}

var _ disk.Disk = (*Disk)(nil)

// stamp is what changes whenever a file is written.
type stamp struct {
	size             int64
	modified, status time.Time
}

// Open returns the disk in f, which stays the caller's to close. now is the
// time against which the age of the file is measured.
func Open(f *os.File, now time.Time) (*Disk, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("raw: %w", err)
	}
	d := &Disk{f: f, size: info.Size()}
	if !info.Mode().IsRegular() {
		if info.Mode()&os.ModeDevice == 0 || info.Mode()&os.ModeCharDevice != 0 {
			return nil, fmt.Errorf("raw: open %s: neither a file nor a block device", f.Name())
		}
		if d.size, err = deviceSize(f); err != nil {
			return nil, fmt.Errorf("raw: size of %s: %w", f.Name(), err)
		}
		return d, nil
	}
	if d.stamp, err = stampOf(f); err != nil {
		return nil, fmt.Errorf("raw: %w", err)
	}
	d.size = d.stamp.size
	quiet := now.Sub(d.stamp.modified) >= settledAfter && now.Sub(d.stamp.status) >= settledAfter
	d.holes = quiet && holesReliable(f)
	return d, nil
}

// Size is the length of the file or device when it was opened.
func (d *Disk) Size() int64 { return d.size }

// ReadAt reads from the file. A file that has become shorter gives
// io.ErrUnexpectedEOF, never zeros.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) {
	n, end := disk.Clip(len(p), off, d.size)
	if n == 0 {
		return 0, end
	}
	got, err := d.f.ReadAt(p[:n], off)
	if got == n {
		return n, end
	}
	if err == io.EOF {
		err = fmt.Errorf("raw: read %s: %d bytes at %d: the file has become shorter: %w", d.f.Name(), n, off, io.ErrUnexpectedEOF)
	}
	return got, err
}

// NextData returns the next extent that is no hole; of a file that is not
// settled, all of it.
func (d *Disk) NextData(off int64) (start, end int64, err error) {
	off = max(off, 0)
	if off >= d.size {
		return 0, 0, io.EOF
	}
	if !d.holes {
		return off, d.size, nil
	}
	start, end, err = nextData(d.f, off, d.size)
	if err != nil && err != io.EOF {
		return 0, 0, fmt.Errorf("raw: find data of %s behind %d: %w", d.f.Name(), off, err)
	}
	now, statErr := stampOf(d.f)
	if statErr != nil {
		return 0, 0, fmt.Errorf("raw: %w", statErr)
	}
	if !now.equal(d.stamp) {
		return off, d.size, nil
	}
	if err == io.EOF || start >= d.size {
		return 0, 0, io.EOF
	}
	return max(start, off), min(end, d.size), nil
}

func (s stamp) equal(t stamp) bool {
	return s.size == t.size && s.modified.Equal(t.modified) && s.status.Equal(t.status)
}
