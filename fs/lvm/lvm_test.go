package lvm_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/lvm"
)

func TestGroupsMadeByOthers(t *testing.T) {
	g := open(t, disktest.File(t, "dissect.volume/lvm.bin.gz"))
	if g.Name != "vg_test" || len(g.Notes) != 0 || len(g.Volumes) != 1 {
		t.Errorf("got %+v", g)
	}
	raw := disktest.File(t, "dissect.volume/lvm.bin.gz")
	check(t, opened(t, g, "lv_test"), raw[1<<20:5<<20])

	g = open(t, disktest.File(t, "dissect.volume/lvm-thin.bin.gz"))
	if g.Name != "lvm-thin" || len(g.Notes) != 0 || len(g.Volumes) != 3 {
		t.Errorf("got %+v", g)
	}
	for _, name := range []string{"lv-1", "lv-2"} {
		d := opened(t, g, name)
		b := make([]byte, d.Size())
		if _, err := d.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		const want = "db789d40d440e071487e877360f42ea445eacd18b0a64eaf56942d50bb442045"
		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != want || d.Size() != 4<<20 {
			t.Errorf("%s: %d bytes of %s, want %s", name, d.Size(), got, want)
		}
	}
	var unsupported *lvm.UnsupportedError
	if _, err := get(t, g, "data").Open(context.Background()); !errors.As(err, &unsupported) || !strings.Contains(unsupported.Why, "pool") {
		t.Errorf("pool: %v", err)
	}
}

func check(t *testing.T, d disk.Disk, want []byte) {
	t.Helper()
	disktest.Run(t, func(*testing.T) (disk.Disk, disktest.Oracle) { return d, bytes.NewReader(want) })
}

func TestLinearAndStripedVolumes(t *testing.T) {
	volumes := volume("linear", seg(0, 3, "striped", stripes(0, "pv1", 1)), seg(3, 2, "striped", stripes(0, "pv0", 6))) +
		volume("wide", seg(0, 6, "striped", stripes(16<<10, "pv0", 0, "pv1", 4, "pv2", 1)), seg(6, 1, "zero", ""))
	text := describe(7, volumes, 8, 8, 8)
	old := describe(6, "", 8, 8, 8)
	// The newest text stands on the second member and wraps; the third has none.
	m := [][]byte{member(0, old, 512, 8, 1), member(1, text, areaSize-700, 8, 2), member(2, "", 0, 8, 3)}
	clear(m[2][firstAt+unit+8<<10 : firstAt+unit+40<<10])
	clear(m[1][firstAt+unit+20<<10 : firstAt+2*unit])
	g := open(t, m...)
	if len(g.Notes) != 0 || len(g.Members) != 3 || g.Members[2].Disk != 2 {
		t.Errorf("got %+v", g)
	}
	at := func(m []byte, extent, n int) []byte { return m[firstAt+extent*unit:][:n*unit] }
	check(t, opened(t, g, "linear"), append(bytes.Clone(at(m[1], 1, 3)), at(m[0], 6, 2)...))

	var want []byte
	legs := [][]byte{at(m[0], 0, 2), at(m[1], 4, 2), at(m[2], 1, 2)}
	for off := 0; off < 2*unit; off += 16 << 10 {
		for _, l := range legs {
			want = append(want, l[off:][:16<<10]...)
		}
	}
	check(t, opened(t, g, "wide"), append(want, make([]byte, unit)...))
	if v := get(t, g, "wide"); v.Kind != "striped" {
		t.Errorf("kind %s", v.Kind)
	}
}

// TestPlaces checks Places byte for byte: what it names on the members must be
// what the volume reads.
func TestPlaces(t *testing.T) {
	text := describe(1, volume("v", seg(0, 2, "striped", stripes(0, "pv0", 2)),
		seg(2, 6, "striped", stripes(8<<10, "pv1", 1, "pv2", 0, "pv0", 5))), 8, 8, 8)
	m := [][]byte{member(0, text, 512, 8, 1), member(1, "", 0, 8, 2), member(2, "", 0, 8, 3)}
	g := open(t, m...)
	v, d := get(t, g, "v"), opened(t, g, "v")
	if ok, why := v.Placed(); !ok {
		t.Fatal(why)
	}
	clean := make([]byte, d.Size())
	if _, err := d.ReadAt(clean, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]int64{{0, 1}, {0, d.Size()}, {2*unit - 1, 2}, {2 * unit, 8 << 10}, {2*unit + 100, 30000}, {3 * unit, 5*unit - 1}, {5*unit - 7, 8<<10 + 9}} {
		saved := [][]byte{bytes.Clone(m[0]), bytes.Clone(m[1]), bytes.Clone(m[2])}
		total := int64(0)
		for i, x := range v.Places(c[0], c[1]) {
			for k := x.Off; k < x.End(); k++ {
				m[i][k] ^= 0xff
			}
			total += x.Len
		}
		if total != c[1] {
			t.Errorf("%v: %d bytes placed", c, total)
		}
		got := make([]byte, d.Size())
		if _, err := d.ReadAt(got, 0); err != nil {
			t.Fatal(err)
		}
		for k := range got {
			if inside := int64(k) >= c[0] && int64(k) < c[0]+c[1]; inside != (got[k] != clean[k]) {
				t.Errorf("%v: byte %d is wrong", c, k)
				break
			}
		}
		for i := range m {
			copy(m[i], saved[i])
		}
	}
}

func TestMissingMembersAreNamed(t *testing.T) {
	text := describe(1, volume("here", seg(0, 2, "striped", stripes(0, "pv0", 0)))+volume("gone", seg(0, 2, "striped", stripes(0, "pv1", 0))), 8, 8)
	g := open(t, member(0, text, 512, 8, 1))
	opened(t, g, "here")
	var missing *lvm.MissingError
	if _, err := get(t, g, "gone").Open(context.Background()); !errors.As(err, &missing) || missing.Member.Device != "/dev/sdc" || missing.Hint() == "" {
		t.Errorf("got %v", err)
	}
	if len(g.Notes) != 1 || !strings.Contains(g.Notes[0], "pv1") {
		t.Errorf("notes %q", g.Notes)
	}
	if f := find(t, member(1, "", 0, 8, 1)); len(f.Groups) != 0 || len(f.Loose) != 1 {
		t.Errorf("got %+v", f)
	}
}

func TestWhatIsNotRead(t *testing.T) {
	lin := func(at int) string { return seg(0, 1, "striped", stripes(0, "pv0", at)) }
	text := describe(1, volume("origin", lin(0))+volume("snap", lin(1))+
		hidden("snapshot0", seg(0, 1, "snapshot", "chunk_size = 8\norigin = \"origin\"\ncow_store = \"snap\""))+
		volume("cached", seg(0, 1, "cache", "cache_pool = \"x\"\norigin = \"y\""))+
		volume("raid", seg(0, 1, "raid5", ""))+volume("odd", seg(0, 1, "something", ""))+
		volume("a", seg(0, 1, "striped", stripes(0, "b", 0)))+volume("b", seg(0, 1, "striped", stripes(0, "a", 0)))+
		volume("far", seg(0, 1, "striped", stripes(0, "pv0", 8)))+volume("gap", seg(1, 1, "striped", stripes(0, "pv0", 3)))+
		volume("over", lin(1)), 8)
	g := open(t, member(0, text, 512, 8, 1))
	opened(t, g, "origin")
	if ok, _ := get(t, g, "origin").Placed(); ok {
		t.Error("the origin of a snapshot counts as read by nobody else")
	}
	for name, word := range map[string]string{"snap": "snapshot of the volume origin", "cached": "cached", "raid": "raid5", "odd": "something"} {
		var u *lvm.UnsupportedError
		if _, err := get(t, g, name).Open(context.Background()); !errors.As(err, &u) || !strings.Contains(u.Why, word) || !strings.Contains(u.Why, "attach") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"a", "far", "gap"} {
		if _, err := get(t, g, name).Open(context.Background()); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(g.Notes) != 1 || !strings.Contains(g.Notes[0], "over each other") {
		t.Errorf("notes %q", g.Notes)
	}
}

func TestMirrorsAreReadFromAWholeLeg(t *testing.T) {
	text := describe(1, volume("m", seg(0, 2, "raid1", "device_count = 2\nraids = [\"m0\", \"i0\", \"m1\", \"i1\"]"))+
		hidden("m0", seg(0, 1, "striped", stripes(0, "pv0", 0)))+hidden("i0", seg(0, 2, "striped", stripes(0, "pv0", 1)))+
		hidden("m1", seg(0, 1, "striped", stripes(0, "pv0", 3)))+hidden("i1", seg(0, 2, "striped", stripes(0, "pv0", 4))), 8)
	type leg struct {
		events, failed, recovered uint64
	}
	const all = 1<<64 - 1
	for _, c := range []struct {
		legs [2]leg
		want int // -1: not read
	}{
		{[2]leg{{5, 0, all}, {5, 0, all}}, 0},
		{[2]leg{{4, 0, all}, {5, 1, all}}, 1},
		{[2]leg{{5, 0, 100}, {5, 0, all}}, 1},
		{[2]leg{{5, 1, all}, {5, 1, all}}, 1},
		{[2]leg{{5, 0, 100}, {4, 0, all}}, -1},
		{[2]leg{{5, 3, all}, {5, 3, all}}, -1},
	} {
		b := member(0, text, 512, 8, 1)
		for i, l := range c.legs {
			s := b[firstAt+3*i*unit:]
			clear(s[:512])
			copy(s, "DmRd")
			binary.LittleEndian.PutUint32(s[12:], uint32(i))
			binary.LittleEndian.PutUint64(s[16:], l.events)
			binary.LittleEndian.PutUint64(s[24:], l.failed)
			binary.LittleEndian.PutUint64(s[32:], l.recovered)
			binary.LittleEndian.PutUint32(s[48:], 1)
		}
		d, err := get(t, open(t, b), "m").Open(context.Background())
		if c.want < 0 {
			if err == nil {
				t.Errorf("%v: opened", c)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", c, err)
			continue
		}
		got := make([]byte, 2*unit)
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, b[firstAt+(1+3*c.want)*unit:][:2*unit]) {
			t.Errorf("%v: read from the wrong leg, %v", c, err)
		}
	}
}

// pooled makes a group with a thin pool whose metadata thin_restore writes, and
// what volumes 1 and 2 must read as.
func pooled(t testing.TB) (b, one, two []byte) {
	tool, err := exec.LookPath("thin_restore")
	if err != nil {
		t.Skip("thin_restore is missing: install thin-provisioning-tools")
	}
	const chunks, metaExtents = 600, 16
	text := describe(1, volume("pool", seg(0, chunks, "thin-pool", "metadata = \"tmeta\"\npool = \"tdata\"\ntransaction_id = 2\nchunk_size = 128"))+
		hidden("tmeta", seg(0, metaExtents, "striped", stripes(0, "pv0", 0)))+hidden("tdata", seg(0, chunks, "striped", stripes(0, "pv0", metaExtents)))+
		volume("one", seg(0, 2000, "thin", "thin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 1"))+
		volume("two", seg(0, 10, "thin", "thin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 2\nexternal_origin = \"ext\""))+
		volume("ext", seg(0, 4, "striped", stripes(0, "pv0", 650)))+
		volume("none", seg(0, 10, "thin", "thin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = 3")), 700)
	b = member(0, text, 512, 700, 9)
	data := b[firstAt+metaExtents*unit:]
	one, two = make([]byte, 2000*unit), make([]byte, 10*unit)
	copy(two, b[firstAt+650*unit:][:4*unit])
	var x strings.Builder
	x.WriteString("<superblock uuid=\"\" time=\"1\" transaction=\"2\" data_block_size=\"128\" nr_data_blocks=\"600\">\n<device dev_id=\"1\" mapped_blocks=\"502\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">\n")
	// Every third chunk lies alone, so that the tree has several leaves.
	for i := range 500 {
		from, to := 3*i, (i*7)%500
		fmt.Fprintf(&x, "<single_mapping origin_block=\"%d\" data_block=\"%d\" time=\"0\"/>\n", from, to)
		copy(one[from*thinChunk:], data[to*thinChunk:][:thinChunk])
	}
	// Neighbours whose data are none.
	fmt.Fprintf(&x, "<single_mapping origin_block=\"1998\" data_block=\"520\" time=\"1\"/>\n")
	copy(one[1998*thinChunk:], data[520*thinChunk:][:thinChunk])
	fmt.Fprintf(&x, "<single_mapping origin_block=\"1999\" data_block=\"599\" time=\"1\"/>\n</device>\n")
	copy(one[1999*thinChunk:], data[599*thinChunk:][:thinChunk])
	fmt.Fprintf(&x, "<device dev_id=\"2\" mapped_blocks=\"6\" transaction=\"0\" creation_time=\"0\" snap_time=\"1\">\n<range_mapping origin_begin=\"2\" data_begin=\"510\" length=\"6\" time=\"1\"/>\n</device>\n</superblock>\n")
	copy(two[2*thinChunk:], data[510*thinChunk:][:6*thinChunk])
	dir := t.TempDir()
	in, out := filepath.Join(dir, "xml"), filepath.Join(dir, "meta")
	if err := os.WriteFile(in, []byte(x.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(out, make([]byte, metaExtents*unit), 0o600); err != nil {
		t.Fatal(err)
	}
	if said, err := exec.Command(tool, "-i", in, "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("thin_restore: %v\n%s", err, said)
	}
	meta, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[firstAt:], meta[:metaExtents*unit])
	return b, one, two
}

func TestThinVolumes(t *testing.T) {
	b, one, two := pooled(t)
	g := open(t, b)
	check(t, opened(t, g, "one"), one)
	check(t, opened(t, g, "two"), two)
	if _, err := get(t, g, "none").Open(context.Background()); err == nil || !strings.Contains(err.Error(), "number 3") {
		t.Errorf("unknown volume: %v", err)
	}
	if ok, _ := get(t, g, "one").Placed(); ok {
		t.Error("a thin volume counts as read by nobody else")
	}
}

// TestDamagedPoolsEndInErrors breaks every block of a pool's metadata in turn:
// what is then read is either right or an error.
func TestDamagedPoolsEndInErrors(t *testing.T) {
	b, one, _ := pooled(t)
	failed := 0
	for block := range 16 * unit / 4096 {
		at := firstAt + block*4096
		if bytes.Count(b[at:at+4096], []byte{0}) == 4096 {
			continue
		}
		b[at+100] ^= 1
		d, err := get(t, open(t, b), "one").Open(context.Background())
		if err == nil {
			got := make([]byte, len(one))
			if _, err = d.ReadAt(got, 0); err == nil && !bytes.Equal(got, one) {
				t.Errorf("block %d: wrong data without an error", block)
			}
		}
		if err != nil {
			failed++
		}
		b[at+100] ^= 1
	}
	if failed < 5 {
		t.Errorf("only %d blocks matter", failed)
	}
}

func TestDamagedDescriptionsAreSaid(t *testing.T) {
	text := describe(1, volume("v", seg(0, 2, "striped", stripes(0, "pv0", 0))), 8)
	for name, harm := range map[string]func(b []byte){
		"label":  func(b []byte) { b[512+40] ^= 1 },
		"header": func(b []byte) { b[areaAt+30] ^= 1 },
		"text":   func(b []byte) { b[areaAt+512+20] ^= 1 },
	} {
		b := member(0, text, 512, 8, 1)
		harm(b)
		if f := find(t, b); len(f.Groups) != 0 || len(f.Loose) != 1 || !strings.Contains(f.Loose[0].Why, "checksum") {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for name, text := range map[string]string{
		"open section": "vg0 {\nid = \"x\"", "open string": "vg0 {\nid = \"x", "open list": "vg0 {\nid = [1,", "no value": "vg0 {\nid =\n}",
		"deep": strings.Repeat("a {\n", 100), "nothing": "#", "no unit": "vg0 {\nid = \"x\"\nseqno = 1\n}\n", "stray": "}",
		"unit": "vg0 {\nid = \"x\"\nseqno = 1\nextent_size = 99999999999\n}\n",
	} {
		if f := find(t, member(0, text, 512, 8, 1)); len(f.Groups) != 0 || len(f.Loose) != 1 {
			t.Errorf("%s: %+v", name, f)
		}
	}
}

// TestVolumesThatMultiply checks that volumes made of many others, which are
// made of many others, end in an error at once.
func TestVolumesThatMultiply(t *testing.T) {
	var wide, mirrors string
	legs := func(name string, n int) (list []any) {
		for range n {
			list = append(list, name, 0)
		}
		return list
	}
	for i := range 14 {
		wide += volume(fmt.Sprint("w", i), seg(0, 64, "striped", stripes(4096, legs(fmt.Sprint("w", i+1), 64)...)))
		pair := fmt.Sprintf("\"r%d\", \"r%d\"", i+1, i+1)
		mirrors += volume(fmt.Sprint("r", i), seg(0, 1, "raid1", "raids = ["+strings.Repeat(pair+", ", 31)+pair+"]"))
	}
	wide += volume("w14", seg(0, 64, "striped", stripes(0, "pv0", 0)))
	g := open(t, member(0, describe(1, wide, 64), 512, 64, 1))
	if _, err := get(t, g, "w0").Open(context.Background()); err == nil || !strings.Contains(err.Error(), "side by side") {
		t.Errorf("wide: %v", err)
	}
	g = open(t, member(0, describe(1, mirrors, 64), 512, 64, 1))
	if _, err := get(t, g, "r0").Open(context.Background()); err == nil {
		t.Error("mirrors of nothing are opened")
	}
}

func FuzzOpen(f *testing.F) {
	one := func(volumes string, n int) { f.Add([]byte(describe(1, volumes, n)), []byte{}) }
	one(volume("v", seg(0, 2, "striped", stripes(0, "pv0", 0))), 8)
	one(volume("w", seg(0, 4, "striped", stripes(16<<10, "pv0", 0, "pv0", 4)), seg(4, 1, "zero", "")), 8)
	one(volume("m", seg(0, 2, "raid1", "raids = [\"m\", \"m\"]"))+volume("t", seg(0, 2, "thin", "thin_pool = \"p\"\ndevice_id = 1"))+
		hidden("p", seg(0, 1, "thin-pool", "metadata = \"v\"\npool = \"v\"\nchunk_size = 128"))+hidden("v", seg(0, 2, "striped", stripes(0, "pv0", 0))), 8)
	f.Fuzz(func(t *testing.T, text, content []byte) {
		if len(text) > areaSize-512 {
			return
		}
		b := member(0, string(text), 512, 8, 1)
		copy(b[firstAt:], content)
		for _, g := range find(t, b).Groups {
			for _, v := range g.Volumes {
				d, err := v.Open(context.Background())
				if err != nil {
					continue
				}
				p := make([]byte, min(d.Size(), 1<<20))
				if n, err := d.ReadAt(p, 0); err == nil && n != len(p) {
					t.Fatalf("%d of %d bytes without an error", n, len(p))
				}
				if start, end, err := d.NextData(0); err == nil && (start < 0 || start >= end || end > d.Size()) {
					t.Fatalf("data [%d,%d) of %d", start, end, d.Size())
				}
			}
		}
	})
}
