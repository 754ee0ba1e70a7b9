package ntfs_test

import (
	"bytes"
	"os/exec"
	"testing"

	"vitrine/fs/ntfs"
)

func TestStoredBlocksOfLZXKeepTheirPlace(t *testing.T) {
	// Two blocks that are not compressed, of 5 and 4 bytes: three bits of type,
	// one that says the size follows, the size, padding to 16 bits, three recent
	// distances, the bytes, and one more when they are odd.
	block := func(data string) []byte {
		n := len(data)
		head := uint32(3)<<29 | uint32(n)<<12
		b := le.AppendUint16(nil, uint16(head>>16))
		b = le.AppendUint16(b, uint16(head))
		b = append(b, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0)
		if b = append(b, data...); n%2 != 0 {
			b = append(b, 0)
		}
		return b
	}
	got := make([]byte, 9)
	if err := ntfs.LZX(got, append(block("hello"), block("_you")...)); err != nil || string(got) != "hello_you" {
		t.Errorf("%q %v", got, err)
	}
}

func TestLZNT1RepeatsAndRefuses(t *testing.T) {
	dst := make([]byte, 100)
	for _, b := range [][]byte{{0x02, 0xB0, 0x02, 'a', 0x00}, {0x02, 0xB0, 0x01, 0x00, 0x00}, {0x03, 0xB0, 0x02, 'a', 0x00, 0xF0}} {
		if err := ntfs.LZNT1(dst, b); err == nil {
			t.Errorf("% x was taken", b)
		}
	}
	got := bytes.Repeat([]byte{9}, 12)
	if err := ntfs.LZNT1(got, []byte{0x03, 0xB0, 0x02, 'a', 0x06, 0x00}); err != nil || string(got) != "aaaaaaaaaa\x00\x00" {
		t.Errorf("%q %v", got, err)
	}
}

// FuzzDecoders gives the decoders anything; they must neither panic nor write
// past what they were given.
func FuzzDecoders(f *testing.F) {
	if _, err := exec.LookPath("wimlib-imagex"); err == nil {
		f.Add(packed(f, "LZX", "32768", program(40_000))[4:], uint16(32768))
		f.Add(packed(f, "LZX", "32768", text(40_000))[4:], uint16(32768))
		f.Add(packed(f, "XPRESS", "4096", text(5000))[4:], uint16(4096))
	}
	f.Add([]byte{0x03, 0xB0, 0x02, 'a', 0x06, 0x00}, uint16(4096))
	f.Fuzz(func(t *testing.T, src []byte, n uint16) {
		dst := make([]byte, int(n)+8)
		copy(dst[n:], "sentinel")
		for _, decode := range []func(dst, src []byte) error{ntfs.LZNT1, ntfs.XPress, ntfs.LZX} {
			decode(dst[:min(int(n), 32<<10)], src)
			if string(dst[n:]) != "sentinel" {
				t.Fatal("wrote past the end")
			}
		}
	})
}
