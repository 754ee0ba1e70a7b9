package vhdx_test

import (
	"bytes"
	"io"
	"testing"

	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

// exercise opens a file and, when that works, reads some of the disk.
func exercise(t *testing.T, f *vhdxtest.File) {
	valid := vhdx.Validate(f, f.Size())
	im, err := vhdx.Open(f, f.Size())
	if err != nil {
		if valid == nil {
			t.Errorf("Validate accepts what Open refuses: %v", err)
		}
		return
	}
	_ = im.Creator()
	if p, ok := im.Parent(); ok {
		for _, name := range p.BaseNames() {
			if bytes.ContainsAny([]byte(name), `/\:`) {
				t.Errorf("base name %q", name)
			}
		}
		return
	}
	p := make([]byte, 10000)
	for _, off := range []int64{0, 1, im.BlockSize() - 5000, im.Size() / 2, im.Size() - 5000} {
		if n, err := im.ReadAt(p, max(off, 0)); n < len(p) && err == nil {
			t.Errorf("ReadAt(%d) = %d without an error", off, n)
		}
	}
	at := int64(0)
	for range 1000 {
		start, end, err := im.NextData(at)
		if err != nil {
			return
		}
		if start < at || end <= start || end > im.Size() {
			t.Fatalf("NextData(%d) = %d, %d of %d", at, start, end, im.Size())
		}
		at = end
	}
}

// FuzzOpen puts bytes over the structures of a file: headers, region table
// (which are sealed again), metadata, BAT.
func FuzzOpen(f *testing.F) {
	for _, name := range []string{"dissect.hypervisor/dynamic.vhdx.gz", "dissect.hypervisor/fixed.vhdx.gz", "dissect.hypervisor/differencing.avhdx.gz"} {
		file := disktest.File(f, name)
		f.Add(file[header1:][:80], file[region1:][:80], file[2*mib:][:32+8*32], file[2*mib+64<<10:][:512], file[3*mib:][:64], int64(len(file)))
	}
	f.Fuzz(func(t *testing.T, header, region, table, items, bat []byte, size int64) {
		if size < 0 || size > 1<<62 {
			return
		}
		file := vhdxtest.NewFile(size)
		put := func(off int64, b []byte) {
			if off+int64(len(b)) <= size {
				file.Put(off, b...)
			}
		}
		put(0, []byte("vhdxfile"))
		put(header1, header[:min(len(header), 4096)])
		put(region1, region[:min(len(region), 64<<10)])
		put(2*mib, table[:min(len(table), 64<<10)])
		put(2*mib+64<<10, items)
		put(3*mib, bat)
		if size >= mib {
			file.Seal()
		}
		exercise(t, file)
	})
}

// FuzzLog puts bytes into the log of a good file, once as they are and once
// with the checksum of an entry of their length.
func FuzzLog(f *testing.F) {
	for _, name := range []string{"DiscUtils/vhdx-log-replay.vhdx.gz", "qemu-iotests/iotest-dirtylog-10G-4M.vhdx.bz2"} {
		file := disktest.File(f, name)
		f.Add(file[mib:][:16<<10], uint32(0))
	}
	e := vhdxtest.LogEntry{ID: logID, Sequence: 1, Last: 8 * mib, Writes: []vhdxtest.Write{{Off: bat, Data: sector(1)}, {Off: 5 * mib, Zeros: mib}}}
	f.Add(e.Encode(), uint32(0))
	f.Add(e.Encode(), uint32(0xFF000))
	clean := dynamic()
	f.Fuzz(func(t *testing.T, log []byte, at uint32) {
		for _, sealed := range []bool{false, true} {
			file := clean.Clone()
			b := append([]byte(nil), log[:min(len(log), mib)]...)
			if len(b) >= 64 {
				copy(b[32:], logID[:])
			}
			if sealed && len(b) >= 4096 {
				n := int(b[8]) | int(b[9])<<8 | int(b[10])<<16
				if n >= 64 && n <= len(b) {
					vhdxtest.SealEntry(b[:n])
				}
			}
			vhdxtest.PutLog(file, int64(at)%256*4096, b)
			vhdxtest.SetLog(file, logID)
			exercise(t, file)
		}
	})
}

// FuzzParentLocator decodes locators; what is understood is encoded again and
// has to be understood the same.
func FuzzParentLocator(f *testing.F) {
	file := disktest.File(f, "dissect.hypervisor/differencing.avhdx.gz")
	im, err := openBytes(file)
	if err != nil {
		f.Fatal(err)
	}
	parent, _ := im.Parent()
	f.Add(vhdxtest.Locator(vhdxtest.ParentKeys(parent)...))
	kind := []byte{0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1}
	if at := bytes.Index(file, kind); at >= 0 {
		f.Add(file[at:][:2048])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 512<<10 {
			return
		}
		c := child()
		putLocator(c, b)
		im, err := vhdx.Open(c, c.Size())
		if err != nil {
			return
		}
		p, _ := im.Parent()
		c = child(vhdxtest.ParentKeys(p)...)
		im, err = vhdx.Open(c, c.Size())
		if err != nil {
			t.Fatalf("%+v: %v", p, err)
		}
		if again, _ := im.Parent(); again != p {
			t.Errorf("got %+v, want %+v", again, p)
		}
	})
}

// FuzzPresented reads a piece of a presented file and compares it with the
// whole.
func FuzzPresented(f *testing.F) {
	content := disktest.Sparse(1, 9*mib+512, 300)
	whole, err := vhdx.NewFile(disktest.Memory(content), identity(mib))
	if err != nil {
		f.Fatal(err)
	}
	want := make([]byte, whole.Size())
	if _, err := whole.ReadAt(want, 0); err != nil && err != io.EOF {
		f.Fatal(err)
	}
	f.Add(int64(0), uint32(100))
	f.Add(int64(3*mib-3), uint32(4000))
	f.Add(int64(4*mib+5), uint32(3*mib))
	f.Fuzz(func(t *testing.T, off int64, n uint32) {
		p := make([]byte, n%(4*mib))
		got, err := whole.ReadAt(p, off)
		switch {
		case off < 0:
			if err == nil {
				t.Error("a negative offset is accepted")
			}
		case int64(got) != min(int64(len(p)), max(0, int64(len(want))-off)):
			t.Errorf("read %d of %d bytes at %d: %v", got, len(p), off, err)
		case got > 0:
			sameBytes(t, p[:got], want[off:][:got])
		}
	})
}
