package ntfs_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	iofs "io/fs"
	"runtime"
	"strings"
	"testing"
	"time"

	"vitrine/fs/disk/disktest"
	"vitrine/fs/ntfs"
)

var le = binary.LittleEndian

// patched returns a copy of a volume in which edit changed an MFT record, its
// fixups undone before and done again after.
func patched(t testing.TB, volume []byte, record int64, edit func(rec []byte)) []byte {
	t.Helper()
	b := bytes.Clone(volume)
	f := open(t, volume)
	mft, err := f.Extents("$MFT")
	if err != nil {
		t.Fatal(err)
	}
	const size = 1024
	off := record * size
	for _, e := range mft {
		if off >= e.Len {
			off -= e.Len
			continue
		}
		rec := b[e.Off+off:][:size]
		usa := int(le.Uint16(rec[4:]))
		for i := 1; i <= 2; i++ {
			copy(rec[i*512-2:i*512], rec[usa+2*i:])
		}
		edit(rec)
		for i := 1; i <= 2; i++ {
			copy(rec[usa+2*i:usa+2*i+2], rec[i*512-2:])
			copy(rec[i*512-2:i*512], rec[usa:usa+2])
		}
		return b
	}
	t.Fatalf("no record %d", record)
	return nil
}

// find returns an attribute of a record from its header on.
func find(t testing.TB, rec []byte, typ uint32) []byte {
	t.Helper()
	for a := rec[le.Uint16(rec[20:]):]; le.Uint32(a) != 0xFFFFFFFF; a = a[le.Uint32(a[4:]):] {
		if le.Uint32(a) == typ {
			return a
		}
	}
	t.Fatalf("no attribute %#x", typ)
	return nil
}

// readAll reads a file without believing its size.
func readAll(f *ntfs.FS, name string) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(file)
}

// touch uses everything of a volume and gives up at a limit of files.
func touch(f *ntfs.FS, limit int) {
	buf := make([]byte, 64<<10)
	iofs.WalkDir(f, ".", func(path string, d iofs.DirEntry, err error) error {
		if limit--; limit < 0 {
			return iofs.SkipAll
		}
		if d == nil {
			return nil
		}
		if info, err := d.Info(); err == nil {
			sys := info.Sys().(*ntfs.Sys)
			sys.Links()
			for _, s := range sys.Streams() {
				if file, err := f.Open(path + ":" + s); err == nil {
					file.Read(buf)
				}
			}
		}
		f.ReadLink(path)
		if file, err := f.Open(path); err == nil {
			defer file.Close()
			if r, ok := file.(io.ReaderAt); ok {
				r.ReadAt(buf, 0)
				info, _ := file.Stat()
				r.ReadAt(buf, max(0, info.Size()-int64(len(buf))))
				file.(interface {
					NextData(int64) (int64, int64, error)
				}).NextData(0)
			}
		}
		f.Extents(path)
		return nil
	})
	for _, n := range []string{"$MFT", "$Secure:$SDS", "$UpCase", "$Bitmap", "$LogFile"} {
		f.Extents(n)
		if file, err := f.Open(n); err == nil {
			file.Read(buf)
		}
	}
	n := 0
	for range f.Free(context.Background()) {
		if n++; n > 1000 {
			break
		}
	}
	f.HasShadowCopies()
}

func TestBytesBehindTheInitializedSizeAreZeros(t *testing.T) {
	v := volume(t, samples[1].file)
	const record, name = 35, "$Extend/$RmMetadata/$TxfLog/$TxfLogContainer00000000000000000002"
	want, err := iofs.ReadFile(open(t, v), name)
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, patched(t, v, record, func(rec []byte) { le.PutUint64(find(t, rec, 0x80)[56:], 5000) }))
	clear(want[5000:])
	got, err := iofs.ReadFile(f, name)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("differs at %d: %v", bytes.Compare(got, want), err)
	}
	file, err := f.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if start, end, err := file.(interface {
		NextData(int64) (int64, int64, error)
	}).NextData(0); start != 0 || end != 5000 || err != nil {
		t.Errorf("data in [%d,%d), %v", start, end, err)
	}
}

func TestDamageIsAnErrorOfTheFileThatHasIt(t *testing.T) {
	v := volume(t, samples[0].file)
	sub := int64(0)
	info, err := open(t, v).Stat("many_subdirs")
	if err != nil {
		t.Fatal(err)
	}
	sub = int64(info.Sys().(*ntfs.Sys).Inode())
	for _, tt := range []struct {
		name, path string
		record     int64
		edit       func(rec []byte)
	}{
		{"run outside of the volume", "sparse-file", 67, func(rec []byte) {
			a := find(t, rec, 0x80)
			copy(a[le.Uint16(a[32:]):], "\x31\x10\xff\xff\x7f\x00")
		}},
		{"negative run", "sparse-file", 67, func(rec []byte) {
			a := find(t, rec, 0x80)
			copy(a[le.Uint16(a[32:]):], "\x11\x10\x80\x00")
		}},
		{"size beyond the runs", "sparse-file", 67, func(rec []byte) {
			a := find(t, rec, 0x80)
			le.PutUint64(a[40:], 1<<40)
			le.PutUint64(a[48:], 1<<40)
			le.PutUint64(a[56:], 1<<40)
		}},
		{"size beyond all sense", "sparse-file", 67, func(rec []byte) { le.PutUint64(find(t, rec, 0x80)[48:], 1<<63) }},
		{"attribute of no length", "1000-bytes-file", 66, func(rec []byte) { le.PutUint32(find(t, rec, 0x10)[4:], 0) }},
		{"value outside of its attribute", "file-with-12345", 65, func(rec []byte) { le.PutUint32(find(t, rec, 0x80)[16:], 1<<31) }},
		{"record not in use", "empty-file", 64, func(rec []byte) { rec[22] = 0 }},
		{"record used anew", "empty-file", 64, func(rec []byte) { rec[16]++ }},
		{"record that belongs to another", "empty-file", 64, func(rec []byte) { rec[32] = 66 }},
		{"attribute list that leads to itself", "empty-file", 64, func(rec []byte) {
			a := find(t, rec, 0x10)
			le.PutUint32(a, 0x20)
		}},
		{"index entries without an end", "many_subdirs/17", sub, func(rec []byte) { le.PutUint32(find(t, rec, 0x90)[32+16:], 1<<30) }},
		{"index tree that leads in circles", "many_subdirs/17", sub, func(rec []byte) {
			a := find(t, rec, 0x90)
			root := a[le.Uint16(a[20:]):]
			for e := root[32:]; ; e = e[le.Uint16(e[8:]):] {
				le.PutUint64(e[le.Uint16(e[8:])-8:], 1<<40)
				if e[12]&2 != 0 {
					break
				}
			}
		}},
		{"index blocks of an odd size", "many_subdirs/17", sub, func(rec []byte) {
			a := find(t, rec, 0x90)
			le.PutUint32(a[le.Uint16(a[20:])+8:], 1000)
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, patched(t, v, tt.record, tt.edit))
			b, err := readAll(f, tt.path)
			if err == nil {
				t.Errorf("%d bytes were read", len(b))
			}
			if tt.record == sub {
				_, err = f.Stat(tt.path)
			}
			var d *ntfs.DamageError
			if !errors.As(err, &d) {
				t.Errorf("error %v does not say where the damage is", err)
			}
			if got, err := iofs.ReadFile(f, "$AttrDef"); len(got) != 2560 || err != nil {
				t.Errorf("another file: %d bytes, %v", len(got), err)
			}
			touch(f, 1000)
		})
	}
}

func TestTornIndexBlocksHideOnlyTheirNames(t *testing.T) {
	v := bytes.Clone(volume(t, samples[0].file))
	at := bytes.Index(v, []byte("INDX"))
	for n := 0; n < 4; n++ { // any but the first, which is the root's or of $Extend
		at += 4 + bytes.Index(v[at+4:], []byte("INDX"))
	}
	v[at+510] ^= 0xFF
	f := open(t, v)
	all, err := f.ReadDir("many_subdirs")
	var d *ntfs.DamageError
	if !errors.As(err, &d) || d.Off != int64(at) || !strings.Contains(d.What, "torn") || len(all) < 300 || len(all) >= 512 {
		t.Errorf("%d entries, error %v, block at %d", len(all), err, at)
	}
}

func TestStateOfAVolumeIsTold(t *testing.T) {
	v := volume(t, samples[2].file)
	if ok, why := open(t, v).Consistent(); !ok {
		t.Errorf("a clean volume: %s", why)
	}
	logAt := func() int {
		e, err := open(t, v).Extents("$LogFile")
		if err != nil {
			t.Fatal(err)
		}
		return int(e[0].Off)
	}()
	for _, tt := range []struct {
		name, word string
		edit       func(b []byte) []byte
	}{
		{"dirty", "dirty", func(b []byte) []byte {
			return patched(t, b, 3, func(rec []byte) { a := find(t, rec, 0x70); a[le.Uint16(a[20:])+10] |= 1 })
		}},
		{"log in use", "$LogFile", func(b []byte) []byte {
			for _, page := range []int{0, 4096} {
				p := b[logAt+page:]
				area := p[le.Uint16(p[24:]):]
				le.PutUint16(area[12:], 0)
				le.PutUint16(area[14:], le.Uint16(area[14:])&^2)
			}
			return b
		}},
		{"log damaged", "$LogFile", func(b []byte) []byte { clear(b[logAt : logAt+8192]); return b }},
		{"boot sector lost", "boot sector", func(b []byte) []byte { clear(b[:512]); return b }},
		{"cut off", "cut off", func(b []byte) []byte { return b[:len(b)-100_000] }},
		{"first record lost", "$MFTMirr", func(b []byte) []byte {
			e, err := open(t, b).Extents("$MFT")
			if err != nil {
				t.Fatal(err)
			}
			clear(b[e[0].Off : e[0].Off+1024])
			return b
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := open(t, tt.edit(bytes.Clone(v)))
			if ok, why := f.Consistent(); ok || !strings.Contains(why, tt.word) || len(f.Notes()) == 0 {
				t.Errorf("consistent %v: %q, notes %q", ok, why, f.Notes())
			}
			if got, err := iofs.ReadFile(f, "$AttrDef"); len(got) != 2560 || err != nil {
				t.Errorf("a file: %d bytes, %v", len(got), err)
			}
		})
	}
}

func TestBitmapsThatContradictAreNotTrusted(t *testing.T) {
	v := bytes.Clone(volume(t, samples[2].file))
	e, err := open(t, v).Extents("$Bitmap")
	if err != nil {
		t.Fatal(err)
	}
	for i := range v[e[0].Off : e[0].Off+100] {
		v[e[0].Off+int64(i)] = 0
	}
	for _, err := range open(t, v).Free(t.Context()) {
		if err == nil {
			t.Error("free space of a bitmap that frees $MFT")
		}
		break
	}
	if _, err := open(t, v).Extents("$LogFile"); err == nil {
		t.Error("extents that the bitmap says are free")
	}
}

func TestShadowCopiesAreSeen(t *testing.T) {
	v := bytes.Clone(volume(t, samples[2].file))
	if open(t, v).HasShadowCopies() {
		t.Error("a volume without shadow copies has some")
	}
	id := "\x6B\x87\x08\x38\x76\xC1\x48\x4E\xB7\xAE\x04\x04\x6E\x6C\xC7\x52"
	copy(v[0x1E00:], id)
	const at = 4 << 20
	le.PutUint64(v[0x1E00+48:], at)
	clear(v[at : at+16384])
	copy(v[at:], id)
	if open(t, v).HasShadowCopies() {
		t.Error("an empty catalogue has shadow copies")
	}
	le.PutUint64(v[at+256:], 2)
	if !open(t, v).HasShadowCopies() {
		t.Error("a catalogue with a store has none")
	}
}

func TestClustersOfTwoMiBAreUnderstood(t *testing.T) {
	b := disktest.File(t, "dissect.ntfs/boot_2m.bin.gz")
	if !ntfs.Probe(bytes.NewReader(b), int64(len(b))) {
		t.Error("not recognized")
	}
	b = bytes.Clone(b)
	b[13] = 243 // 4 MiB
	if ntfs.Probe(bytes.NewReader(b[:1000]), 1000) {
		t.Error("clusters of 4 MiB were taken")
	}
}

// FuzzVolume changes bytes of a real volume and reads all of it.
func FuzzVolume(f *testing.F) {
	v := volume(f, samples[0].file)
	image := open(f, v)
	mft, err := image.Extents("$MFT")
	if err != nil {
		f.Fatal(err)
	}
	for _, rec := range []int64{0, 3, 5, 6, 10, 64, 65, 66, 67, 68} {
		for _, at := range []int64{20, 60, 100, 200, 300} {
			f.Add(mft[0].Off+rec*1024+at, []byte{0xFF, 0x00, 0x80}, int64(0x30), []byte{1})
		}
	}
	for at := int64(0); ; at += 4 {
		i := bytes.Index(v[at:], []byte("INDX"))
		if i < 0 {
			break
		}
		at += int64(i)
		f.Add(at+24, []byte{0xF0}, at+100, []byte{0xFF, 0xFF})
	}
	f.Fuzz(func(t *testing.T, at1 int64, b1 []byte, at2 int64, b2 []byte) {
		b := bytes.Clone(v)
		for _, x := range []struct {
			at int64
			b  []byte
		}{{at1, b1}, {at2, b2}} {
			if x.at >= 0 && x.at < int64(len(b)) {
				copy(b[x.at:], x.b)
			}
		}
		began := time.Now()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		fs, err := ntfs.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		touch(fs, 60)
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 2<<30 {
			t.Errorf("%d bytes were allocated", used)
		}
		if d := time.Since(began); d > 20*time.Second {
			t.Errorf("took %v", d)
		}
	})
}
