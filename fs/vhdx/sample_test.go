package vhdx_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhdx"
)

func TestRealFilesHaveTheirKnownContent(t *testing.T) {
	for _, tt := range []struct {
		file, sum      string
		size, block    int64
		creator        string
		dirty, isFixed bool
		diskID         string
	}{
		{file: "dissect.hypervisor/dynamic.vhdx.gz", sum: "8e2b5e9265d694b42b81819e3bff29770eff4ed0f4f9f311693ff3dbdc93efac",
			size: 10485760, block: 32 * mib, creator: "Microsoft Windows 10.0.18363.0", diskID: "788015f0-5e93-4bd2-a5de-b0cd8459db11"},
		{file: "dissect.hypervisor/fixed.vhdx.gz", sum: "bc0be4623b15aa84216fb31ba24e3b621ec7f1c72d198c990ac0eced222d9f62",
			size: 10485760, block: 2 * mib, creator: "Microsoft Windows", isFixed: true, diskID: "4a49d245-db0a-4634-9818-9f93db5ba6c1"},
		{file: "DiscUtils/vhdx-log-replay.vhdx.gz", sum: "3ba3b309425b7ff5e8e0199edceed95226250f880c53b24e8eae93865f3fad5e",
			size: 1 << 30, block: 32 * mib, creator: "Microsoft Windows 10.0.15063.0", dirty: true},
		{file: "qemu-iotests/iotest-dynamic-1G.vhdx.bz2", sum: "d3d112d8dab7fd360609f7d5a7b769904b7a2a7d7b6b8c535f65a23293c05478",
			size: 1 << 30, block: 32 * mib, creator: "Microsoft Windows 6.2.9200.16384"},
		{file: "DiscUtils/swap.vhdx.gz", sum: "60dd30b4",
			size: 10 << 30, block: 32 * mib, creator: "Microsoft Windows"},
		{file: "qemu-iotests/iotest-dirtylog-10G-4M.vhdx.bz2", sum: "179cefe8b0587f123393eedf2aa7aa8d25798591178e6bc3950a09762f38f96f",
			size: 10 << 30, block: mib, creator: "QEMU v1.6.50", dirty: true},
	} {
		t.Run(tt.file, func(t *testing.T) {
			file := disktest.File(t, tt.file)
			before := bytes.Clone(file)
			im, err := openBytes(file)
			if err != nil {
				t.Fatal(err)
			}
			if im.Size() != tt.size || im.BlockSize() != tt.block || im.Dirty() != tt.dirty || im.Fixed() != tt.isFixed || im.HasParent() {
				t.Errorf("size %d, block %d, dirty %v, fixed %v, parent %v", im.Size(), im.BlockSize(), im.Dirty(), im.Fixed(), im.HasParent())
			}
			if im.LogicalSector() != 512 || im.PhysicalSector() != 4096 && !strings.HasPrefix(tt.creator, "QEMU") {
				t.Errorf("sectors of %d and %d", im.LogicalSector(), im.PhysicalSector())
			}
			if !strings.HasPrefix(im.Creator(), tt.creator) {
				t.Errorf("creator %q", im.Creator())
			}
			if tt.diskID != "" && im.DiskID().String() != tt.diskID {
				t.Errorf("disk id %s, want %s", im.DiskID(), tt.diskID)
			}
			if tt.size <= 1<<30 || os.Getenv("VITRINE_SOAK") != "" {
				if got := dataSum(t, im); !strings.HasPrefix(got, tt.sum) {
					t.Errorf("content by NextData %s, want %s", got, tt.sum)
				}
			}
			if tt.size <= 16*mib || os.Getenv("VITRINE_SOAK") != "" {
				if got := contentSum(t, im); !strings.HasPrefix(got, tt.sum) {
					t.Errorf("content %s, want %s", got, tt.sum)
				}
			}
			sameBytes(t, file, before)
			if err := vhdx.Validate(bytes.NewReader(file), int64(len(file))); (err != nil) != tt.dirty {
				t.Errorf("Validate = %v, dirty %v", err, tt.dirty)
			}
		})
	}
}

// The two disks of 10 GiB take long to hash: what is known of them is checked
// here, their hashes only with VITRINE_SOAK.
func TestRealBigDisksHaveTheirKnownData(t *testing.T) {
	im, err := openBytes(disktest.File(t, "qemu-iotests/iotest-dirtylog-10G-4M.vhdx.bz2"))
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 20*mib)
	if _, err := im.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, p, append(bytes.Repeat([]byte{0xa5}, 18*mib), make([]byte, 2*mib)...))
	if start, end, err := im.NextData(18 * mib); err != io.EOF {
		p := make([]byte, end-start)
		if _, err := im.ReadAt(p, start); err != nil || bytes.Count(p, []byte{0}) != len(p) {
			t.Errorf("data at %d to %d, %v", start, end, err)
		}
	}

	if im, err = openBytes(disktest.File(t, "DiscUtils/swap.vhdx.gz")); err != nil {
		t.Fatal(err)
	}
	if _, err := im.ReadAt(p, 0); err != nil {
		t.Fatal(err)
	}
	if string(p[4086:4096]) != "SWAPSPACE2" || string(p[1052:1067]) != "discutils äTES" {
		t.Errorf("signature %q, label %q", p[4086:4096], p[1052:1067])
	}
}

func TestRealCheckpointNamesItsParent(t *testing.T) {
	im, err := openBytes(disktest.File(t, "dissect.hypervisor/differencing.avhdx.gz"))
	if err != nil {
		t.Fatal(err)
	}
	if im.Size() != 8<<30 || im.BlockSize() != 2*mib || !im.HasParent() {
		t.Errorf("size %d, block %d, parent %v", im.Size(), im.BlockSize(), im.HasParent())
	}
	if got := im.DataWriteID().String(); got != "b298d413-f67e-412a-9a72-c7c7fc9b6cb5" {
		t.Errorf("data write id %s", got)
	}
	p, _ := im.Parent()
	if p.Linkage.String() != "ff34003b-11ed-4cf8-a166-b2be05e20b80" || !p.Linkage2.IsZero() {
		t.Errorf("linkages %s, %s", p.Linkage, p.Linkage2)
	}
	names := p.BaseNames()
	if len(names) != 1 || !strings.HasPrefix(names[0], "Generation 1_49C4BAF3-") || !strings.HasSuffix(names[0], ".avhdx") {
		t.Errorf("names %q", names)
	}

	for name, read := range map[string]func() error{
		"ReadAt":   func() error { _, err := im.ReadAt(make([]byte, 1), 0); return err },
		"NextData": func() error { _, _, err := im.NextData(0); return err },
		"Chain":    func() error { _, err := vhdx.Chain(im); return err },
	} {
		var missing *vhdx.ParentError
		if err := read(); !errors.As(err, &missing) {
			t.Errorf("%s without its parent: %v", name, err)
			continue
		}
		if missing.Child != im.DiskID() || !slices.Contains(missing.Want, p.Linkage) || !slices.Equal(missing.Names, names) || missing.Got != (disk.GUID{}) {
			t.Errorf("%s: %+v", name, missing)
		}
		if !strings.Contains(missing.Hint(), names[0]) || !strings.Contains(missing.Hint(), p.Linkage.String()) {
			t.Errorf("%s: hint %q", name, missing.Hint())
		}
	}
}
