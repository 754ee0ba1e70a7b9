package fstest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// edges are offsets around everything that changes in a content.
func edges(c Content) []int64 {
	marks := []int64{0, 512, 4096, 64 << 10, 128 << 10, mib, c.Size / 2, c.Size}
	for _, e := range c.Data {
		marks = append(marks, e[0], e[1])
	}
	var list []int64
	for _, m := range marks {
		for d := int64(-1); d <= 1; d++ {
			if m+d >= 0 {
				list = append(list, m+d)
			}
		}
	}
	return append(list, c.Size+4096, c.Size+10*mib)
}

// compareAt reads a file of that content at offsets and in lengths of every kind.
func compareAt(t *testing.T, s *Subject, p string, c Content, offsets []int64) {
	t.Helper()
	r := must[Reader](t)(s.Open(p))
	defer r.Close()
	for _, off := range offsets {
		for _, n := range []int{0, 1, 511, 4096, 4097, 256 << 10} {
			compare(t, r, p, c, off, n)
		}
	}
}

func compare(t *testing.T, r Reader, p string, c Content, off int64, n int) {
	t.Helper()
	got, want := make([]byte, n), make([]byte, n)
	k, err := r.ReadAt(got, off)
	w, _ := c.Read(want, off)
	switch {
	case k != w:
		t.Fatalf("%s: read %d bytes at %d gives %d (%v), want %d", p, n, off, k, err, w)
	case err != nil && !errors.Is(err, io.EOF), err == nil && k < n:
		t.Fatalf("%s: read %d bytes at %d: %d, %v", p, n, off, k, err)
	case !bytes.Equal(got[:k], want[:k]):
		t.Fatalf("%s: read %d bytes at %d: other bytes", p, n, off)
	}
}

func readAll(t *testing.T, s *Subject, p string) []byte {
	t.Helper()
	r := must[Reader](t)(s.Open(p))
	defer r.Close()
	var all []byte
	buf := make([]byte, 128<<10)
	for {
		n, err := r.ReadAt(buf, int64(len(all)))
		all = append(all, buf[:n]...)
		if errors.Is(err, io.EOF) || err == nil && n == 0 {
			return all
		}
		if err != nil {
			t.Fatalf("read %s: %v", p, err)
		}
	}
}

func sizes(t *testing.T, s *Subject) {
	p := machineSQL + "/" + lastPoint + "/"
	for name, c := range map[string]Content{"SQL01-os": osDisk, "SQL01-data": dataDisk} {
		var data int64
		for _, e := range c.Data {
			data += e[1] - e[0]
		}
		raw := must[Stat](t)(s.Lstat(p + "raw/" + name + ".raw"))
		if raw.Size != c.Size || raw.Blocks != (data+511)/512 {
			t.Errorf("%s.raw: %d bytes in %d blocks, want %d in %d", name, raw.Size, raw.Blocks, c.Size, (data+511)/512)
		}
		blocks := int64(len(c.blocks(smallBlock)))
		file := must[Stat](t)(s.Lstat(p + name + vhdxSuffix))
		head := file.Size - blocks*smallBlock
		if head < mib || head > 16*mib {
			t.Errorf("%s.vhdx: %d bytes with %d blocks of %d", name, file.Size, blocks, smallBlock)
		}
		if file.Blocks != (head+data+511)/512 {
			t.Errorf("%s.vhdx: %d blocks, want %d", name, file.Blocks, (head+data+511)/512)
		}
	}
	if st := must[Stat](t)(s.Lstat("README.txt")); st.Size != int64(len(readAll(t, s, "README.txt"))) || st.Size == 0 {
		t.Errorf("README.txt: size %d", st.Size)
	}
}

func rawEdges(t *testing.T, s *Subject) {
	p := machineSQL + "/" + lastPoint + "/raw/"
	compareAt(t, s, p+"SQL01-os.raw", osDisk, edges(osDisk))
	compareAt(t, s, p+"SQL01-data.raw", dataDisk, edges(dataDisk))
}

// vhdxEdges holds that every way to read a presented VHDX gives the same
// bytes, that it begins like one, and that it holds the disk's data block by
// block at its end, which is how the bytes are laid out.
func vhdxEdges(t *testing.T, s *Subject) {
	p := machineSQL + "/" + lastPoint + "/SQL01-os.vhdx"
	all := readAll(t, s, p)
	if !strings.HasPrefix(string(all), "vhdxfile") {
		t.Fatalf("%s begins with %q", p, all[:min(8, len(all))])
	}
	st := must[Stat](t)(s.Lstat(p))
	if int64(len(all)) != st.Size {
		t.Fatalf("%s: %d bytes can be read, its size is %d", p, len(all), st.Size)
	}
	blocks := osDisk.blocks(smallBlock)
	head := st.Size - int64(len(blocks))*smallBlock
	want := make([]byte, smallBlock)
	for i, b := range blocks {
		n, _ := osDisk.Read(want, b*smallBlock)
		at := head + int64(i)*smallBlock
		if !bytes.Equal(all[at:at+int64(n)], want[:n]) {
			t.Errorf("%s: block %d is not at %d", p, b, at)
		}
	}
	r := must[Reader](t)(s.Open(p))
	defer r.Close()
	for _, off := range []int64{0, 1, 64<<10 - 1, 64 << 10, mib - 1, mib, head - 1, head, head + 1, head + smallBlock - 1, st.Size - 1, st.Size, st.Size + 1} {
		for _, n := range []int{1, 4095, 100_000} {
			got := make([]byte, n)
			k, err := r.ReadAt(got, off)
			if err != nil && !errors.Is(err, io.EOF) {
				t.Fatalf("%s: read at %d: %v", p, off, err)
			}
			if end := min(off+int64(n), st.Size); k != int(max(0, end-off)) || !bytes.Equal(got[:k], all[min(off, st.Size):max(end, min(off, st.Size))]) {
				t.Errorf("%s: %d bytes at %d differ", p, n, off)
			}
		}
	}
}

func files(t *testing.T, s *Subject) {
	p := machineSQL + "/" + lastPoint
	for name, want := range map[string]string{
		"/config/Virtual Machines/3F2A9C1E.vmcx":    string(vmcx.Text),
		"/config/vm (2).json":                       "theirs",
		"/config/vm.json":                           "{\n  \"name\": \"SQL01\",\n  \"generation\": 2\n}\n",
		"/checkpoints/before_ update/config/x.vmcx": string(vmcx.Text),
	} {
		if got := string(readAll(t, s, p+name)); got != want {
			t.Errorf("%s holds %q, want %q", name, got, want)
		}
	}
	for _, want := range []string{`"vm": "SQL01"`, `"consistency": "offline"`, `"disk-absent"`} {
		if got := string(readAll(t, s, p+"/restore-point.json")); !strings.Contains(got, want) {
			t.Errorf("restore-point.json is without %s:\n%s", want, got)
		}
	}
}

func holes(t *testing.T, s *Subject) {
	if s.NoHoles {
		t.Skip("this way to show a tree has no SEEK_HOLE")
	}
	p := machineSQL + "/" + lastPoint
	r := must[Reader](t)(s.Open(p + "/raw/SQL01-os.raw"))
	defer r.Close()
	off := int64(0)
	for _, e := range osDisk.Data {
		start, err := r.Next(off, false)
		if err != nil || start != e[0] {
			t.Fatalf("data behind %d begins at %d (%v), want %d", off, start, err, e[0])
		}
		mid := (e[0] + e[1]) / 2
		if got, err := r.Next(mid, false); err != nil || got != mid {
			t.Errorf("data at %d begins at %d (%v)", mid, got, err)
		}
		if off, err = r.Next(mid, true); err != nil || off != e[1] {
			t.Fatalf("the hole behind %d begins at %d (%v), want %d", mid, off, err, e[1])
		}
	}
	for _, off := range []int64{osDisk.Size, osDisk.Size + 1} {
		for _, hole := range []bool{false, true} {
			if got, err := r.Next(off, hole); !errors.Is(err, io.EOF) {
				t.Errorf("seek at %d, hole %v: %d, %v, want the end", off, hole, got, err)
			}
		}
	}
	empty := must[Reader](t)(s.Open(machineTwin + "/" + firstPoint + "/raw/twin.raw"))
	defer empty.Close()
	if _, err := empty.Next(0, false); !errors.Is(err, io.EOF) {
		t.Errorf("an empty disk has data: %v", err)
	}
	vhdxHoles(t, s, p+"/SQL01-os.vhdx")
}

// vhdxHoles holds that what a VHDX calls a hole reads as zeros, and that it
// has some.
func vhdxHoles(t *testing.T, s *Subject, p string) {
	all := readAll(t, s, p)
	r := must[Reader](t)(s.Open(p))
	defer r.Close()
	var off, hole int64
	for off < int64(len(all)) {
		data, err := r.Next(off, false)
		if errors.Is(err, io.EOF) {
			data = int64(len(all))
		} else if err != nil {
			t.Fatal(err)
		}
		if len(bytes.TrimLeft(all[off:data], "\x00")) > 0 {
			t.Errorf("%s: the hole [%d,%d) holds data", p, off, data)
		}
		hole += data - off
		if data == int64(len(all)) {
			break
		}
		if off, err = r.Next(data, true); err != nil || off <= data {
			t.Fatalf("%s: the hole behind data at %d: %d, %v", p, data, off, err)
		}
	}
	if hole < mib {
		t.Errorf("%s: %d bytes of holes", p, hole)
	}
}

func full(t *testing.T, s *Subject) {
	for _, name := range []string{"raw/SQL01-os.raw", "SQL01-os.vhdx"} {
		p := machineSQL + "/" + lastPoint + "/" + name
		st := must[Stat](t)(s.Lstat(p))
		if st.Blocks*512 < st.Size {
			t.Errorf("%s: %d blocks for %d bytes", name, st.Blocks, st.Size)
		}
		if s.NoHoles {
			continue
		}
		r := must[Reader](t)(s.Open(p))
		if off, err := r.Next(5*mib, false); err != nil || off != 5*mib {
			t.Errorf("%s: data behind 5 MiB at %d, %v", name, off, err)
		}
		if off, err := r.Next(0, true); err != nil || off != st.Size {
			t.Errorf("%s: first hole at %d, %v, want the end %d", name, off, err, st.Size)
		}
		r.Close()
	}
}

func damagedRange(t *testing.T, s *Subject) {
	r := must[Reader](t)(s.Open(machineWorn + "/" + firstPoint + "/raw/worn.raw"))
	defer r.Close()
	buf := make([]byte, 4096)
	if _, err := r.ReadAt(buf, wornDisk.Bad[0]); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("the damaged range can be read: %v", err)
	}
	for _, off := range []int64{0, mib, 3 * mib} {
		compare(t, r, "worn.raw", wornDisk, off, 4096)
	}
	eventually(t, s, "the status tells it", func() bool {
		return strings.Contains(string(readAll(t, s, ".vitrine/status")), ErrBad.Error())
	})
}

func huge(t *testing.T, s *Subject) {
	c := Content{Size: hugeSize, Seed: 5, Data: [][2]int64{{0, mib}, {hugeSize / 2, hugeSize/2 + mib}, {hugeSize - mib, hugeSize}}}
	p := "huge/" + firstPoint + "/"
	raw := must[Stat](t)(s.Lstat(p + "raw/huge.raw"))
	if raw.Size != hugeSize || raw.Blocks != 3*mib/512 {
		t.Errorf("huge.raw: %d bytes in %d blocks", raw.Size, raw.Blocks)
	}
	r := must[Reader](t)(s.Open(p + "raw/huge.raw"))
	defer r.Close()
	for _, off := range []int64{0, mib - 1, hugeSize/2 - 1, hugeSize / 2, hugeSize/2 + mib - 1, hugeSize - mib - 1, hugeSize - 4096, hugeSize - 1} {
		compare(t, r, "huge.raw", c, off, 8192)
	}
	file := must[Stat](t)(s.Lstat(p + "huge.vhdx"))
	if head := file.Size - 3*32*mib; head < mib || head > 64*mib {
		t.Errorf("huge.vhdx: %d bytes", file.Size)
	}
}
