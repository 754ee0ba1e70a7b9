package vhd_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhd"
)

func open(t testing.TB, file []byte) *vhd.Image {
	t.Helper()
	m, err := vhd.Open(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func hash(t testing.TB, d disk.Disk) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(d, 0, d.Size())); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// real are the VHD files of others, with what two other readers found in them.
var real = []struct {
	name   string
	kind   vhd.Type
	size   int64
	id     string // the identity's bytes
	hash   string
	damage string
}{
	{"dissect.hypervisor/dynamic.vhd.gz", vhd.Dynamic, 10485760, "4b6a0d04f946d74e836fd3dc87e1816b", "ecff2ef6615a3cddc6a6885f1c6d9cf13a232697e1dc6575f2c2f01f57247784", ""},
	{"dissect.hypervisor/fixed.vhd.gz", vhd.Fixed, 10485760, "b895e4183894e7449a889a420be4e5ca", "459325ab1fcd1d5ec9854cba790ee26378317cda177ffc1072008a1df88e6463", ""},
	{"dfvfs/ext2.vhd", vhd.Dynamic, 4212736, "87cdbb53369e401bbae213ae4f957a21", "2adb1dc3", ""},
	{"dfvfs/image.vhd", vhd.Dynamic, 104448, "00000000000000000000000000000000", "c6db12a7db548e193c29420c1b4533e4708b20c5033db5cc29ef075d48316d25", ""},
	{"dfvfs/chain/image.vhd", vhd.Dynamic, 104448, "d49c5c80350a4a89898a5ad6d10f6578", "c6db12a7db548e193c29420c1b4533e4708b20c5033db5cc29ef075d48316d25", "the checksum of both footers is wrong"},
	{"qemu-iotests/d2v-zerofilled.vhd.bz2", vhd.Dynamic, 263454720, "e7b829fde66dba49ac196ebdab26cea3", "1ba076be94a8a64541c25aae8d5a5f8b0da758c3797af597e03acb431ff8d143", ""},
}

func TestRealFilesReadAsOtherReadersSay(t *testing.T) {
	for _, c := range real {
		t.Run(c.name, func(t *testing.T) {
			m := open(t, disktest.File(t, c.name))
			id := m.ID()
			if m.Type() != c.kind || m.Size() != c.size || hex.EncodeToString(id[:]) != c.id || m.Damage() != c.damage {
				t.Errorf("got %v disk %x of %d bytes, %q", m.Type(), id[:], m.Size(), m.Damage())
			}
			if got := hash(t, m); !strings.HasPrefix(got, c.hash) {
				t.Errorf("content: got %s, want %s", got, c.hash)
			}
			if err := zerosOutside(m); err != nil {
				t.Error(err)
			}
		})
	}
}

// zerosOutside checks that what NextData leaves out reads as zeros.
func zerosOutside(d disk.Disk) error {
	rest := new(disk.Set)
	rest.Add(0, d.Size())
	for x, err := range disk.Data(d) {
		if err != nil {
			return err
		}
		rest.Remove(x.Off, x.End())
	}
	buf, zeros := make([]byte, 1<<20), make([]byte, 1<<20)
	for start, end := range rest.All() {
		for ; start < end; start += int64(len(buf)) {
			p := buf[:min(int64(len(buf)), end-start)]
			if _, err := d.ReadAt(p, start); err != nil && err != io.EOF {
				return err
			}
			if !bytes.Equal(p, zeros[:len(p)]) {
				return errors.New("there is data where NextData says that there is none")
			}
		}
	}
	return nil
}

func TestRealChainReadsThroughItsParent(t *testing.T) {
	child := open(t, disktest.File(t, "dfvfs/chain/image-differential.vhd"))
	parent := open(t, disktest.File(t, "dfvfs/chain/image.vhd"))
	d, err := vhd.Chain(child, parent)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := hash(t, d), "c6db12a7db548e193c29420c1b4533e4708b20c5033db5cc29ef075d48316d25"; got != want {
		t.Errorf("content: got %s, want %s", got, want)
	}
}

func TestRealWrongParentIsRefusedByName(t *testing.T) {
	child := open(t, disktest.File(t, "dfvfs/image-differential.vhd"))
	wrong := open(t, disktest.File(t, "dfvfs/image.vhd"))
	_, err := vhd.Chain(child, wrong)
	var parent *vhd.ParentError
	if !errors.As(err, &parent) || parent.Name != "image.vhd" || parent.Want != child.Parent().ID || parent.Found != wrong.ID() {
		t.Errorf("got %v, want a parent error that names image.vhd", err)
	}
}

func TestDisksKeepTheContract(t *testing.T) {
	data := disktest.Random(1, 100*4096+3*512)
	sparse := append([]byte(nil), data...)
	present := func(i int) bool { return i%37 > 11 && i%7 != 3 && (i/64)%3 != 1 }
	for i := 0; i < len(sparse); i += sector {
		if !present(i / sector) {
			clear(sparse[i : i+sector])
		}
	}
	for name, c := range map[string]struct {
		file build
		want []byte
	}{
		"fixed":            {build{kind: vhd.Fixed, data: data}, data},
		"dynamic full":     {build{kind: vhd.Dynamic, data: data, seed: 3}, data},
		"dynamic sparse":   {build{kind: vhd.Dynamic, data: data, seed: 1, present: present}, sparse},
		"blocks of 32 KiB": {build{kind: vhd.Dynamic, data: data, blockSize: 32 << 10, present: present}, sparse},
		"blocks of 2 MiB":  {build{kind: vhd.Dynamic, data: data, blockSize: 2 << 20, present: present}, sparse},
		"blocks of 512":    {build{kind: vhd.Dynamic, data: data, blockSize: 512, seed: 9, present: present}, sparse},
		"empty":            {build{kind: vhd.Dynamic, data: data, present: func(int) bool { return false }}, make([]byte, len(data))},
		"one sector":       {build{kind: vhd.Dynamic, data: data[:512], blockSize: 2 << 20}, data[:512]},
	} {
		t.Run(name, func(t *testing.T) {
			file := c.file.bytes()
			disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
				return open(t, file), bytes.NewReader(c.want)
			})
		})
	}
}

func TestChainsReadAsTheirLayersSay(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for round := range 8 {
		size := (rng.IntN(600) + 1) * sector
		want := disktest.Random(uint64(round), int64(size))
		kind := vhd.Dynamic
		if round%2 == 0 {
			kind = vhd.Fixed
		}
		file := build{kind: kind, data: bytes.Clone(want), seed: uint64(round), id: disk.GUID{15: 1}}
		files := [][]byte{file.bytes()}
		for layer := range byte(rng.IntN(4) + 1) {
			data := disktest.Random(uint64(round)<<8+uint64(layer), int64(size))
			seed := rng.Uint64()
			present := func(i int) bool {
				return rand.NewPCG(seed, uint64(i/11)).Uint64()%3 == 0 && rand.NewPCG(seed, uint64(i)).Uint64()%5 > 0
			}
			for i := range size / sector {
				if present(i) {
					copy(want[i*sector:(i+1)*sector], data[i*sector:])
				}
			}
			files = append(files, build{
				kind: vhd.Differencing, data: data, present: present, blockSize: 512 << rng.IntN(9), seed: rng.Uint64(),
				id: disk.GUID{15: layer + 2}, parent: disk.GUID{15: layer + 1}, name: "parent.vhd",
			}.bytes())
		}
		disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
			layers := make([]*vhd.Image, len(files))
			for i, file := range files {
				layers[len(files)-1-i] = open(t, file)
			}
			d, err := vhd.Chain(layers[0], layers[1:]...)
			if err != nil {
				t.Fatal(err)
			}
			return d, bytes.NewReader(want)
		})
	}
}

func TestChainRefusesWhatIsNotTheParent(t *testing.T) {
	data := make([]byte, 8192)
	diff := func(id, parent byte, n int) *vhd.Image {
		return open(t, build{kind: vhd.Differencing, data: data[:n], id: disk.GUID{id}, parent: disk.GUID{parent}, name: "Väter.vhd"}.bytes())
	}
	whole := func(id byte, n int) *vhd.Image {
		return open(t, build{kind: vhd.Dynamic, data: data[:n], id: disk.GUID{id}}.bytes())
	}
	self := diff(1, 1, 8192)
	deep := make([]*vhd.Image, 2000)
	for i := range deep {
		deep[i] = self
	}
	for name, c := range map[string]struct {
		child   *vhd.Image
		parents []*vhd.Image
		typed   bool
	}{
		"none":                     {diff(1, 2, 8192), nil, true},
		"another identity":         {diff(1, 2, 8192), []*vhd.Image{whole(3, 8192)}, true},
		"a child that names none":  {diff(1, 0, 8192), []*vhd.Image{whole(0, 8192)}, true},
		"another size":             {diff(1, 2, 8192), []*vhd.Image{whole(2, 4096)}, true},
		"grandparent missing":      {diff(1, 2, 8192), []*vhd.Image{diff(2, 3, 8192)}, true},
		"grandparent skipped":      {diff(1, 2, 8192), []*vhd.Image{whole(3, 8192)}, true},
		"itself for ever":          {self, deep, false},
		"itself":                   {self, []*vhd.Image{self}, true},
		"a cycle":                  {diff(1, 2, 8192), []*vhd.Image{diff(2, 1, 8192), diff(1, 2, 8192)}, true},
		"a parent of a whole disk": {whole(1, 8192), []*vhd.Image{whole(2, 8192)}, false},
	} {
		_, err := vhd.Chain(c.child, c.parents...)
		var parent *vhd.ParentError
		if err == nil || errors.As(err, &parent) != c.typed {
			t.Errorf("%s: got %v", name, err)
		}
		if c.typed && (parent.Name != "Väter.vhd" || parent.Hint() == "" || !strings.Contains(err.Error(), parent.Want.String())) {
			t.Errorf("%s: got %v without the parent's name or id", name, err)
		}
	}
	if _, err := self.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("a differencing disk reads without its parent")
	}
	if _, _, err := self.NextData(0); err == nil || err == io.EOF {
		t.Errorf("a differencing disk has extents without its parent: %v", err)
	}
}

func TestParentPathsAreRead(t *testing.T) {
	relative := "\x2e\x00\x5c\x00\xe4\x00" // .\ä
	file := build{kind: vhd.Differencing, data: make([]byte, 4096), present: func(int) bool { return false },
		header: func(b []byte) {
			copy(b[576:], "W2ru\x00\x00\x02\x00\x00\x00\x00\x06\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00")
		}}.bytes()
	footer := bytes.Clone(file[:512])
	file = append(append(file[:len(file)-512], relative...), make([]byte, 506)...)
	file = append(file, footer...)
	got, err := open(t, file).ParentPaths(t.Context())
	if err != nil || len(got) != 1 || got[0] != `.\ä` {
		t.Errorf("got %q, %v", got, err)
	}
	for name, bad := range map[string]string{
		"odd length": "W2ku\x00\x00\x02\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00",
		"too long":   "W2ku\x00\x00\x02\x00\xff\xff\xff\xfe\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00",
		"outside":    "W2ku\x00\x00\x02\x00\x00\x00\x00\x06\x00\x00\x00\x00\x7f\xff\xff\xff\xff\xff\xff\xff",
		"negative":   "W2ku\x00\x00\x02\x00\x00\x00\x00\x06\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		m := open(t, build{kind: vhd.Differencing, data: make([]byte, 4096), header: func(b []byte) { copy(b[576:], bad) }}.bytes())
		if got, err := m.ParentPaths(t.Context()); err == nil {
			t.Errorf("%s: got %q", name, got)
		}
	}
}

func TestDetectNeedsNameAndFooter(t *testing.T) {
	data := disktest.Random(1, 4096)
	fixed := build{kind: vhd.Fixed, data: data}.bytes()
	dynamic := build{kind: vhd.Dynamic, data: data}.bytes()
	for _, c := range []struct {
		name string
		file []byte
		want bool
	}{
		{"disk.vhd", fixed, true},
		{"DISK.VHD", dynamic, true},
		{"disk.avhd", dynamic, true},
		{"disk.raw", dynamic, false},
		{"disk.vhdx", fixed, false},
		{"disk", fixed, false},
		{"disk.vhd", data, false},
		{"disk.vhd", nil, false},
		{"disk.vhd", dynamic[:len(dynamic)-512], true}, // the copy remains
		{"disk.vhd", append(bytes.Clone(data), dynamic[len(dynamic)-512:]...), true},
	} {
		got, err := vhd.Detect(c.name, bytes.NewReader(c.file), int64(len(c.file)))
		if got != c.want || err != nil {
			t.Errorf("%s of %d bytes: got %v, %v; want %v", c.name, len(c.file), got, err, c.want)
		}
	}
}
