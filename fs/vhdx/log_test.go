package vhdx_test

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

var logID = vhdxtest.ID(0x33)

// dirty is dynamic() with a log of the given entries one behind the other from
// at on. What their sequence, tail and sizes are is put in where they are zero.
func dirty(f *vhdxtest.File, at int64, entries ...vhdxtest.LogEntry) *vhdxtest.File {
	first := at
	for i, e := range entries {
		e.ID = logID
		if e.Sequence == 0 {
			e.Sequence = uint64(100 + i)
		}
		if e.Tail == 0 {
			e.Tail = uint32(first)
		}
		if e.Last == 0 {
			e.Last = uint64(f.Size())
		}
		at = vhdxtest.PutLog(f, at, e.Encode())
	}
	vhdxtest.SetLog(f, logID)
	return f
}

func sector(b byte) []byte {
	p := make([]byte, 4096)
	for i := range p {
		p[i] = b
	}
	return p
}

func entry(writes ...vhdxtest.Write) vhdxtest.LogEntry { return vhdxtest.LogEntry{Writes: writes} }

func TestLogReplaysWritesInTheirOrder(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 4))
		blocks := map[int64]vhdxtest.Block{}
		for b := range int64(4) {
			blocks[b] = vhdxtest.Block{State: vhdxtest.Present, Data: disktest.Random(seed+uint64(b), mib)}
		}
		f := vhdxtest.Build(vhdxtest.Spec{Size: 4 * mib, BlockSize: mib, Blocks: blocks})
		want := readAll(t, mustOpen(t, f))
		var entries []vhdxtest.LogEntry
		total := 0
		for range 1 + r.IntN(12) {
			var e vhdxtest.LogEntry
			for range r.IntN([]int{4, 300}[r.IntN(2)]) {
				off := r.Int64N(40) * 4096
				if r.IntN(3) == 0 {
					n := r.Int64N(12) * 4096
					e.Writes = append(e.Writes, vhdxtest.Write{Off: uint64(4*mib + off), Zeros: uint64(n)})
					clear(want[off : off+n])
					continue
				}
				if total++; total > 200 {
					break
				}
				data := disktest.Random(r.Uint64(), 4096)
				e.Writes = append(e.Writes, vhdxtest.Write{Off: uint64(4*mib + off), Data: data})
				copy(want[off:], data)
			}
			entries = append(entries, e)
		}
		dirty(f, 4096*r.Int64N(256), entries...)
		im := mustOpen(t, f)
		if !im.Dirty() {
			t.Error("it is not dirty")
		}
		sameBytes(t, readAll(t, im), want)
		for range 50 { // pieces that begin and end within sectors
			off := r.Int64N(200 << 10)
			p := make([]byte, r.IntN(20000))
			if _, err := im.ReadAt(p, off); err != nil {
				t.Fatal(err)
			}
			sameBytes(t, p, want[off:][:len(p)])
		}
	}
}

func TestLogFindsTheActiveEntries(t *testing.T) {
	at := func(b byte) vhdxtest.LogEntry {
		return entry(vhdxtest.Write{Off: 4 * mib, Data: sector(b)}) // 8 KiB
	}
	numbered := func(b byte, sequence uint64, tail uint32) vhdxtest.LogEntry {
		e := at(b)
		e.ID, e.Sequence, e.Tail, e.Last = logID, sequence, tail, 8*mib
		return e
	}
	for name, tt := range map[string]struct {
		put  func(f *vhdxtest.File)
		want byte // first byte of block 0; what a wrong choice writes differs
	}{
		"one entry, as Windows begins a session": {func(f *vhdxtest.File) { dirty(f, 0, at(9)) }, 9},
		"an empty entry":                         {func(f *vhdxtest.File) { dirty(f, 0, entry()) }, 0},
		"an entry that goes round the end":       {func(f *vhdxtest.File) { dirty(f, mib-4096, at(9)) }, 9},
		"whole entries behind the end":           {func(f *vhdxtest.File) { dirty(f, mib-12<<10, at(1), at(2), at(3), at(9)) }, 9},
		"the higher sequence of two runs": {func(f *vhdxtest.File) {
			dirty(f, 64<<10, at(9))
			vhdxtest.PutLog(f, 0, numbered(1, 7, 0).Encode())
		}, 9},
		"the lower run lies behind": {func(f *vhdxtest.File) {
			dirty(f, 64<<10, at(9))
			vhdxtest.PutLog(f, 128<<10, numbered(1, 7, 128<<10).Encode())
		}, 9},
		"a gap in the numbers": {func(f *vhdxtest.File) {
			dirty(f, 0, at(9))
			vhdxtest.PutLog(f, 8<<10, numbered(1, 50, 8<<10).Encode())
		}, 9},
		"entries before the tail are done with": {func(f *vhdxtest.File) {
			dirty(f, 0, entry(vhdxtest.Write{Off: 4*mib + 4096, Data: sector(1)}))
			e := numbered(9, 101, 8<<10)
			vhdxtest.PutLog(f, 8<<10, e.Encode())
		}, 9},
		"another log's entries": {func(f *vhdxtest.File) {
			dirty(f, 0, at(9))
			e := numbered(1, 101, 0)
			e.ID = vhdxtest.ID(1)
			vhdxtest.PutLog(f, 8<<10, e.Encode())
		}, 9},
		"a torn last entry": {func(f *vhdxtest.File) {
			dirty(f, 0, at(9), at(1))
			f.Put(vhdxtest.LogOff+8<<10+4096+100, 0xFF)
		}, 9},
		"a last entry with a sector of another": {func(f *vhdxtest.File) {
			dirty(f, 0, at(9))
			b := numbered(1, 101, 0).Encode()
			binary.LittleEndian.PutUint32(b[8188:], 100)
			vhdxtest.SealEntry(b)
			vhdxtest.PutLog(f, 8<<10, b)
		}, 9},
		"a last entry with a descriptor of another": {func(f *vhdxtest.File) {
			dirty(f, 0, at(9))
			b := numbered(1, 101, 0).Encode()
			binary.LittleEndian.PutUint64(b[64+24:], 100)
			vhdxtest.SealEntry(b)
			vhdxtest.PutLog(f, 8<<10, b)
		}, 9},
		"a higher run whose tail is overwritten": {func(f *vhdxtest.File) {
			dirty(f, 0, at(9))
			vhdxtest.PutLog(f, 64<<10, numbered(1, 900, 4096).Encode())
		}, 9},
	} {
		f := dynamic()
		tt.put(f)
		im, err := vhdx.Open(f, f.Size())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := readAll(t, im)
		if got[100] != tt.want {
			t.Errorf("%s: got %d, want %d", name, got[100], tt.want)
		}
		if strings.HasPrefix(name, "entries before") && got[4096] != 0 {
			t.Errorf("%s: and still they are replayed", name)
		}
	}
}

func TestLogMayMakeTheFileLonger(t *testing.T) {
	f := dynamic()
	table := f.Get(bat, 4096)
	binary.LittleEndian.PutUint64(table[8*4:], 8*mib|6) // block 4 behind the end
	dirty(f, 0, vhdxtest.LogEntry{Last: 8*mib + 4096, Flushed: 8 * mib, Writes: []vhdxtest.Write{
		{Off: bat, Data: table}, {Off: 8*mib + 4096, Data: sector(9)},
	}})
	im := mustOpen(t, f)
	got := readAll(t, im)
	if got[4*mib] != 0 || got[4*mib+4095] != 0 || got[4*mib+4096] != 9 || got[4*mib+8192] != 0 {
		t.Error("the block behind the end is wrong")
	}
	if f.Size() != 8*mib {
		t.Error("the file was changed")
	}
}

func TestLogThatZeroesTerabytesKeepsARange(t *testing.T) {
	f := dynamic()
	f.Truncate(100 << 40)
	dirty(f, 0, entry(vhdxtest.Write{Off: 4 * mib, Zeros: 100<<40 - 4*mib}, vhdxtest.Write{Off: 7 * mib, Data: sector(9)}))
	im, err := openBounded(t, f, 20*mib) // of which 13 are for finding overlaps
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, im); got[mib] != 0 || got[2*mib] != 0 || got[3*mib] != 9 {
		t.Error("the content is wrong")
	}
}

func TestHostileLogsAreRefused(t *testing.T) {
	type change = func(f *vhdxtest.File)
	withEntry := func(e vhdxtest.LogEntry) change { return func(f *vhdxtest.File) { dirty(f, 0, e) } }
	withWrite := func(w vhdxtest.Write) change { return withEntry(entry(w)) }
	const field = 8 << 10
	raw := func(patch func(b []byte)) change {
		return func(f *vhdxtest.File) {
			dirty(f, 0)
			e := entry(vhdxtest.Write{Off: 4 * mib, Data: sector(1)})
			e.ID, e.Sequence, e.Last = logID, 5, 8*mib
			b := append(e.Encode(), make([]byte, field)...)
			patch(b)
			vhdxtest.SealEntry(b[:field])
			vhdxtest.PutLog(f, 0, b)
		}
	}
	put32 := func(off int, n uint32) change {
		return raw(func(b []byte) { binary.LittleEndian.PutUint32(b[off:], n) })
	}
	long := func(length int64, fill change) change {
		return func(f *vhdxtest.File) {
			*f = *f.Clone()
			f.Truncate(8*mib + length)
			both(f, header1+68, le(uint64(length), 4)...)
			both(f, header1+72, le(8*mib, 8)...)
			vhdxtest.SetLog(f, logID)
			fill(f)
		}
	}
	for name, tt := range map[string]struct {
		change change
		want   string
		most   uint64
	}{
		"no entry":                   {func(f *vhdxtest.File) { dirty(f, 0) }, "no entry", 0},
		"4 GiB of log":               {long(4<<30-mib, func(*vhdxtest.File) {}), "more than 64 MiB", 0},
		"64 MiB of nothing":          {long(64*mib, func(*vhdxtest.File) {}), "no entry", 0},
		"sequence 0":                 {raw(func(b []byte) { clear(b[16:24]); clear(b[64+24 : 96]); clear(b[4096+4 : 4096+8]); clear(b[8188:8192]) }), "no entry", 0},
		"2^32-1 descriptors":         {put32(24, 1<<32-1), "no entry", 0},
		"2^31 descriptors":           {put32(24, 1<<31), "no entry", 0},
		"a descriptor too many":      {put32(24, 2), "no entry", 0},
		"length 0":                   {put32(8, 0), "no entry", 0},
		"length of one sector":       {put32(8, 4096), "no entry", 0},
		"length of 4 GiB":            {put32(8, 1<<32-4096), "no entry", 0},
		"length uneven":              {put32(8, 8191), "no entry", 0},
		"tail outside":               {put32(12, 1<<30), "no entry", 0},
		"tail uneven":                {put32(12, 1), "no entry", 0},
		"tail at nothing":            {put32(12, 4096), "no entry", 0},
		"another descriptor":         {raw(func(b []byte) { b[64] = 'D' }), "no entry", 0},
		"another data sector":        {raw(func(b []byte) { b[4096] = 'D' }), "no entry", 0},
		"zeros of 2^63":              {withWrite(vhdxtest.Write{Off: 4 * mib, Zeros: 1 << 63}), "ends at", 0},
		"zeros of 2^64-4096":         {withWrite(vhdxtest.Write{Off: 4 * mib, Zeros: 1<<64 - 4096}), "ends at", 0},
		"zeros uneven":               {withWrite(vhdxtest.Write{Off: 4 * mib, Zeros: 100}), "whole sectors", 0},
		"a write behind the end":     {withWrite(vhdxtest.Write{Off: 8 * mib, Data: sector(1)}), "ends at", 0},
		"a write at 2^64-4096":       {withWrite(vhdxtest.Write{Off: 1<<64 - 4096, Data: sector(1)}), "ends at", 0},
		"a write uneven":             {withWrite(vhdxtest.Write{Off: 4*mib + 1, Data: sector(1)}), "whole sectors", 0},
		"a write to the identifier":  {withWrite(vhdxtest.Write{Off: 0, Data: sector(1)}), "headers", 0},
		"a write to header 2":        {withWrite(vhdxtest.Write{Off: header2, Data: sector(1)}), "headers", 0},
		"zeros over everything":      {withWrite(vhdxtest.Write{Off: 0, Zeros: 8 * mib}), "headers", 0},
		"a write to the log":         {withWrite(vhdxtest.Write{Off: 2*mib - 4096, Data: sector(1)}), "into the log", 0},
		"zeros over the log":         {withWrite(vhdxtest.Write{Off: region1, Zeros: mib}), "into the log", 0},
		"zeros over the tables":      {withWrite(vhdxtest.Write{Off: region1, Zeros: 128 << 10}), "neither of the two", 0},
		"zeros over the metadata":    {withWrite(vhdxtest.Write{Off: metadata, Zeros: 4096}), "metadata", 0},
		"a wrong BAT":                {withWrite(vhdxtest.Write{Off: bat, Data: sector(0x46)}), "BAT", 0},
		"the file was longer":        {withEntry(vhdxtest.LogEntry{Flushed: 8*mib + 1}), "cut short", 0},
		"the file was 2^63 long":     {withEntry(vhdxtest.LogEntry{Flushed: 1 << 63}), "cut short", 0},
		"the file becomes 2^63 long": {withEntry(vhdxtest.LogEntry{Last: 1 << 63}), "become", 0},
		"the file becomes 2^64-1":    {withEntry(vhdxtest.LogEntry{Last: 1<<64 - 1}), "become", 0},
		"entries that are one another's tails": {func(f *vhdxtest.File) {
			dirty(f, 0, vhdxtest.LogEntry{Sequence: 5, Tail: 8192}, vhdxtest.LogEntry{Sequence: 9, Tail: 4096}, vhdxtest.LogEntry{Sequence: 3, Tail: 4096})
			vhdxtest.PutLog(f, 4096, make([]byte, 4096))
		}, "no entry", 0},
		"every sector an entry with a tail elsewhere": {long(16*mib, func(f *vhdxtest.File) {
			for n := range int64(4096) {
				e := vhdxtest.LogEntry{ID: logID, Sequence: uint64(n + 1), Tail: 16*mib - 4096}
				if n == 4095 {
					e.Sequence = 1
				}
				f.Put(8*mib+n*4096, e.Encode()...)
			}
			f.Put(8*mib+4095*4096, 0)
		}), "no entry", 0},
		"every sector an entry as long as the log": {long(16*mib, func(f *vhdxtest.File) {
			head := vhdxtest.LogEntry{ID: logID, Sequence: 1}.Encode()
			binary.LittleEndian.PutUint32(head[8:], 16*mib)
			for n := range int64(4096) {
				f.Put(8*mib+n*4096, head...)
			}
		}), "no entry", 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := dynamic()
			tt.change(f)
			if _, err := openBounded(t, f, 4*mib); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want one about %q", err, tt.want)
			}
		})
	}
}

func TestLongestLogIsReplayedInBoundedMemory(t *testing.T) {
	f := dynamic()
	f.Truncate(8*mib + 64*mib)
	both(f, header1+68, le(64*mib, 4)...)
	both(f, header1+72, le(8*mib, 8)...)
	vhdxtest.SetLog(f, logID)
	writes := make([]vhdxtest.Write, 15000)
	for i := range writes {
		writes[i] = vhdxtest.Write{Off: uint64(4*mib + i%1024*4096), Data: sector(byte(i))}
	}
	for range 10_000 {
		writes = append(writes, vhdxtest.Write{Off: 5 * mib, Zeros: 2 * mib})
	}
	e := vhdxtest.LogEntry{ID: logID, Sequence: 1, Last: uint64(f.Size()), Writes: writes}
	f.Put(8*mib, e.Encode()...)
	im, err := openBounded(t, f, 100*mib)
	if err != nil {
		t.Fatal(err)
	}
	got := readAll(t, im)
	if got[151*4096] != 151 || got[mib] != 0 || got[3*mib-1] != 0 || got[800*4096] != 800-768 {
		t.Error("the content is wrong")
	}
}
