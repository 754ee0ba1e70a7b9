package fat_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/fat"
)

// volume is a FAT image in memory with helpers to damage it.
type volume struct {
	b      []byte
	table  int64
	size   int64 // of a table
	tables int
}

// image16 is a FAT16 volume with a few files.
func image16(t testing.TB, files map[string][]byte) *volume {
	t.Helper()
	need(t, "mkfs.vfat", "mcopy")
	image := mkfs(t, 16<<20, "mkfs.vfat", "-F", "16", "-s", "4")
	dir := t.TempDir()
	for name, content := range files {
		check(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	if len(files) > 0 {
		copyIn(t, image, dir)
	}
	b, err := os.ReadFile(image)
	check(t, err)
	sector := int64(binary.LittleEndian.Uint16(b[11:]))
	return &volume{
		b: b, table: int64(binary.LittleEndian.Uint16(b[14:])) * sector,
		size: int64(binary.LittleEndian.Uint16(b[22:])) * sector, tables: int(b[16]),
	}
}

// set changes an entry of all tables.
func (v *volume) set(cluster, entry uint16) {
	for i := range v.tables {
		binary.LittleEndian.PutUint16(v.b[v.table+int64(i)*v.size+int64(cluster)*2:], entry)
	}
}

// entry returns the short entry of a file in the root directory.
func (v *volume) entry(t testing.TB, short string) []byte {
	t.Helper()
	i := bytes.Index(v.b, []byte(short))
	if len(short) != 11 || i < 0 {
		t.Fatalf("no entry %q", short)
	}
	return v.b[i : i+32]
}

func first(e []byte) uint16 { return binary.LittleEndian.Uint16(e[26:]) }

func wantDamage(t *testing.T, v *fat.FS, name, reason string) {
	t.Helper()
	b, err := iofs.ReadFile(v, name)
	var bad *fat.CorruptError
	if !errors.As(err, &bad) || !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %d bytes, %v; want %q", name, len(b), err, reason)
	}
	if i, err := v.Stat(name); err != nil {
		t.Errorf("%s cannot be described: %v, %v", name, i, err)
	}
}

func TestChainsThatAreDamagedEndInErrors(t *testing.T) {
	files := map[string][]byte{"A.BIN": noise(1, 40000), "B.BIN": noise(2, 40000), "C.BIN": noise(3, 100)}
	make := func() (*volume, uint16, uint16) {
		d := image16(t, files)
		return d, first(d.entry(t, "A       BIN")), first(d.entry(t, "B       BIN"))
	}

	d, a, _ := make()
	d.set(a+5, a+2)
	wantDamage(t, openBytes(t, d.b), "A.BIN", "circle")
	d, a, _ = make()
	d.set(a+5, a)
	wantDamage(t, openBytes(t, d.b), "A.BIN", "in the middle of another chain or of its own")
	d, a, b := make()
	d.set(a+5, b+3)
	v := openBytes(t, d.b)
	wantDamage(t, v, "A.BIN", "two chains")
	wantDamage(t, v, "B.BIN", "two chains")
	if got, err := iofs.ReadFile(v, "C.BIN"); err != nil || !bytes.Equal(got, files["C.BIN"]) {
		t.Errorf("C.BIN: %v", err)
	}
	d, a, b = make()
	d.set(a+5, b)
	v = openBytes(t, d.b)
	wantDamage(t, v, "B.BIN", "middle of another chain")
	for entry, reason := range map[uint16]string{0: "stands 0x0", 1: "stands 0x1", 0xfff7: "stands 0xfff7", 0xfff0: "stands 0xfff0", 0xffff: "ends after 6 of 20 clusters"} {
		d, a, _ = make()
		d.set(a+5, entry)
		v := openBytes(t, d.b)
		wantDamage(t, v, "A.BIN", reason)
		f, err := v.Open("A.BIN")
		check(t, err)
		p := noise(9, 6*2048)
		if n, err := f.Read(p); n != len(p) || err != nil || !bytes.Equal(p, files["A.BIN"][:len(p)]) {
			t.Errorf("the sound beginning: %d bytes, %v", n, err)
		}
	}
	d, _, _ = make()
	binary.LittleEndian.PutUint16(d.entry(t, "A       BIN")[26:], 0)
	wantDamage(t, openBytes(t, d.b), "A.BIN", "begins at cluster 0")
}

func TestLongChainInACircleIsFoundWithoutTheSearchForLinks(t *testing.T) {
	// exFAT tables are not searched: their circles are found by walking.
	image := mkfs(t, 16<<20, "mkfs.exfat", "-c", "4K")
	var content []byte
	exMount(t, image, func(dir string) {
		want := make(map[string]string)
		fragment(t, dir, want)
		b, err := os.ReadFile(dir + "/turns-0")
		check(t, err)
		content = b
	})
	b, err := os.ReadFile(image)
	check(t, err)
	table := int64(binary.LittleEndian.Uint32(b[80:])) << b[108]
	f := openBytes(t, b)
	extents, err := f.Extents("turns-0")
	check(t, err)
	heap := int64(binary.LittleEndian.Uint32(b[88:])) << b[108]
	cluster := func(i int) uint32 { return uint32((extents[i].Off-heap)/4096) + 2 }
	if len(extents) < 5 {
		t.Fatalf("the file lies in %d pieces", len(extents))
	}
	last := cluster(4) + uint32(extents[4].Len/4096) - 1
	binary.LittleEndian.PutUint32(b[table+4*int64(last):], cluster(1))
	v := openBytes(t, b)
	wantDamage(t, v, "turns-0", "circle")
	got, err := v.Open("turns-0")
	check(t, err)
	var sound int64
	for _, x := range extents[:5] {
		sound += x.Len
	}
	p := make([]byte, sound)
	if n, err := got.Read(p); n != len(p) || err != nil || !bytes.Equal(p, content[:len(p)]) {
		t.Errorf("the sound beginning: %d of %d bytes, %v", n, len(p), err)
	}
}

func TestFolderInsideItselfIsDamage(t *testing.T) {
	d := image16(t, map[string][]byte{"OUTER/INNER/F.TXT": []byte("x")})
	binary.LittleEndian.PutUint16(d.entry(t, "INNER      ")[26:], first(d.entry(t, "OUTER      ")))
	failed := 0
	err := iofs.WalkDir(openBytes(t, d.b), ".", func(name string, _ iofs.DirEntry, err error) error {
		if err != nil {
			failed++
		}
		return nil
	})
	if err != nil || failed != 1 {
		t.Errorf("%d folders fail, %v", failed, err)
	}
}

func TestNamesOfOldAndOrphanedLongNames(t *testing.T) {
	d := image16(t, map[string][]byte{"a long name indeed.txt": []byte("x"), "OEM.TXT": []byte("y"), "KANJI.TXT": []byte("z"), "GONE.TXT": nil})
	copy(d.entry(t, "OEM     TXT"), "\x9aB\x81    ") // Ü B ü of code page 437
	d.entry(t, "KANJI   TXT")[0] = 0x05              // stands for 0xe5
	d.entry(t, "GONE    TXT")[0] = 0xe5
	v := openBytes(t, d.b)
	got := fmt.Sprint(names(t, v))
	if want := "[a long name indeed.txt ÜBü.TXT σANJI.TXT]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	d.entry(t, "ALONGN~1TXT")[0] = 'B' // the sum of the short name differs now
	got = fmt.Sprint(names(t, openBytes(t, d.b)))
	if want := "[BLONGN~1.TXT ÜBü.TXT σANJI.TXT]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func names(t *testing.T, v *fat.FS) []string {
	t.Helper()
	list, err := v.ReadDir(".")
	check(t, err)
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

func TestDirtyVolumesAreNotTrusted(t *testing.T) {
	for name, change := range map[string]func(d *volume){
		"not unmounted": func(d *volume) { d.set(1, 0x7fff) },
		"errors":        func(d *volume) { d.set(1, 0xbfff) },
		"by the flag":   func(d *volume) { d.b[37] |= 1 },
		"cut off":       func(d *volume) { d.b = d.b[:len(d.b)-1<<20] },
	} {
		d := image16(t, map[string][]byte{"A.TXT": []byte("x")})
		change(d)
		v := openBytes(t, d.b)
		if ok, why := v.Consistent(); ok || why == "" || len(v.Notes()) == 0 {
			t.Errorf("%s: consistent %v %q, notes %q", name, ok, why, v.Notes())
		}
		for x, err := range v.Free(t.Context()) {
			if err == nil {
				t.Errorf("%s: %v is free", name, x)
			}
			break
		}
		if b, err := iofs.ReadFile(v, "A.TXT"); err != nil || string(b) != "x" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	d := image16(t, nil)
	d.b[d.table+d.size+100] ^= 1
	for x, err := range openBytes(t, d.b).Free(t.Context()) {
		if err == nil {
			t.Errorf("tables that differ: %v is free", x)
		}
		break
	}
}

func TestBadBootSectorsAreRefused(t *testing.T) {
	for name, change := range map[string]func(b []byte){
		"signature":       func(b []byte) { b[510] = 0 },
		"jump":            func(b []byte) { b[0] = 0 },
		"sector size":     func(b []byte) { b[11], b[12] = 1, 0 },
		"cluster size":    func(b []byte) { b[13] = 3 },
		"reserved":        func(b []byte) { b[14], b[15] = 0, 0 },
		"tables":          func(b []byte) { b[16] = 0 },
		"root":            func(b []byte) { b[17], b[18] = 0, 0 },
		"media":           func(b []byte) { b[21] = 1 },
		"table size":      func(b []byte) { b[22], b[23] = 1, 0 },
		"table too large": func(b []byte) { b[22], b[23] = 0xff, 0xff },
		"sectors":         func(b []byte) { copy(b[19:21], "\x01\x00") },
		"too many":        func(b []byte) { copy(b[19:21], "\x00\x00"); copy(b[32:36], "\xff\xff\xff\xff") },
	} {
		d := image16(t, nil)
		change(d.b)
		if v, err := fat.Open(bytes.NewReader(d.b), int64(len(d.b))); err == nil {
			t.Errorf("a bad %s is accepted as %s", name, v.Type())
		}
		if name != "table too large" && fat.Probe(bytes.NewReader(d.b), int64(len(d.b))) {
			t.Errorf("a bad %s is recognised", name)
		}
	}
}

func TestDamagedExFAT(t *testing.T) {
	image := gunzip(t, filepath.Join(dataDir(t), "dfir_ntfs", "exfat_win.raw.gz"))
	sector := 1 << image[108]
	at := bytes.Index(image, []byte("W\x00P\x00S\x00e\x00t\x00t\x00")) - 2 - 64
	for name, c := range map[string]struct {
		change func(b []byte)
		note   string
	}{
		"boot region":     {func(b []byte) { b[113] ^= 1; b[64] ^= 1 }, "second one is used"},
		"dirty":           {func(b []byte) { b[106] |= 2 }, "not unmounted"},
		"failed medium":   {func(b []byte) { b[106] |= 4 }, "medium"},
		"up-case table":   {func(b []byte) { b[bytes.Index(b, []byte("\x00\x00\x01\x00\x02\x00\x03\x00"))] ^= 1 }, "up-case table"},
		"entry set":       {func(b []byte) { b[at+40] ^= 1 }, ""},
		"valid data size": {func(b []byte) { b[at+32+8] = 4; reseal(b[at:]) }, ""},
	} {
		b := bytes.Clone(image)
		c.change(b)
		v, err := fat.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		notes := strings.Join(v.Notes(), "; ")
		if c.note != "" && !strings.Contains(notes, c.note) || c.note == "" && notes != "" {
			t.Errorf("%s: notes %q", name, notes)
		}
		content, err := iofs.ReadFile(v, "System Volume Information/WPSettings.dat")
		list, listErr := v.ReadDir("System Volume Information")
		switch name {
		case "entry set":
			if err == nil || listErr == nil || !strings.Contains(listErr.Error(), "checksum") || len(list) == 0 {
				t.Errorf("%s: %v, %v, %d others", name, err, listErr, len(list))
			}
		case "valid data size":
			if err != nil || len(content) != 12 || bytes.Equal(content[:4], make([]byte, 4)) || !bytes.Equal(content[4:], make([]byte, 8)) {
				t.Errorf("%s: % x, %v", name, content, err)
			}
		default:
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, n := range []int{0, 511, 512, 11 * sector} {
		if _, err := fat.Open(bytes.NewReader(image[:n]), int64(n)); err == nil {
			t.Errorf("%d bytes are a volume", n)
		}
	}
}

// reseal puts the right checksum into the set at the beginning of b.
func reseal(b []byte) {
	var sum uint16
	for i, x := range b[:32*(1+int(b[1]))] {
		if i != 2 && i != 3 {
			sum = (sum<<15 | sum>>1) + uint16(x)
		}
	}
	binary.LittleEndian.PutUint16(b[2:], sum)
}
