package ntfs

import (
	"errors"
)

var errLZNT1 = errors.New("LZNT1 data makes no sense")

// lznt1 decompresses src into dst, which is zeroed behind what src gives.
func lznt1(dst, src []byte) error {
	const chunk = 4096
	at := 0
	for at < len(dst) && len(src) >= 2 {
		head := le.Uint16(src)
		if head == 0 {
			break
		}
		n := int(head&0xFFF) + 1
		if n > len(src)-2 {
			return errLZNT1
		}
		body := src[2 : 2+n]
		src = src[2+n:]
		out := dst[at:min(at+chunk, len(dst))]
		if head&0x8000 == 0 {
			clear(out[copy(out, body):])
		} else if err := lznt1Chunk(out, body); err != nil {
			return err
		}
		at += len(out)
	}
	clear(dst[at:])
	return nil
}

// lznt1Chunk decompresses one chunk: groups of a byte of flags and eight
// literals or matches, whose split into distance and length moves with the
// place in the chunk.
func lznt1Chunk(dst, src []byte) error {
	at, shift := 0, uint(12)
	for len(src) > 0 {
		flags := src[0]
		src = src[1:]
		for range 8 {
			if len(src) == 0 {
				break
			}
			if at >= len(dst) {
				return nil
			}
			if flags&1 == 0 {
				dst[at] = src[0]
				at++
				src = src[1:]
			} else {
				if len(src) < 2 || at == 0 {
					return errLZNT1
				}
				for shift > 4 && at > 1<<(16-shift) {
					shift--
				}
				token := le.Uint16(src)
				src = src[2:]
				back, n := int(token>>shift)+1, int(token&(1<<shift-1))+3
				if back > at || n > len(dst)-at {
					return errLZNT1
				}
				copyMatch(dst, at, back, n)
				at += n
			}
			flags >>= 1
		}
	}
	clear(dst[at:])
	return nil
}

// copyMatch copies n bytes from back bytes before at; they may overlap what
// they make. The caller checked the bounds.
func copyMatch(dst []byte, at, back, n int) {
	for n > 0 {
		k := copy(dst[at:at+n], dst[at-back:at])
		at += k
		n -= k
		back += k
	}
}
