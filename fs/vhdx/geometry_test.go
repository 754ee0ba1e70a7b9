package vhdx

import "testing"

func TestBATIsInterleaved(t *testing.T) {
	for _, tt := range []struct {
		size, block, sector                         int64
		perBitmap, blocks, bitmaps, plain, children int64
	}{
		{512, mib, 512, 4096, 1, 1, 1, 4097},
		{mib, mib, 512, 4096, 1, 1, 1, 4097},
		{mib + 512, mib, 512, 4096, 2, 1, 2, 4097},
		{4096 * mib, mib, 512, 4096, 4096, 1, 4096, 4097},
		{4096*mib + 512, mib, 512, 4096, 4097, 2, 4098, 8194},
		{10 << 30, mib, 512, 4096, 10240, 3, 10242, 12291},
		{127 << 30, 32 * mib, 512, 128, 4064, 32, 4095, 4128},
		{64 << 40, 2 * mib, 512, 2048, 1 << 25, 1 << 14, 1<<25 + 1<<14 - 1, 1<<25 + 1<<14},
		{64 << 40, mib, 4096, 32768, 1 << 26, 1 << 11, 1<<26 + 1<<11 - 1, 1<<26 + 1<<11},
		{64 << 40, 256 * mib, 512, 16, 1 << 18, 1 << 14, 1<<18 + 1<<14 - 1, 1<<18 + 1<<14},
	} {
		g, err := newGeometry(tt.size, tt.block, tt.sector)
		if err != nil {
			t.Fatal(err)
		}
		if g.perBitmap != tt.perBitmap || g.blocks() != tt.blocks || g.bitmaps() != tt.bitmaps || g.entries(false) != tt.plain || g.entries(true) != tt.children {
			t.Errorf("%d bytes in blocks of %d: %+v: %d blocks, %d bitmaps, %d and %d entries", tt.size, tt.block, g, g.blocks(), g.bitmaps(), g.entries(false), g.entries(true))
		}
	}

	g, err := newGeometry(300*128*mib, 32*mib, 512) // 128 blocks to a bitmap
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ block, entry, bitmap, bit int64 }{
		{0, 0, 128, 0}, {1, 1, 128, 65536}, {127, 127, 128, 127 * 65536}, {128, 129, 257, 0}, {255, 256, 257, 127 * 65536}, {256, 258, 386, 0},
	} {
		if e, m, b := g.entryOf(tt.block), g.bitmapEntryOf(tt.block), g.firstBit(tt.block); e != tt.entry || m != tt.bitmap || b != tt.bit {
			t.Errorf("block %d: entry %d, bitmap's entry %d, bit %d; want %d, %d, %d", tt.block, e, m, b, tt.entry, tt.bitmap, tt.bit)
		}
		if got := g.firstBlockFrom(tt.entry); got != tt.block {
			t.Errorf("entry %d is said to be of block %d, want %d", tt.entry, got, tt.block)
		}
	}
	for entry, want := range map[int64]int64{128: 128, 257: 256, 386: 384} {
		if got := g.firstBlockFrom(entry); got != want {
			t.Errorf("behind the bitmap at entry %d comes block %d, want %d", entry, got, want)
		}
	}
}

func TestLayoutOfPresentedFiles(t *testing.T) {
	g, err := newGeometry(300*mib+512, mib, 512)
	if err != nil {
		t.Fatal(err)
	}
	l := layout{geometry: g, allocated: 7}
	if l.dataOff() != 4*mib || l.fileSize() != 11*mib {
		t.Errorf("data at %d, size %d", l.dataOff(), l.fileSize())
	}
	for _, tt := range []struct{ off, slot, within int64 }{
		{4 * mib, 0, 0}, {5*mib - 1, 0, mib - 1}, {5 * mib, 1, 0}, {11*mib - 1, 6, mib - 1}, {11 * mib, 7, 0},
	} {
		if slot, within := l.slotAt(tt.off); slot != tt.slot || within != tt.within || l.slotOff(slot)+within != tt.off {
			t.Errorf("offset %d: slot %d at %d", tt.off, slot, within)
		}
	}
	for _, tt := range []struct{ off, n, first, end int64 }{
		{0, 0, 0, 0}, {0, 1, 0, 1}, {0, 8, 0, 1}, {0, 9, 0, 2}, {7, 1, 0, 1}, {7, 2, 0, 2}, {8, 8, 1, 2},
		{8 * 300, 8, 300, 301}, {8 * 301, 8, 301, 301}, {8 * 300, mib, 300, 301}, {0, mib, 0, 301}, {mib - 8, 8, 301, 301},
	} {
		if first, end := l.batBlocks(layoutBATOff+tt.off, tt.n); first != tt.first || end != tt.end {
			t.Errorf("%d bytes at %d of the BAT: blocks %d to %d, want %d to %d", tt.n, tt.off, first, end, tt.first, tt.end)
		}
	}

	// The BAT of 64 TiB in blocks of 2 MiB has 1<<25 + 1<<14 - 1 entries.
	if g, err = newGeometry(64<<40, 2*mib, 512); err != nil {
		t.Fatal(err)
	}
	l = layout{geometry: g}
	if l.batBytes() != 257*mib {
		t.Errorf("the BAT is %d bytes long", l.batBytes())
	}
	last := l.batEntryOff(1<<25 - 1)
	if first, end := l.batBlocks(last, 8); first != 1<<25-1 || end != 1<<25 {
		t.Errorf("last entry: blocks %d to %d", first, end)
	}
	bitmap := l.batEntryOff(2048) - 8
	if first, end := l.batBlocks(bitmap, 8); first != 2048 || end != 2048 {
		t.Errorf("entry of a bitmap: blocks %d to %d", first, end)
	}
	if first, end := l.batBlocks(bitmap-8, 24); first != 2047 || end != 2049 {
		t.Errorf("entries round a bitmap's: blocks %d to %d", first, end)
	}
}
