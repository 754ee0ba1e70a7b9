package vhdx_test

import (
	"bytes"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

// openBounded opens a file that may be made to harm, and fails when that takes
// much memory or does not end.
func openBounded(t *testing.T, f *vhdxtest.File, most uint64) (*vhdx.Image, error) {
	t.Helper()
	type result struct {
		im  *vhdx.Image
		err error
	}
	done := make(chan result, 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	go func() {
		im, err := vhdx.Open(f, f.Size())
		done <- result{im, err}
	}()
	select {
	case r := <-done:
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > most {
			t.Errorf("%d KiB were allocated", used>>10)
		}
		return r.im, r.err
	case <-time.After(30 * time.Second):
		t.Fatal("it does not end")
		return nil, nil
	}
}

const (
	header1, header2 = vhdxtest.HeaderOff1, vhdxtest.HeaderOff2
	region1, region2 = vhdxtest.RegionOff1, vhdxtest.RegionOff2
	bat              = vhdxtest.BATOff
	metadata         = vhdxtest.MetadataOff
)

// dynamic has its blocks 0 to 3 at 4, 5, 6 and 7 MiB.
func dynamic() *vhdxtest.File {
	blocks := map[int64]vhdxtest.Block{}
	for b := range int64(4) {
		blocks[b] = vhdxtest.Block{State: vhdxtest.Present, Data: []byte{byte(b)}}
	}
	return vhdxtest.Build(vhdxtest.Spec{Size: 8 * mib, BlockSize: mib, Blocks: blocks})
}

// child has block 0 at 4 MiB, its bitmap at 5 MiB and block 1 at 6 MiB.
func child(keys ...vhdxtest.KeyValue) *vhdxtest.File {
	f := vhdxtest.Build(vhdxtest.Spec{Size: 8 * mib, BlockSize: mib, Parent: &vhdx.Parent{Linkage: vhdxtest.ID(7)}, Blocks: map[int64]vhdxtest.Block{
		0: {State: vhdxtest.Partial, Sectors: []int64{1}}, 1: {State: vhdxtest.Present},
	}})
	if keys != nil {
		putLocator(f, vhdxtest.Locator(keys...))
	}
	return f
}

func putLocator(f *vhdxtest.File, b []byte) {
	f.Put(vhdxtest.ItemOff(5), make([]byte, 64<<10)...)
	f.Put32(metadata+32+5*32+20, uint32(len(b)))
	f.Put(vhdxtest.ItemOff(5), b...)
}

// both changes both headers or region tables alike.
func both(f *vhdxtest.File, off int64, p ...byte) {
	second := int64(header2 - header1)
	if off >= region1 {
		second = region2 - region1
	}
	f.Put(off, p...)
	f.Put(off+second, p...)
	f.Seal()
}

func le(n uint64, width int) []byte {
	b := make([]byte, width)
	for i := range b {
		b[i] = byte(n >> (8 * i))
	}
	return b
}

var linkage = vhdxtest.KeyValue{Key: "parent_linkage", Value: "{" + vhdxtest.ID(7).String() + "}"}

// hostile lists files that must be refused: what is changed, and a part of what
// the error has to say.
func hostile() map[string]struct {
	file *vhdxtest.File
	want string
} {
	cases := map[string]struct {
		file *vhdxtest.File
		want string
	}{}
	add := func(name, want string, file *vhdxtest.File) {
		cases[name] = struct {
			file *vhdxtest.File
			want string
		}{file, want}
	}
	change := func(name, want string, change func(f *vhdxtest.File)) {
		f := dynamic()
		change(f)
		add(name, want, f)
	}
	changeChild := func(name, want string, change func(f *vhdxtest.File)) {
		f := child()
		change(f)
		add(name, want, f)
	}

	for _, n := range []int64{0, 1, 519, 520, 65535, 65536, mib - 1} {
		f := dynamic()
		f.Truncate(n)
		want := "damaged file"
		if n < 520 {
			want = "not a vhdx file"
		}
		add(fmt.Sprintf("cut to %d bytes", n), want, f)
	}
	change("cut after its first MiB", "log of", func(f *vhdxtest.File) { f.Truncate(mib) })
	change("cut within the BAT", "ends behind", func(f *vhdxtest.File) { f.Truncate(bat + 100) })
	change("cut within a block", "end behind", func(f *vhdxtest.File) { f.Truncate(f.Size() - 1) })
	change("signature", "not a vhdx file", func(f *vhdxtest.File) { f.Put(7, 'E') })

	change("no valid header", "neither of the two", func(f *vhdxtest.File) { f.Put(header1, 'H'); f.Put(header2+4095, 1) })
	change("two current headers", "two different headers", func(f *vhdxtest.File) { f.Put64(header1+8, 8); f.Put(header1+16, 0x99); f.Seal() })
	change("version 2", "version 2", func(f *vhdxtest.File) { both(f, header1+66, 2) })
	change("log version 1", "log version 1", func(f *vhdxtest.File) { f.Put16(header2+64, 1); vhdxtest.SetLog(f, vhdxtest.ID(5)) })
	change("log length 0", "whole MiB", func(f *vhdxtest.File) { both(f, header1+68, le(0, 4)...) })
	change("log length uneven", "whole MiB", func(f *vhdxtest.File) { both(f, header1+68, le(mib+4096, 4)...) })
	change("log behind the end", "ends behind", func(f *vhdxtest.File) { both(f, header1+72, le(1<<40, 8)...) })
	change("log beyond 2^63", "ends behind", func(f *vhdxtest.File) { both(f, header1+72, le(0xFFFFFFFFFFF00000, 8)...) })
	change("log over the end", "ends behind", func(f *vhdxtest.File) { both(f, header1+68, le(64*mib, 4)...) })
	change("log in the headers", "whole MiB", func(f *vhdxtest.File) { both(f, header1+72, le(0, 8)...) })
	change("log in the BAT", "overlap", func(f *vhdxtest.File) { both(f, header1+72, le(bat, 8)...) })

	change("no region table", "neither of the two", func(f *vhdxtest.File) { f.Put(region1+60000, 1); f.Put(region2, 'R') })
	change("2^31 regions", "entries", func(f *vhdxtest.File) { both(f, region1+8, le(1<<31, 4)...) })
	change("2048 regions", "entries", func(f *vhdxtest.File) { both(f, region1+8, le(2048, 4)...) })
	change("one region", "missing", func(f *vhdxtest.File) { both(f, region1+8, le(1, 4)...) })
	change("a region twice", "twice", func(f *vhdxtest.File) { both(f, region1+48, f.Get(region1+16, 16)...) })
	change("a required unknown region", "requires", func(f *vhdxtest.File) {
		both(f, region1+8, 3)
		both(f, region1+80, append(bytes.Repeat([]byte{9}, 16), append(le(7*mib, 8), append(le(mib, 4), 1)...)...)...)
	})
	change("regions that overlap", "overlap", func(f *vhdxtest.File) { both(f, region1+48+16, le(bat, 8)...) })
	change("BAT length 0", "whole MiB", func(f *vhdxtest.File) { both(f, region1+16+24, le(0, 4)...) })
	change("BAT in the headers", "whole MiB", func(f *vhdxtest.File) { both(f, region1+16+16, le(0, 8)...) })
	change("BAT unaligned", "whole MiB", func(f *vhdxtest.File) { both(f, region1+16+16, le(bat+4096, 8)...) })
	change("BAT behind the end", "ends behind", func(f *vhdxtest.File) { both(f, region1+16+16, le(1<<40, 8)...) })
	change("BAT beyond 2^63", "ends behind", func(f *vhdxtest.File) { both(f, region1+16+16, le(0xFFFFFFFFFFF00000, 8)...) })
	change("BAT of 4 GiB", "ends behind", func(f *vhdxtest.File) { both(f, region1+16+24, le(0xFFF00000, 4)...) })
	change("BAT too short", "needs", func(f *vhdxtest.File) { f.Put64(vhdxtest.ItemOff(1), 1<<40) })

	change("metadata signature", "signature", func(f *vhdxtest.File) { f.Put(metadata, 'M') })
	change("65535 items", "entries", func(f *vhdxtest.File) { f.Put16(metadata+10, 65535) })
	change("no items", "missing", func(f *vhdxtest.File) { f.Put16(metadata+10, 0) })
	change("item in the table", "fit", func(f *vhdxtest.File) { f.Put32(metadata+32+16, 32) })
	change("item behind the region", "fit", func(f *vhdxtest.File) { f.Put32(metadata+32+16, mib-4) })
	change("item of 2^32-1 bytes", "fit", func(f *vhdxtest.File) { f.Put32(metadata+32+20, 0xFFFFFFFF) })
	change("item far away", "fit", func(f *vhdxtest.File) { f.Put32(metadata+32+16, 0xFFFFFFFF) })
	change("item of other length", "bytes", func(f *vhdxtest.File) { f.Put32(metadata+32+20, 7) })
	change("item without content", "bytes", func(f *vhdxtest.File) { f.Put64(metadata+32+16, 0) })
	change("items that overlap", "overlap", func(f *vhdxtest.File) { f.Put32(metadata+64+16, uint32(vhdxtest.ItemOff(0)-metadata)) })
	change("an item twice", "twice", func(f *vhdxtest.File) { f.Put(metadata+64, f.Get(metadata+32, 16)...) })
	change("no disk size", "missing", func(f *vhdxtest.File) { f.Put(metadata+64, 0); f.Put32(metadata+64+24, 0) })
	change("a required unknown item", "requires", func(f *vhdxtest.File) { f.Put(metadata+64, 0) })
	change("a required user item", "requires", func(f *vhdxtest.File) {
		vhdxtest.AddItem(f, vhdxtest.ID(9).String(), 5, []byte{1})
	})
	change("1025 user items", "user items", func(f *vhdxtest.File) {
		for n := range 1025 {
			f.Put(metadata+32+int64(n+5)*32, append(le(uint64(n), 16), append(le(0, 8), 1)...)...)
		}
		f.Put16(metadata+10, 1030)
	})
	for _, n := range []uint64{0, 1, 512 << 10, 3 * mib, 512 * mib, 1 << 31} {
		change(fmt.Sprintf("block size %d", n), "block size", func(f *vhdxtest.File) { f.Put32(vhdxtest.ItemOff(0), uint32(n)) })
	}
	for _, n := range []uint32{0, 1, 513, 1024, 8192, 0x80000200} {
		change(fmt.Sprintf("logical sector %d", n), "logical sector", func(f *vhdxtest.File) { f.Put32(vhdxtest.ItemOff(3), n) })
		change(fmt.Sprintf("physical sector %d", n), "physical sector", func(f *vhdxtest.File) { f.Put32(vhdxtest.ItemOff(4), n) })
	}
	for _, n := range []uint64{0, 1, 8*mib + 511, 64<<40 + 512, 1 << 63, 0xFFFFFFFFFFFFFE00} {
		change(fmt.Sprintf("virtual size %d", n), "virtual size", func(f *vhdxtest.File) { f.Put64(vhdxtest.ItemOff(1), n) })
	}

	for _, state := range []uint64{4, 5} {
		change(fmt.Sprintf("state %d", state), "state", func(f *vhdxtest.File) { f.Put64(bat, 4*mib|state) })
	}
	change("block in the headers", "overlap", func(f *vhdxtest.File) { f.Put64(bat, 0|6) })
	change("block in the log", "overlap", func(f *vhdxtest.File) { f.Put64(bat, mib|6) })
	change("block in the metadata", "overlap", func(f *vhdxtest.File) { f.Put64(bat, 2*mib|6) })
	change("block in the BAT", "overlap", func(f *vhdxtest.File) { f.Put64(bat, 3*mib|6) })
	change("two blocks in one place", "another block", func(f *vhdxtest.File) { f.Put64(bat, 5*mib|6) })
	change("block behind the end", "end behind", func(f *vhdxtest.File) { f.Put64(bat, 8*mib|6) })
	change("block beyond 2^63", "end behind", func(f *vhdxtest.File) { f.Put64(bat, 0xFFFFFFFFFFF00000|6) })
	change("block unaligned", "reserved bits", func(f *vhdxtest.File) { f.Put64(bat, 4*mib|512<<3|6) })
	change("partial block without a parent", "state 7", func(f *vhdxtest.File) { f.Put64(bat, 4*mib|7) })
	add("blocks that overlap by half", "another block", func() *vhdxtest.File {
		f := vhdxtest.Build(vhdxtest.Spec{Size: 8 * mib, BlockSize: 2 * mib, Blocks: map[int64]vhdxtest.Block{
			0: {State: vhdxtest.Present}, 1: {State: vhdxtest.Present}, 2: {State: vhdxtest.Present}}})
		f.Put64(bat, 5*mib|6)
		return f
	}())
	bitmapEntry := int64(bat + 8*4096)
	changeChild("partial block without a bitmap", "bitmap", func(f *vhdxtest.File) { f.Put64(bitmapEntry, 0) })
	for _, state := range []uint64{1, 2, 3, 4, 5, 7} {
		changeChild(fmt.Sprintf("bitmap state %d", state), "bitmap", func(f *vhdxtest.File) { f.Put64(bitmapEntry, 5*mib|state) })
	}
	changeChild("bitmap behind the end", "end behind", func(f *vhdxtest.File) { f.Put64(bitmapEntry, 7*mib|6) })
	changeChild("bitmap in a block", "another block", func(f *vhdxtest.File) { f.Put64(bitmapEntry, 6*mib|6) })

	changeChild("parent without a locator", "locator", func(f *vhdxtest.File) { f.Put16(metadata+10, 5) })
	changeChild("locator without a parent", "locator", func(f *vhdxtest.File) { f.Put32(vhdxtest.ItemOff(0)+4, 0) })
	changeChild("65535 keys", "keys", func(f *vhdxtest.File) { f.Put16(vhdxtest.ItemOff(5)+18, 65535) })
	changeChild("key far away", "key 0", func(f *vhdxtest.File) { f.Put32(vhdxtest.ItemOff(5)+20, 0xFFFFFFF0) })
	changeChild("value far away", "value 0", func(f *vhdxtest.File) { f.Put32(vhdxtest.ItemOff(5)+24, 4000) })
	changeChild("key of odd length", "odd", func(f *vhdxtest.File) { f.Put16(vhdxtest.ItemOff(5)+28, 27) })
	changeChild("value of odd length", "odd", func(f *vhdxtest.File) { f.Put16(vhdxtest.ItemOff(5)+30, 75) })
	changeChild("another kind of locator", "unknown type", func(f *vhdxtest.File) { f.Put(vhdxtest.ItemOff(5), 0) })
	changeChild("short locator", "19 bytes", func(f *vhdxtest.File) { f.Put32(metadata+32+5*32+20, 19) })
	changeChild("empty locator", "0 bytes", func(f *vhdxtest.File) { f.Put64(metadata+32+5*32+16, 0) })
	add("no linkage", "parent_linkage", child(vhdxtest.KeyValue{Key: "relative_path", Value: "x.vhdx"}))
	add("linkage without sense", "parent_linkage", child(vhdxtest.KeyValue{Key: "parent_linkage", Value: "x"}))
	add("linkage 2 without sense", "parent_linkage2", child(linkage, vhdxtest.KeyValue{Key: "parent_linkage2", Value: "x"}))
	add("linkage twice", "twice", child(linkage, linkage))
	return cases
}

func TestHostileFilesAreRefused(t *testing.T) {
	for name, tt := range hostile() {
		t.Run(name, func(t *testing.T) {
			_, err := openBounded(t, tt.file, 4*mib)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got error %v, want one about %q", err, tt.want)
			}
			var damage *vhdx.CorruptError
			var unsupported *vhdx.UnsupportedError
			if !errors.As(err, &damage) && !errors.As(err, &unsupported) && !errors.Is(err, vhdx.ErrFormat) {
				t.Errorf("the error %q has no type", err)
			}
			if vhdx.Validate(tt.file, tt.file.Size()) == nil {
				t.Error("Validate accepts it")
			}
		})
	}
}

func TestOddFilesAreRead(t *testing.T) {
	for name, change := range map[string]func(f *vhdxtest.File){
		"nothing changed":               func(*vhdxtest.File) {},
		"two equal headers":             func(f *vhdxtest.File) { f.Put(header1, f.Get(header2, 4096)...) },
		"only header 1":                 func(f *vhdxtest.File) { f.Put(header2, 0) },
		"only header 2":                 func(f *vhdxtest.File) { f.Put(header1, 0) },
		"the highest sequence":          func(f *vhdxtest.File) { f.Put64(header1+8, 0); f.Put64(header2+8, 1<<64-1); f.Seal() },
		"only region table 1":           func(f *vhdxtest.File) { f.Put(region2+5, 0) },
		"only region table 2":           func(f *vhdxtest.File) { f.Put(region1+60000, 7) },
		"an unknown optional item":      func(f *vhdxtest.File) { vhdxtest.AddItem(f, vhdxtest.ID(9).String(), 0, []byte{1}) },
		"a user item with a known name": func(f *vhdxtest.File) { vhdxtest.AddItem(f, "2fa54224-cd1b-4876-b211-5dbed83bf4b8", 1, []byte{1}) },
		"a zero block with an offset":   func(f *vhdxtest.File) { f.Put64(bat+8*5, 4*mib|2) },
		"an unknown optional region": func(f *vhdxtest.File) {
			f.Truncate(9 * mib)
			both(f, region1+8, 3)
			both(f, region1+80, append(bytes.Repeat([]byte{9}, 16), append(le(8*mib, 8), le(mib, 4)...)...)...)
		},
	} {
		f := dynamic()
		change(f)
		im, err := vhdx.Open(f, f.Size())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := readAll(t, im); got[3*mib] != 3 || bytes.Count(got, []byte{0}) != len(got)-3 {
			t.Errorf("%s: the content is wrong", name)
		}
	}
}

func TestLastBlockMayEndWithItsDisk(t *testing.T) {
	f := vhdxtest.Build(vhdxtest.Spec{Size: mib + 4096, BlockSize: mib, Blocks: map[int64]vhdxtest.Block{1: {State: vhdxtest.Present, Data: []byte{7}}}})
	f.Truncate(4*mib + 4096)
	if got := readAll(t, mustOpen(t, f)); got[mib] != 7 {
		t.Error("the content is wrong")
	}
	if err := vhdx.Validate(f, f.Size()); err == nil {
		t.Error("Validate accepts a file that does not end on a MiB")
	}
	f.Truncate(4*mib + 4095)
	if _, err := vhdx.Open(f, f.Size()); err == nil {
		t.Error("a file that lacks a byte of the disk is accepted")
	}
}

// The BAT of 64 TiB in blocks of 1 MiB is half a GiB long: it is not read when
// the file is opened, and every entry is checked when it is used.
func TestHugeBATIsReadInPieces(t *testing.T) {
	spec := vhdxtest.Spec{Size: 64 << 40, BlockSize: mib, Blocks: map[int64]vhdxtest.Block{
		0: {State: vhdxtest.Present, Data: []byte{1}}, 1 << 25: {State: vhdxtest.Present, Data: []byte{2}}, 1<<26 - 1: {State: vhdxtest.Present, Data: []byte{3}},
	}}
	f := vhdxtest.Build(spec)
	im, err := openBounded(t, f, 4*mib)
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 1)
	for _, b := range []int64{0, 1 << 25, 1<<26 - 1} {
		if _, err := im.ReadAt(p, b*mib); err != nil || p[0] != spec.Blocks[b].Data[0] {
			t.Errorf("block %d: %v, %v", b, p, err)
		}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for r := range int64(500) {
		if _, err := im.ReadAt(p, r*100<<30); err != nil {
			t.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(im)
	if after.HeapAlloc > before.HeapAlloc+4*mib {
		t.Errorf("reading keeps %d KiB", (after.HeapAlloc-before.HeapAlloc)>>10)
	}

	f.Put64(spec.BATEntryOff(5), 6*mib|5)
	f.Put64(spec.BATEntryOff(1000), 1<<50|6)
	im = mustOpen(t, f)
	for _, b := range []int64{5, 1000} {
		var damage *vhdx.CorruptError
		if _, err := im.ReadAt(p, b*mib); !errors.As(err, &damage) || damage.Off != spec.BATEntryOff(b) {
			t.Errorf("block %d: %v", b, err)
		}
	}
	if _, err := im.ReadAt(p, 6*mib); err != nil {
		t.Errorf("a block that is not damaged: %v", err)
	}
}

func TestBaseNamesAreSafe(t *testing.T) {
	for path, want := range map[string]string{
		`.\base.vhdx`:             "base.vhdx",
		`..\..\x\base 1.vhdx`:     "base 1.vhdx",
		`C:\Windows\System32\cmd`: "cmd",
		`\\server\share\a.vhdx`:   "a.vhdx",
		`\\?\Volume{26a21bda-a627-11d7-9931-806e6f6e6963}\d\b.avhdx`: "b.avhdx",
		`\\.\PhysicalDrive0`:      "PhysicalDrive0",
		`/etc/passwd`:             "passwd",
		`..`:                      "",
		`C:\x\..`:                 "",
		`C:\x\`:                   "",
		`C:base.vhdx`:             "",
		`a.vhdx:stream`:           "",
		"a\x00b.vhdx":             "",
		"a\nb.vhdx":               "",
		`NUL`:                     "",
		`x\con.vhdx`:              "",
		`com1.vhdx`:               "",
		`LPT9 .x`:                 "",
		`com10.vhdx`:              "com10.vhdx",
		`complete.vhdx`:           "complete.vhdx",
		`base.vhdx.`:              "",
		`base.vhdx `:              "",
		strings.Repeat("x", 1000): "",
		`Дисk–1.vhdx`:             "Дисk–1.vhdx",
	} {
		got := strings.Join(vhdx.Parent{RelativePath: path}.BaseNames(), "|")
		if got != want {
			t.Errorf("%q gives %q, want %q", path, got, want)
		}
	}
	p := vhdx.Parent{RelativePath: `.\New.vhdx`, VolumePath: `\\?\Volume{x}\NEW.VHDX`, AbsolutePath: `C:\old.vhdx`}
	if got := strings.Join(p.BaseNames(), "|"); got != "New.vhdx|old.vhdx" {
		t.Errorf("names %q", got)
	}
}
