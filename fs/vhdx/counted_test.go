package vhdx

import (
	"context"
	"errors"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
)

// countedDisk is a disk with the blocks that were counted of it.
type countedDisk struct {
	disk.Disk
	*counted
}

func TestCountedBlocksKeepTheContract(t *testing.T) {
	for name, d := range map[string]disk.Disk{
		"empty":  disk.Zeros(5*mib + 1),
		"full":   disktest.Memory(disktest.Random(1, 3*mib+5)),
		"sparse": disktest.Memory(disktest.Sparse(2, 80*mib, 500)),
		"huge":   disktest.Scattered(3, 3<<40, 3000),
	} {
		t.Run(name, func(t *testing.T) {
			c, err := count(t.Context(), d, mib)
			if err != nil {
				t.Fatal(err)
			}
			disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) { return countedDisk{d, c}, d })
		})
	}
}

func TestCountRefusesWhatMakesNoSense(t *testing.T) {
	for _, d := range []liar{{5, 5, nil}, {5, 4, nil}, {-1, 5, nil}, {0, 20 * mib, nil}, {0, 0, errors.New("broken")}} {
		if _, err := count(t.Context(), d, mib); err == nil {
			t.Errorf("%+v is accepted", d)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := count(ctx, disk.Zeros(mib), mib); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// liar is a disk of 10 MiB whose extents are wrong.
type liar struct {
	start, end int64
	err        error
}

func (liar) Size() int64                             { return 10 * mib }
func (liar) ReadAt(p []byte, off int64) (int, error) { return len(p), nil }
func (l liar) NextData(int64) (int64, int64, error)  { return l.start, l.end, l.err }
