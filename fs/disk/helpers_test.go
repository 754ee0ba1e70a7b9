package disk_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
)

func TestDisksKeepTheContract(t *testing.T) {
	sparse := disktest.Sparse(1, 3<<20+100, 4)
	for name, open := range map[string]func() (disk.Disk, disktest.Oracle){
		"zeros": func() (disk.Disk, disktest.Oracle) { return disk.Zeros(70000), bytes.NewReader(make([]byte, 70000)) },
		"empty": func() (disk.Disk, disktest.Oracle) { return disk.Zeros(0), bytes.NewReader(nil) },
		"memory": func() (disk.Disk, disktest.Oracle) {
			return disktest.Memory(sparse), bytes.NewReader(sparse)
		},
		"section": func() (disk.Disk, disktest.Oracle) {
			return disk.Section(disktest.Memory(sparse), 12345, 2<<20), bytes.NewReader(sparse[12345 : 12345+2<<20])
		},
		"section at the end": func() (disk.Disk, disktest.Oracle) {
			return disk.Section(disktest.Memory(sparse), 2<<20, 9<<20), bytes.NewReader(sparse[2<<20:])
		},
		"section behind the end": func() (disk.Disk, disktest.Oracle) {
			return disk.Section(disktest.Memory(sparse), 9<<20, 1), bytes.NewReader(nil)
		},
		"numbered": func() (disk.Disk, disktest.Oracle) {
			return disktest.Memory(disktest.Numbered(100001)), bytes.NewReader(disktest.Numbered(100001))
		},
		"huge": func() (disk.Disk, disktest.Oracle) {
			d := disktest.Scattered(7, 64<<40, 1000)
			return d, d
		},
		"crowded": func() (disk.Disk, disktest.Oracle) {
			d := disktest.Scattered(7, 8<<20, 2048)
			return d, d
		},
	} {
		t.Run(name, func(t *testing.T) {
			disktest.Run(t, func(*testing.T) (disk.Disk, disktest.Oracle) { return open() })
		})
	}
}

func TestReadExtentsGivesAllDataInAlignedPieces(t *testing.T) {
	want := disktest.Sparse(2, 5<<20+77, 3)
	got := make([]byte, len(want))
	last := int64(0)
	err := disk.ReadExtents(t.Context(), disktest.Memory(want), make([]byte, 10000), func(p []byte, off int64) error {
		if off < last || off/10000 != (off+int64(len(p))-1)/10000 {
			t.Errorf("piece of %d bytes at %d after %d", len(p), off, last)
		}
		last = off + int64(copy(got[off:], p))
		return nil
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("the pieces do not make up the disk: %v", err)
	}
}

// liar is a disk whose NextData and ReadAt answer what they are told.
type liar struct {
	disk.Disk
	start, end int64
	err        error
}

func (l liar) NextData(off int64) (int64, int64, error) { return l.start, l.end, l.err }

func TestReadExtentsRefusesWhatMakesNoSense(t *testing.T) {
	broken := errors.New("broken")
	zeros := disk.Zeros(1000)
	for name, d := range map[string]disk.Disk{
		"empty extent":       liar{zeros, 10, 10, nil},
		"backwards":          liar{zeros, 10, 5, nil},
		"past the end":       liar{zeros, 10, 1001, nil},
		"the same for ever":  liar{zeros, 0, 10, nil},
		"failing":            liar{zeros, 0, 0, broken},
		"larger than itself": liar{short{zeros}, 900, 2000, nil},
	} {
		err := disk.ReadExtents(t.Context(), d, make([]byte, 64), func([]byte, int64) error { return nil })
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		if name == "failing" && !errors.Is(err, broken) {
			t.Errorf("%s: got %v", name, err)
		}
		if name == "larger than itself" && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// short claims more bytes than it has.
type short struct{ disk.Disk }

func (short) Size() int64 { return 2000 }

func TestReadExtentsEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pieces := 0
	err := disk.ReadExtents(ctx, disktest.Memory(disktest.Numbered(1<<20)), make([]byte, 4096), func([]byte, int64) error {
		pieces++
		cancel()
		return nil
	})
	if pieces != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("got %d pieces and %v, want 1 and %v", pieces, err, context.Canceled)
	}
}
