package vhdx_test

import (
	"io"
	"testing"

	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

// striped is a disk of 64 TiB in which of every period blocks of 2 MiB the first
// has data.
type striped struct{ period int64 }

func (striped) Size() int64 { return 64 << 40 }

func (striped) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	return len(p), nil
}

func (s striped) NextData(off int64) (start, end int64, err error) {
	if off >= s.Size() {
		return 0, 0, io.EOF
	}
	block := off / (2 * mib)
	if block%s.period != 0 {
		off, block = (block/s.period+1)*s.period*2*mib, (block/s.period+1)*s.period
	}
	if off >= s.Size() {
		return 0, 0, io.EOF
	}
	if s.period == 1 {
		return off, min(s.Size(), off+1<<30), nil
	}
	return off, (block + 1) * 2 * mib, nil
}

func benchmarkBAT(b *testing.B, period int64) {
	f := present(b, striped{period}, identity(2*mib))
	p := make([]byte, mib)
	b.SetBytes(mib)
	off := int64(0)
	for b.Loop() {
		if _, err := f.ReadAt(p, 3*mib+off); err != nil {
			b.Fatal(err)
		}
		off = (off + mib) % (256 * mib)
	}
}

func BenchmarkBATFull(b *testing.B)     { benchmarkBAT(b, 1) }
func BenchmarkBATEveryTwo(b *testing.B) { benchmarkBAT(b, 2) }
func BenchmarkBATSparse(b *testing.B)   { benchmarkBAT(b, 1000) }

// BenchmarkCount counts the blocks of a disk of 64 TiB that does not know them.
func BenchmarkCount(b *testing.B) {
	for b.Loop() {
		present(b, striped{1000}, identity(2*mib))
	}
}

// BenchmarkStat is what looking at a file costs: making it and its size.
func BenchmarkStat(b *testing.B) {
	id := identity(2 * mib)
	id.Allocated = 1000
	b.ReportAllocs()
	for b.Loop() {
		if present(b, striped{1000}, id).Size() == 0 {
			b.Fatal("empty")
		}
	}
}

func BenchmarkReadPresented(b *testing.B) {
	f := present(b, striped{2}, identity(2*mib))
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		if _, err := f.ReadAt(p, 260*mib+off); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(p))) % (1 << 40)
	}
}

func BenchmarkReadImage(b *testing.B) {
	blocks := map[int64]vhdxtest.Block{}
	for n := range int64(32) {
		blocks[n] = vhdxtest.Block{State: vhdxtest.Present, Data: make([]byte, 2*mib)}
	}
	im := mustOpen(b, vhdxtest.Build(vhdxtest.Spec{Size: 64 * mib, Blocks: blocks}))
	p := make([]byte, mib)
	b.SetBytes(mib)
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		if _, err := im.ReadAt(p, off); err != nil {
			b.Fatal(err)
		}
		off = (off + mib) % im.Size()
	}
}

// BenchmarkOpenHuge opens 64 TiB in blocks of 32 MiB, whose BAT is checked.
func BenchmarkOpenHuge(b *testing.B) {
	f := vhdxtest.Build(vhdxtest.Spec{Size: 64 << 40, BlockSize: 32 * mib, Blocks: map[int64]vhdxtest.Block{5: {State: vhdxtest.Present}}})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := vhdx.Open(f, f.Size()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkChainOfBitmaps(b *testing.B) {
	base := mustOpen(b, vhdxtest.Build(vhdxtest.Spec{Size: 64 * mib, DataWriteID: vhdxtest.ID(7)}))
	blocks := map[int64]vhdxtest.Block{}
	for n := range int64(32) {
		made := vhdxtest.Block{State: vhdxtest.Partial, Data: make([]byte, 2*mib)}
		for s := int64(0); s < 4096; s += 16 {
			made.Sectors = append(made.Sectors, s, s+1, s+2, s+3, s+4, s+5, s+6, s+7)
		}
		blocks[n] = made
	}
	top := mustOpen(b, vhdxtest.Build(vhdxtest.Spec{Size: 64 * mib, Blocks: blocks, Parent: &vhdx.Parent{Linkage: vhdxtest.ID(7)}}))
	d, err := vhdx.Chain(top, base)
	if err != nil {
		b.Fatal(err)
	}
	p := make([]byte, mib)
	b.SetBytes(mib)
	b.ReportAllocs()
	off := int64(0)
	for b.Loop() {
		if _, err := d.ReadAt(p, off); err != nil {
			b.Fatal(err)
		}
		off = (off + mib) % d.Size()
	}
}
