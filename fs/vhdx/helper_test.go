package vhdx_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

const mib = 1 << 20

func openBytes(b []byte) (*vhdx.Image, error) {
	return vhdx.Open(bytes.NewReader(b), int64(len(b)))
}

func mustOpen(t testing.TB, f *vhdxtest.File) *vhdx.Image {
	t.Helper()
	im, err := vhdx.Open(f, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// contentSum reads a whole disk in pieces of an odd size.
func contentSum(t testing.TB, d disk.Disk) string {
	t.Helper()
	h := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, io.NewSectionReader(d, 0, d.Size()), make([]byte, 3<<20-512)); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// dataSum is contentSum of what NextData reports, with zeros elsewhere: it is
// the same when NextData leaves nothing out.
func dataSum(t testing.TB, d disk.Disk) string {
	t.Helper()
	h := sha256.New()
	zeros := make([]byte, 1<<20)
	skip := func(n int64) {
		for n > 0 {
			part := min(n, int64(len(zeros)))
			h.Write(zeros[:part])
			n -= part
		}
	}
	at := int64(0)
	for {
		start, end, err := d.NextData(at)
		if err == io.EOF {
			break
		}
		if err != nil || start < at || end <= start || end > d.Size() {
			t.Fatalf("NextData(%d) = %d, %d, %v with size %d", at, start, end, err, d.Size())
		}
		skip(start - at)
		if _, err := io.Copy(h, io.NewSectionReader(d, start, end-start)); err != nil {
			t.Fatal(err)
		}
		at = end
	}
	skip(d.Size() - at)
	return hex.EncodeToString(h.Sum(nil))
}

func readAll(t testing.TB, d disk.Disk) []byte {
	t.Helper()
	b := make([]byte, d.Size())
	if n, err := d.ReadAt(b, 0); n != len(b) || err != nil && err != io.EOF {
		t.Fatalf("ReadAt = %d, %v", n, err)
	}
	return b
}

func noise(r *rand.Rand, n int64) []byte {
	b := make([]byte, n)
	for i := 0; i < len(b); i += 61 {
		b[i] = byte(1 + r.IntN(255))
	}
	return b
}

func sameBytes(t testing.TB, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	if len(got) != len(want) {
		t.Fatalf("got %d bytes, want %d", len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("first difference at offset %d: got %#x, want %#x", i, got[i], want[i])
		}
	}
}
