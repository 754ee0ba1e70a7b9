package vhdx_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

// layer is a random disk of a chain with what it reads as.
type layer struct {
	spec    vhdxtest.Spec
	content []byte
}

// randomLayer makes a disk over the content of its parent (nil: none).
func randomLayer(r *rand.Rand, size, block, sector int64, parent []byte) layer {
	l := layer{
		spec: vhdxtest.Spec{
			Size: size, BlockSize: block, LogicalSector: sector,
			DataWriteID: vhdxtest.ID(byte(r.IntN(256))),
			Blocks:      map[int64]vhdxtest.Block{},
		},
		content: make([]byte, size),
	}
	copy(l.content, parent)
	blocks := (size + block - 1) / block
	for _, b := range r.Perm(int(blocks)) {
		b := int64(b)
		visible := l.content[b*block : min(size, (b+1)*block)]
		states := []int{vhdxtest.NotPresent, vhdxtest.Undefined, vhdxtest.Zero, vhdxtest.Unmapped, vhdxtest.Present, vhdxtest.Present}
		if parent != nil {
			states = append(states, vhdxtest.Partial, vhdxtest.Partial, vhdxtest.NotPresent)
		}
		made := vhdxtest.Block{State: states[r.IntN(len(states))]}
		switch made.State {
		case vhdxtest.NotPresent:
			if r.IntN(2) == 0 {
				continue
			}
		case vhdxtest.Undefined, vhdxtest.Zero, vhdxtest.Unmapped:
			clear(visible)
		case vhdxtest.Present:
			made.Data = noise(r, block)
			copy(visible, made.Data)
			l.spec.Order = append(l.spec.Order, b)
		case vhdxtest.Partial:
			made.Data = noise(r, block)
			l.spec.Order = append(l.spec.Order, b)
			for at := int64(0); at < block/sector; {
				run := 1 + r.Int64N([]int64{1, 3, 70, 1000}[r.IntN(4)])
				here := r.IntN(2) == 0
				for range run {
					if here && at < block/sector {
						made.Sectors = append(made.Sectors, at)
						if at*sector < int64(len(visible)) {
							copy(visible[at*sector:min(int64(len(visible)), (at+1)*sector)], made.Data[at*sector:])
						}
					}
					at++
				}
			}
		}
		l.spec.Blocks[b] = made
	}
	return l
}

func TestChainsReadAsTheModelSays(t *testing.T) {
	for seed := range uint64(14) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			sector := []int64{512, 4096}[r.IntN(2)]
			var images []*vhdx.Image
			var parent *layer
			depth := 1 + r.IntN(4)
			size := (5+r.Int64N(12))*mib + r.Int64N(256)*4096
			for range depth {
				block := []int64{1, 1, 2, 4, 8}[r.IntN(5)] * mib
				var below []byte
				if parent != nil {
					below = parent.content
				}
				l := randomLayer(r, size, block, sector, below)
				if parent != nil {
					l.spec.Parent = &vhdx.Parent{Linkage: parent.spec.DataWriteID, RelativePath: `.\p.vhdx`}
					if r.IntN(3) == 0 {
						l.spec.Parent.Linkage, l.spec.Parent.Linkage2 = vhdxtest.ID(99), parent.spec.DataWriteID
					}
				}
				file := vhdxtest.Build(l.spec)
				if err := vhdx.Validate(file, file.Size()); err != nil {
					t.Fatal(err)
				}
				if r.IntN(2) == 0 {
					vhdxtest.MoveToLog(file, 0xFE000, 1, vhdxtest.BATOff, vhdxtest.MetadataOff, vhdxtest.MetadataOff+64<<10, vhdxtest.RegionOff1)
				}
				images = append([]*vhdx.Image{mustOpen(t, file)}, images...)
				parent = &l
				size += r.Int64N(3) * mib // the child may be larger
			}

			d, err := vhdx.Chain(images[0], images[1:]...)
			if err != nil {
				t.Fatal(err)
			}
			want := parent.content
			sameBytes(t, readAll(t, d), want)
			for range 300 {
				off := r.Int64N(d.Size() + 100)
				p := make([]byte, r.IntN([]int{10, 5000, 3 * mib}[r.IntN(3)]))
				n, err := d.ReadAt(p, off)
				if wantN := max(0, min(int64(len(p)), d.Size()-off)); int64(n) != wantN || (err == io.EOF) != (n < len(p)) || err != nil && err != io.EOF {
					t.Fatalf("ReadAt(%d bytes, %d) = %d, %v", len(p), off, n, err)
				}
				if n > 0 {
					sameBytes(t, p[:n], want[off:][:n])
				}
			}
			if contentSum(t, d) != dataSum(t, d) {
				t.Error("NextData leaves data out")
			}
		})
	}
}

func TestNextDataMergesNeighboursAndSkipsHoles(t *testing.T) {
	data := vhdxtest.Block{State: vhdxtest.Present, Data: []byte{1}}
	parentSpec := vhdxtest.Spec{Size: 9*mib + 512, BlockSize: mib, Blocks: map[int64]vhdxtest.Block{0: data, 3: data, 4: data, 9: data}, Order: []int64{4, 0, 3}}
	parent := mustOpen(t, vhdxtest.Build(parentSpec))
	child := mustOpen(t, vhdxtest.Build(vhdxtest.Spec{
		Size: 9*mib + 512, BlockSize: 2 * mib, DataWriteID: vhdxtest.ID(9), Parent: &vhdx.Parent{Linkage: parent.DataWriteID()},
		Blocks: map[int64]vhdxtest.Block{1: data, 2: {State: vhdxtest.Zero}, 3: {State: vhdxtest.Partial, Sectors: []int64{1}}},
	}))
	both, err := vhdx.Chain(child, parent)
	if err != nil {
		t.Fatal(err)
	}
	end := int64(9*mib + 512)
	for _, tt := range []struct {
		d    disk.Disk
		off  int64
		s, e int64
		err  error
	}{
		{parent, 0, 0, mib, nil},
		{parent, 1, 1, mib, nil},
		{parent, mib - 1, mib - 1, mib, nil},
		{parent, mib, 3 * mib, 5 * mib, nil},
		{parent, 5 * mib, 9 * mib, end, nil},
		{parent, end - 1, end - 1, end, nil},
		{parent, end, 0, 0, io.EOF},
		{parent, end + 1, 0, 0, io.EOF},
		{both, 0, 0, mib, nil},
		{both, mib, 2 * mib, 4 * mib, nil},
		{both, 4 * mib, 6 * mib, 8 * mib, nil},
		{both, 8 * mib, 9 * mib, end, nil},
		{both, end, 0, 0, io.EOF},
	} {
		s, e, err := tt.d.NextData(tt.off)
		if s != tt.s || e != tt.e || err != tt.err {
			t.Errorf("NextData(%d) = %d, %d, %v; want %d, %d, %v", tt.off, s, e, err, tt.s, tt.e, tt.err)
		}
	}
	if _, _, err := parent.NextData(-1); err == nil {
		t.Error("a negative offset is accepted")
	}
	if _, err := parent.ReadAt(make([]byte, 1), -1); err == nil {
		t.Error("a negative offset is accepted")
	}
}

func TestChainRefusesWrongParents(t *testing.T) {
	plain := func(id byte, sector int64) *vhdx.Image {
		return mustOpen(t, vhdxtest.Build(vhdxtest.Spec{Size: 4 * mib, DataWriteID: vhdxtest.ID(id), LogicalSector: sector}))
	}
	child := func(id, linkage byte) *vhdx.Image {
		return mustOpen(t, vhdxtest.Build(vhdxtest.Spec{Size: 4 * mib, DataWriteID: vhdxtest.ID(id),
			Parent: &vhdx.Parent{Linkage: vhdxtest.ID(linkage), AbsolutePath: `C:\vm\base.vhdx`}}))
	}
	loop := child(5, 5)
	var long []*vhdx.Image
	for range 300 {
		long = append(long, child(5, 5))
	}
	for name, images := range map[string][]*vhdx.Image{
		"missing":           {child(9, 3)},
		"of another id":     {child(9, 3), plain(4, 512)},
		"of other sectors":  {child(9, 3), plain(3, 4096)},
		"grandparent first": {child(9, 8), plain(3, 512), child(8, 3)},
		"itself":            {loop, loop},
		"grandparent gone":  {child(9, 8), child(8, 3)},
	} {
		_, err := vhdx.Chain(images[0], images[1:]...)
		var wrong *vhdx.ParentError
		if !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := vhdx.Chain(plain(1, 512), plain(2, 512)); err == nil {
		t.Error("a disk without a parent is put on one")
	}
	var unsupported *vhdx.UnsupportedError
	if _, err := vhdx.Chain(long[0], long[1:]...); !errors.As(err, &unsupported) {
		t.Errorf("chain of %d disks: %v", len(long), err)
	}
	if d, err := vhdx.Chain(plain(1, 512)); err != nil || d.Size() != 4*mib {
		t.Errorf("a disk alone: %v", err)
	}
}

// counting counts the reads of a file.
type counting struct {
	io.ReaderAt
	reads int
}

func (c *counting) ReadAt(p []byte, off int64) (int, error) {
	c.reads++
	return c.ReaderAt.ReadAt(p, off)
}

func TestSequentialReadsGoToTheFileAsOne(t *testing.T) {
	blocks := map[int64]vhdxtest.Block{}
	for b := range int64(16) {
		blocks[b] = vhdxtest.Block{State: vhdxtest.Present, Data: []byte{1}}
	}
	f := vhdxtest.Build(vhdxtest.Spec{Size: 16 * mib, BlockSize: mib, Blocks: blocks})
	c := &counting{ReaderAt: f}
	im, err := vhdx.Open(c, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, mib)
	read := func() {
		for off := int64(mib / 2); off+mib <= im.Size(); off += mib {
			if _, err := im.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
		}
	}
	read()
	c.reads = 0
	read()
	if c.reads != 15 {
		t.Errorf("15 reads of 1 MiB across blocks in a row took %d reads of the file", c.reads)
	}
	if allocs := testing.AllocsPerRun(10, read); allocs > 0 {
		t.Errorf("%v allocations in 15 reads", allocs)
	}
}

func TestCancelledReadsEnd(t *testing.T) {
	f := vhdxtest.Build(vhdxtest.Spec{Size: 4 * mib, Blocks: map[int64]vhdxtest.Block{0: {State: vhdxtest.Present}}})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := mustOpen(t, f).ReadAtContext(ctx, make([]byte, 10), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
