package vhdx_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

func identity(block int64) vhdx.Identity {
	return vhdx.Identity{
		Layout: vhdx.Layout1, BlockSize: block, LogicalSector: 512, PhysicalSector: 4096,
		DiskID: vhdxtest.ID(1), FileWriteID: vhdxtest.ID(2), DataWriteID: vhdxtest.ID(3),
	}
}

// blocked is a disk that knows its blocks, in the plainest way.
type blocked struct {
	disk.Disk
	block     int64
	allocated []int64
	asked     atomic.Int64 // calls of Rank and Select
}

func withBlocks(t testing.TB, d disk.Disk, block int64) *blocked {
	b := &blocked{Disk: d, block: block}
	for off := int64(0); ; {
		start, end, err := d.NextData(off)
		if err == io.EOF {
			return b
		}
		if err != nil {
			t.Fatal(err)
		}
		for at := start / block; at*block < end; at++ {
			if n := len(b.allocated); n == 0 || b.allocated[n-1] < at {
				b.allocated = append(b.allocated, at)
			}
		}
		off = end
	}
}

func (b *blocked) BlockSize() int64 { return b.block }
func (b *blocked) Allocated() int64 { return int64(len(b.allocated)) }
func (b *blocked) Rank(_ context.Context, block int64) (int64, bool, error) {
	b.asked.Add(1)
	if block < 0 || block*b.block >= b.Size() {
		return 0, false, errors.New("no such block")
	}
	for n, a := range b.allocated {
		if a >= block {
			return int64(n), a == block, nil
		}
	}
	return b.Allocated(), false, nil
}
func (b *blocked) Select(_ context.Context, n int64) (int64, error) {
	b.asked.Add(1)
	if n < 0 || n >= b.Allocated() {
		return 0, errors.New("no such block")
	}
	return b.allocated[n], nil
}

func present(t testing.TB, d disk.Disk, id vhdx.Identity) *vhdx.File {
	t.Helper()
	f, err := vhdx.NewFile(d, id)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestPresentedDisksReadBackTheSame(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			block := []int64{1, 1, 2, 4}[r.IntN(4)] * mib
			size := (1+r.Int64N(40))*mib + r.Int64N(2)*r.Int64N(2048)*512
			content := disktest.Sparse(seed, size, []int{1, 20, 400, 1000}[r.IntN(4)])
			id := identity(block)
			if seed%3 == 0 && size%4096 == 0 {
				id.LogicalSector = 4096
			}
			d := disktest.Memory(content)
			known := withBlocks(t, d, block)
			later := id
			later.Allocated = known.Allocated()

			plain := present(t, d, id)
			want := readAll(t, plain)
			if err := vhdx.Validate(plain, plain.Size()); err != nil {
				t.Error(err)
			}
			sameBytes(t, readAll(t, present(t, known, id)), want)
			sameBytes(t, readAll(t, present(t, known, later)), want)
			sameBytes(t, readAll(t, present(t, d, later)), want)

			im, err := vhdx.Open(plain, plain.Size())
			if err != nil {
				t.Fatal(err)
			}
			sameBytes(t, readAll(t, im), content)
			if im.DiskID() != id.DiskID || im.DataWriteID() != id.DataWriteID || im.FileWriteID() != id.FileWriteID ||
				im.BlockSize() != block || im.LogicalSector() != id.LogicalSector || im.PhysicalSector() != 4096 ||
				im.Dirty() || im.Fixed() || im.HasParent() || im.Creator() != "Vitrine" {
				t.Errorf("the file says %+v", im)
			}
		})
	}
}

func TestPresentedFilesKeepTheContractOfDisks(t *testing.T) {
	content := disktest.Sparse(7, 23*mib+512, 500)
	for name, known := range map[string]bool{"counted": false, "known": true} {
		t.Run(name, func(t *testing.T) {
			disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
				d := disktest.Memory(content)
				want := readAll(t, present(t, d, identity(mib)))
				if known {
					d = withBlocks(t, d, mib)
				}
				return present(t, d, identity(mib)), bytes.NewReader(want)
			})
		})
	}
}

func TestImagesAndChainsKeepTheContractOfDisks(t *testing.T) {
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 3))
		base := randomLayer(r, 9*mib, mib, 512, nil)
		child := randomLayer(r, 10*mib+512, 2*mib, 512, base.content)
		child.spec.Parent = &vhdx.Parent{Linkage: base.spec.DataWriteID}
		t.Run(fmt.Sprint("image", seed), func(t *testing.T) {
			disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
				return mustOpen(t, vhdxtest.Build(base.spec)), bytes.NewReader(base.content)
			})
		})
		t.Run(fmt.Sprint("chain", seed), func(t *testing.T) {
			disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
				d, err := vhdx.Chain(mustOpen(t, vhdxtest.Build(child.spec)), mustOpen(t, vhdxtest.Build(base.spec)))
				if err != nil {
					t.Fatal(err)
				}
				return d, bytes.NewReader(child.content)
			})
		})
	}
}

func TestPresentedHolesAreHoles(t *testing.T) {
	content := make([]byte, 5*mib)
	content[mib+8192] = 1         // block 1, page 2
	content[4*mib-1] = 1          // the end of block 3
	content[4*mib] = 1            // and the beginning of block 4
	d := disktest.Memory(content) // allocated: 1, 3, 4
	f := present(t, d, identity(mib))
	if f.Size() != 7*mib {
		t.Fatalf("size %d", f.Size())
	}
	var got []string
	for off := int64(0); ; {
		start, end, err := f.NextData(off)
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d+%d", start, end-start))
		off = end
	}
	want := []string{
		"0+4096", "65536+4096", "131072+4096", "196608+4096", "262144+4096", // first MiB
		"2097152+4096", "2162688+4096", // metadata
		"3145728+4096",                     // BAT
		fmt.Sprintf("%d+4096", 4*mib+8192), // block 1
		fmt.Sprintf("%d+8192", 6*mib-4096), // blocks 3 and 4
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestStatNeverReadsTheMap(t *testing.T) {
	d := &blocked{Disk: mapless{64 << 40}, block: 2 * mib, allocated: make([]int64, 1000)}
	if got, want := present(t, d, identity(2*mib)).Size(), int64(3*mib+257*mib+2000*mib); got != want {
		t.Errorf("size %d, want %d", got, want)
	}
	id := identity(2 * mib)
	id.Allocated = 1000
	if got, want := present(t, mapless{64 << 40}, id).Size(), int64(3*mib+257*mib+2000*mib); got != want {
		t.Errorf("size %d, want %d", got, want)
	}
	if d.asked.Load() != 0 {
		t.Errorf("the disk was asked %d times", d.asked.Load())
	}
}

// mapless is a disk whose map cannot be read.
type mapless struct{ size int64 }

func (m mapless) Size() int64                          { return m.size }
func (m mapless) ReadAt([]byte, int64) (int, error)    { return 0, errors.New("read") }
func (m mapless) NextData(int64) (int64, int64, error) { return 0, 0, errors.New("map read") }

func TestBATAsksOnlyWhereAllocationChanges(t *testing.T) {
	d := &blocked{Disk: mapless{64 << 40}, block: 2 * mib}
	for b := range int64(500_000) {
		d.allocated = append(d.allocated, 1_000_000+b)
	}
	f := present(t, d, identity(2*mib))
	if _, err := f.ReadAt(make([]byte, mib), 3*mib+8*1_000_000); err != nil {
		t.Fatal(err)
	}
	if d.asked.Load() > 60 {
		t.Errorf("a MiB of BAT with one change took %d questions", d.asked.Load())
	}
}

func TestBATIsReadInPiecesOfAnySize(t *testing.T) {
	f := present(t, disktest.Memory(disktest.Sparse(3, 40*mib, 300)), identity(mib))
	want := make([]byte, 512)
	if _, err := f.ReadAt(want, 3*mib); err != nil {
		t.Fatal(err)
	}
	if bytes.Count(want, []byte{0}) == len(want) {
		t.Fatal("the BAT is empty")
	}
	for off := range 330 {
		for n := range 20 {
			p := make([]byte, n)
			if _, err := f.ReadAt(p, 3*mib+int64(off)); err != nil {
				t.Fatal(err)
			}
			sameBytes(t, p, want[off:][:n])
		}
	}
}

func TestNewFileRefuses(t *testing.T) {
	ok := disktest.Memory(make([]byte, 4*mib))
	for name, tt := range map[string]struct {
		d      disk.Disk
		change func(*vhdx.Identity)
	}{
		"an empty disk":            {disktest.Memory(nil), func(*vhdx.Identity) {}},
		"more than 64 TiB":         {disk.Zeros(64<<40 + 512), func(*vhdx.Identity) {}},
		"layout 0":                 {ok, func(id *vhdx.Identity) { id.Layout = 0 }},
		"layout 2":                 {ok, func(id *vhdx.Identity) { id.Layout = 2 }},
		"blocks of 0":              {ok, func(id *vhdx.Identity) { id.BlockSize = 0 }},
		"blocks of 3 MiB":          {ok, func(id *vhdx.Identity) { id.BlockSize = 3 * mib }},
		"blocks of 512 MiB":        {ok, func(id *vhdx.Identity) { id.BlockSize = 512 * mib }},
		"sectors of 0":             {ok, func(id *vhdx.Identity) { id.LogicalSector = 0 }},
		"sectors of -512":          {ok, func(id *vhdx.Identity) { id.LogicalSector = -512 }},
		"sectors of 520":           {ok, func(id *vhdx.Identity) { id.LogicalSector = 520 }},
		"physical sectors of 1024": {ok, func(id *vhdx.Identity) { id.PhysicalSector = 1024 }},
		"no data write id":         {ok, func(id *vhdx.Identity) { id.DataWriteID = disk.GUID{} }},
		"too many blocks":          {ok, func(id *vhdx.Identity) { id.Allocated = 3 }},
		"a negative count":         {ok, func(id *vhdx.Identity) { id.Allocated = -1 }},
		"another count":            {&blocked{Disk: ok, block: 2 * mib}, func(id *vhdx.Identity) { id.Allocated = 1 }},
	} {
		id := identity(2 * mib)
		tt.change(&id)
		if _, err := vhdx.NewFile(tt.d, id); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	id := identity(2 * mib)
	id.Allocated = 1
	if _, err := present(t, ok, id).ReadAt(make([]byte, 8), 3*mib); err == nil {
		t.Error("a count that the disk does not have is not noticed when the BAT is read")
	}
}

func TestDiskThatEndsWithinASectorIsPadded(t *testing.T) {
	content := disktest.Random(1, mib+100)
	f := present(t, disktest.Memory(content), identity(mib))
	im, err := vhdx.Open(f, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	sameBytes(t, readAll(t, im), append(content, make([]byte, 412)...))
}

func TestPrefetchAndLocateSpeakOfTheDisk(t *testing.T) {
	content := make([]byte, 9*mib+512)
	for _, block := range []int{1, 2, 5, 9} {
		content[block*mib] = 1
	}
	d := &prefetched{Disk: disktest.Memory(content)}
	f := present(t, d, identity(mib))
	f.Prefetch(0, 100*mib)
	if want := "1048576+2097152 5242880+1048576 9437184+512"; strings.Join(d.got, " ") != want {
		t.Errorf("prefetched %v, want %s", d.got, want)
	}
	for _, tt := range []struct {
		off, n int64
		want   vhdx.Place
	}{
		{0, 10 * mib, vhdx.Place{Len: 4 * mib}},
		{4*mib - 1, 2, vhdx.Place{Len: 1}},
		{4 * mib, mib, vhdx.Place{Len: mib, Payload: true, Disk: mib}},
		{5*mib - 1, 5, vhdx.Place{Len: 5, Payload: true, Disk: 2*mib - 1}},
		{6*mib - 1, 5, vhdx.Place{Len: 1, Payload: true, Disk: 3*mib - 1}},
		{6 * mib, 5, vhdx.Place{Len: 5, Payload: true, Disk: 5 * mib}},
		{7 * mib, mib, vhdx.Place{Len: 512, Payload: true, Disk: 9 * mib}},
		{7*mib + 512, 2 * mib, vhdx.Place{Len: mib - 512}},
		{8 * mib, 1, vhdx.Place{}},
	} {
		if got, err := f.Locate(t.Context(), tt.off, tt.n); got != tt.want || err != nil {
			t.Errorf("Locate(%d, %d) = %+v, %v; want %+v", tt.off, tt.n, got, err, tt.want)
		}
	}
}

type prefetched struct {
	disk.Disk
	got []string
}

func (p *prefetched) Prefetch(off, n int64) { p.got = append(p.got, fmt.Sprintf("%d+%d", off, n)) }

var update = flag.Bool("update", false, "write the golden files anew")

// A presented file must never change: children of it and overlays on it live
// for years. A change here needs a new layout version.
func TestPresentedBytesNeverChange(t *testing.T) {
	big := func(id vhdx.Identity) vhdx.Identity {
		id.LogicalSector, id.PhysicalSector = 4096, 4096
		return id
	}
	var got strings.Builder
	for _, tt := range []struct {
		name string
		d    disk.Disk
		id   vhdx.Identity
	}{
		{"empty-1MiB", disk.Zeros(mib), identity(mib)},
		{"full-4MiB", disktest.Memory(disktest.Random(1, 4*mib)), identity(mib)},
		{"sparse-65MiB", disktest.Memory(disktest.Sparse(2, 65*mib+1024, 300)), identity(2 * mib)},
		{"one-block-32MiB", disktest.Memory(disktest.Random(3, 3*mib)), identity(32 * mib)},
		{"4K-sectors", disktest.Memory(disktest.Sparse(4, 33*mib, 300)), big(identity(2 * mib))},
		{"10GiB-scattered", disktest.Scattered(5, 10<<30, 9), identity(mib)},
		{"3TiB-scattered", disktest.Scattered(6, 3<<40, 5), identity(32 * mib)},
	} {
		f := present(t, tt.d, tt.id)
		h := sha256.New()
		if _, err := io.Copy(h, io.NewSectionReader(f, 0, f.Size())); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&got, "%s %d %s\n", tt.name, f.Size(), hex.EncodeToString(h.Sum(nil)))
	}
	golden := filepath.Join("testdata", "layout1.golden")
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got.String() != string(want) {
		t.Errorf("got\n%swant\n%s", got.String(), want)
	}
}
