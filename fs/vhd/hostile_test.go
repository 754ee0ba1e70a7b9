package vhd_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhd"
)

func put32(at int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
}

func put64(at int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[at:], v) }
}

func TestHostileFilesAreRefused(t *testing.T) {
	data := disktest.Random(1, 5*4096)
	good := build{kind: vhd.Dynamic, data: data}
	with := func(change func(*build)) []byte {
		b := good
		change(&b)
		return b.bytes()
	}
	footer := func(f func([]byte)) []byte { return with(func(b *build) { b.footer = f }) }
	header := func(f func([]byte)) []byte { return with(func(b *build) { b.header = f }) }
	table := func(f func([]byte)) []byte { return with(func(b *build) { b.table = f }) }
	damage := func(file []byte, at ...int) []byte {
		for _, i := range at {
			if i < 0 {
				i += len(file)
			}
			file[i] ^= 0x40
		}
		return file
	}
	fixed := build{kind: vhd.Fixed, data: data}
	whole := good.bytes()

	for name, file := range map[string][]byte{
		"empty":                         nil,
		"one byte":                      {0},
		"511 bytes":                     make([]byte, 511),
		"a footer alone":                whole[:512],
		"two footers alone":             append(bytes.Clone(whole[:512]), whole[:512]...),
		"zeros":                         make([]byte, 65535),
		"both footers lost":             damage(bytes.Clone(whole), 0, -512),
		"both footers differ, no sums":  damage(bytes.Clone(whole), 70, -512+71),
		"type none":                     footer(put32(60, 0)),
		"type reserved":                 footer(put32(60, 5)),
		"type of 32 bits":               footer(put32(60, 1<<31|3)),
		"version 2":                     footer(put32(12, 0x00020000)),
		"size 0":                        footer(put64(48, 0)),
		"size 1":                        footer(put64(48, 1)),
		"size of no whole sectors":      footer(put64(48, 4097)),
		"size 2^64-512":                 footer(put64(48, 1<<64-512)),
		"size 2^63-512":                 footer(put64(48, 1<<63-512)),
		"size 2 TiB":                    footer(put64(48, 2<<40)),
		"size beyond the table":         footer(put64(48, 6*4096)),
		"fixed, larger than the file":   build{kind: vhd.Fixed, data: data, footer: put64(48, 6*4096)}.bytes(),
		"fixed, damaged sum":            damage(fixed.bytes(), -512+70),
		"header at -1":                  footer(put64(16, 1<<64-1)),
		"header at 2^63-1":              footer(put64(16, 1<<63-1)),
		"header in the footer":          footer(put64(16, 0)),
		"header behind the file":        footer(put64(16, uint64(len(whole)))),
		"header cut by the end":         footer(put64(16, uint64(len(whole)-512))),
		"header is no header":           footer(put64(16, 1024)),
		"header version 2":              header(put32(24, 0x00020000)),
		"block size 0":                  header(put32(32, 0)),
		"block size 1":                  header(put32(32, 1)),
		"block size 3 MiB":              header(put32(32, 3<<20)),
		"block size 512 MiB":            header(put32(32, 512<<20)),
		"block size 2 GiB":              header(put32(32, 2<<30)),
		"header sum and entries wrong":  damage(bytes.Clone(whole), 512+31),
		"table entries 0":               header(put32(28, 0)),
		"table entries 4":               header(put32(28, 4)),
		"table entries 2^30+1":          header(put32(28, 1<<30+1)),
		"table entries 2^32-1":          header(put32(28, 1<<32-1)),
		"table in the footer":           header(put64(16, 0)),
		"table behind the file":         header(put64(16, 1<<40)),
		"table at -1":                   header(put64(16, 1<<64-1)),
		"block at 0":                    table(put32(4, 0)),
		"block in the header":           table(put32(4, 1)),
		"block in the table":            table(put32(4, 3)),
		"block over the table":          header(put64(16, 4096)),
		"block behind the file":         table(put32(4, uint32(len(whole)/512))),
		"block over the footer":         table(put32(16, uint32(len(whole)/512-9))),
		"block at 2^32-2 sectors":       table(put32(4, 0xFFFFFFFE)),
		"two blocks in one place":       table(put32(4, 4)),
		"two blocks overlap":            table(put32(4, 5)),
		"two blocks overlap, backwards": table(func(b []byte) { put32(0, 22)(b); put32(4, 13)(b); put32(8, 5)(b); put32(12, 10)(b) }),
		"end cut off":                   whole[:len(whole)-1536],
	} {
		m, err := vhd.Open(bytes.NewReader(file), int64(len(file)))
		var corrupt *vhd.CorruptError
		if !errors.As(err, &corrupt) {
			t.Errorf("%s: got %v, %v; want damage", name, m, err)
		}
	}
}

func TestHugeTableIsRefusedWithoutMemory(t *testing.T) {
	const size = 2040 << 30
	file := build{kind: vhd.Dynamic, data: make([]byte, 512), blockSize: 512,
		footer: put64(48, size), header: put32(28, 1<<32-1)}.bytes()
	r := longFile{file, 17 << 30}
	allocated := testing.AllocsPerRun(1, func() {
		if m, err := vhd.Open(r, r.size); err == nil {
			t.Errorf("got %v, want an error", m)
		}
	})
	if allocated > 100 {
		t.Errorf("%v allocations", allocated)
	}
}

// longFile is a file of size bytes: head, zeros, and the footer again.
type longFile struct {
	head []byte
	size int64
}

func (f longFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := disk.Clip(len(p), off, f.size)
	clear(p[:n])
	if off < int64(len(f.head)) {
		copy(p[:n], f.head[off:])
	}
	if tail := f.size - 512; off+int64(n) > tail && off >= tail {
		copy(p[:n], f.head[off-tail:512])
	}
	return n, err
}

func TestAFLCrasherIsRefused(t *testing.T) {
	file := disktest.File(t, "qemu-iotests/afl5.img.bz2")
	if m, err := vhd.Open(bytes.NewReader(file), int64(len(file))); err == nil {
		t.Errorf("got %v, want an error", m)
	}
}

func TestLostFooterIsReplacedByItsCopy(t *testing.T) {
	data := disktest.Random(1, 5*4096)
	whole := build{kind: vhd.Dynamic, data: data}.bytes()
	end := len(whole) - 512
	for name, file := range map[string][]byte{
		"zeros":       append(bytes.Clone(whole[:end]), make([]byte, 512)...),
		"cut off":     whole[:end],
		"flipped bit": append(bytes.Clone(whole[:end+50]), append([]byte{whole[end+50] ^ 1}, whole[end+51:]...)...),
	} {
		m := open(t, file)
		got := make([]byte, len(data))
		if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) || m.Damage() == "" {
			t.Errorf("%s: %v, damage %q", name, err, m.Damage())
		}
	}
}

func TestFooterOf511BytesIsRead(t *testing.T) {
	data := disktest.Random(1, 5*4096)
	for _, kind := range []vhd.Type{vhd.Fixed, vhd.Dynamic} {
		file := build{kind: kind, data: data}.bytes()
		m := open(t, file[:len(file)-1])
		got := make([]byte, len(data))
		if _, err := m.ReadAt(got, 0); err != nil || !bytes.Equal(got, data) || m.Damage() != "" {
			t.Errorf("%v: %v, damage %q", kind, err, m.Damage())
		}
	}
}

func TestCurrentSizeRulesOverOriginalSizeAndGeometry(t *testing.T) {
	m := open(t, build{kind: vhd.Dynamic, data: make([]byte, 5*4096), footer: func(b []byte) {
		put64(40, 2*4096)(b)
		put32(56, 1<<16|1<<8|17)(b)
	}}.bytes())
	if got, want := m.Size(), int64(5*4096); got != want {
		t.Errorf("size: got %d, want %d", got, want)
	}
}

// A guest owns the first bytes of a fixed disk and can write the beginning of
// a differencing VHD there.
func TestGuestCannotChangeTheTypeOfItsFixedDisk(t *testing.T) {
	trap := build{kind: vhd.Differencing, data: make([]byte, 4096), name: "/etc/shadow"}.bytes()
	data := append(bytes.Clone(trap), make([]byte, 4096)...)
	file := build{kind: vhd.Fixed, data: data}.bytes()
	if m := open(t, file); m.Type() != vhd.Fixed || m.Size() != int64(len(data)) {
		t.Errorf("got a %v disk of %d bytes", m.Type(), m.Size())
	}
	file[len(file)-512+70] ^= 1 // the footer is damaged, the guest's is not
	if m, err := vhd.Open(bytes.NewReader(file), int64(len(file))); err == nil {
		t.Errorf("got a %v disk of %d bytes in the place of a damaged fixed one", m.Type(), m.Size())
	}
}

// failing fails every read that touches [from,to).
type failing struct {
	io.ReaderAt
	from, to int64
}

var errBroken = errors.New("broken sector")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off < f.to && off+int64(len(p)) > f.from {
		return 0, errBroken
	}
	return f.ReaderAt.ReadAt(p, off)
}

func TestReadErrorsAreNeverTakenForDamageOrZeros(t *testing.T) {
	data := disktest.Random(1, 5*4096)
	file := build{kind: vhd.Dynamic, data: data}.bytes()
	for at := int64(0); at < int64(len(file)); at += 512 {
		r := failing{bytes.NewReader(file), at, at + 1}
		m, err := vhd.Open(r, int64(len(file)))
		if err == nil {
			got := make([]byte, len(data))
			var n int
			n, err = m.ReadAt(got, 0)
			if !bytes.Equal(got[:n], data[:n]) {
				t.Errorf("sector %d: the bytes before the error are wrong", at/512)
			}
		}
		if at == 0 && err == nil {
			continue // only the copy of the footer
		}
		if !errors.Is(err, errBroken) {
			t.Errorf("sector %d: got %v, want %v", at/512, err, errBroken)
		}
	}
}

func FuzzOpen(f *testing.F) {
	for _, c := range real {
		if c.size <= 10485760 {
			f.Add(trim(disktest.File(f, c.name)))
		}
	}
	f.Add(disktest.File(f, "qemu-iotests/afl5.img.bz2"))
	data := disktest.Random(1, 3*4096)
	f.Add(build{kind: vhd.Fixed, data: data}.bytes())
	f.Add(build{kind: vhd.Dynamic, data: data, seed: 1}.bytes())
	f.Add(build{kind: vhd.Differencing, data: data, name: "parent.vhd", parent: disk.GUID{1}}.bytes())
	f.Fuzz(func(t *testing.T, file []byte) {
		file = bytes.Clone(file)
		repair(file)
		m, err := vhd.Open(bytes.NewReader(file), int64(len(file)))
		if err != nil {
			return
		}
		paths, err := m.ParentPaths(t.Context())
		if err == nil && len(paths) > 8 {
			t.Errorf("%d paths", len(paths))
		}
		var d disk.Disk = m
		if m.Type() == vhd.Differencing {
			parent := build{kind: vhd.Fixed, data: data, id: m.Parent().ID}.bytes()
			if d, err = vhd.Chain(m, open(t, parent)); err != nil {
				return
			}
		}
		last := int64(0)
		for extent, err := range disk.Data(d) {
			if err != nil {
				t.Fatal(err)
			}
			if extent.Off < last || extent.Len <= 0 || extent.End() > d.Size() {
				t.Fatalf("extent %v behind %d of %d bytes", extent, last, d.Size())
			}
			last = extent.End()
		}
		buf := make([]byte, 1<<16)
		for _, off := range []int64{0, d.Size() / 2, d.Size() - 100} {
			n, err := d.ReadAt(buf, max(off, 0))
			if err != nil && err != io.EOF || n == 0 {
				t.Fatalf("read at %d of %d: %d, %v", off, d.Size(), n, err)
			}
		}
	})
}

// repair makes the checksums right, so that what lies behind them is reached.
func repair(file []byte) {
	if len(file) < 1536 {
		return
	}
	sum(file[:512], 64)
	sum(file[len(file)-512:], 64)
	sum(file[512:1536], 36)
}

// trim makes a small fuzz seed of a file: its ends.
func trim(file []byte) []byte {
	if len(file) < 64<<10 {
		return file
	}
	return append(bytes.Clone(file[:32<<10]), file[len(file)-512:]...)
}
