package ext4

import "math/bits"

// Hash functions of folder indexes.
const (
	hashLegacy = iota
	hashHalfMD4
	hashTEA
	hashLegacyUnsigned
	hashHalfMD4Unsigned
	hashTEAUnsigned
)

// nameHash is where a name stands in a folder's index; ok is false when the
// function is unknown.
func (s *super) nameHash(version uint8, name []byte) (major, minor uint32, ok bool) {
	if version <= hashTEA && s.unsignedHashes {
		version += hashLegacyUnsigned
	}
	signed := version <= hashTEA
	buf := [4]uint32{0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476}
	if s.hashSeed != [4]uint32{} {
		buf = s.hashSeed
	}
	switch version {
	case hashLegacy, hashLegacyUnsigned:
		major = legacyHash(name, signed)
	case hashHalfMD4, hashHalfMD4Unsigned:
		for p := name; ; p = p[32:] {
			var in [8]uint32
			hashInput(in[:], p, signed)
			halfMD4(&buf, &in)
			if len(p) <= 32 {
				break
			}
		}
		major, minor = buf[1], buf[2]
	case hashTEA, hashTEAUnsigned:
		for p := name; ; p = p[16:] {
			var in [4]uint32
			hashInput(in[:], p, signed)
			tea(&buf, &in)
			if len(p) <= 16 {
				break
			}
		}
		major, minor = buf[0], buf[1]
	default:
		return 0, 0, false
	}
	major &^= 1
	if major == 0xFFFFFFFE {
		major = 0xFFFFFFFC // the last one means the end of the folder
	}
	return major, minor, true
}

func widen(b byte, signed bool) uint32 {
	if signed {
		return uint32(int32(int8(b)))
	}
	return uint32(b)
}

func legacyHash(name []byte, signed bool) uint32 {
	hash, before := uint32(0x12A3FE2D), uint32(0x37ABE8F9)
	for _, b := range name {
		next := before + (hash ^ widen(b, signed)*7152373)
		if next&0x80000000 != 0 {
			next -= 0x7FFFFFFF
		}
		hash, before = next, hash
	}
	return hash << 1
}

// hashInput packs the start of name into words, big-endian, padded with its
// whole length.
func hashInput(in []uint32, name []byte, signed bool) {
	n := uint32(len(name))
	pad := n | n<<8
	pad |= pad << 16
	name = name[:min(len(name), 4*len(in))]
	for i := range in {
		word := pad
		for j := 4 * i; j < min(4*i+4, len(name)); j++ {
			word = widen(name[j], signed) + word<<8
		}
		in[i] = word
	}
}

func tea(buf *[4]uint32, in *[4]uint32) {
	x, y := buf[0], buf[1]
	sum := uint32(0)
	for range 16 {
		sum += 0x9E3779B9
		x += (y<<4 + in[0]) ^ (y + sum) ^ (y>>5 + in[1])
		y += (x<<4 + in[2]) ^ (x + sum) ^ (x>>5 + in[3])
	}
	buf[0] += x
	buf[1] += y
}

func halfMD4(buf *[4]uint32, in *[8]uint32) {
	const k2, k3 = 0x5A827999, 0x6ED9EBA1
	a, b, c, d := buf[0], buf[1], buf[2], buf[3]
	f := func(x, y, z uint32) uint32 { return z ^ (x & (y ^ z)) }
	g := func(x, y, z uint32) uint32 { return (x & y) + ((x ^ y) & z) }
	h := func(x, y, z uint32) uint32 { return x ^ y ^ z }
	for i := 0; i < 8; i += 4 {
		a = bits.RotateLeft32(a+f(b, c, d)+in[i], 3)
		d = bits.RotateLeft32(d+f(a, b, c)+in[i+1], 7)
		c = bits.RotateLeft32(c+f(d, a, b)+in[i+2], 11)
		b = bits.RotateLeft32(b+f(c, d, a)+in[i+3], 19)
	}
	for i := 1; i >= 0; i-- {
		a = bits.RotateLeft32(a+g(b, c, d)+in[i]+k2, 3)
		d = bits.RotateLeft32(d+g(a, b, c)+in[i+2]+k2, 5)
		c = bits.RotateLeft32(c+g(d, a, b)+in[i+4]+k2, 9)
		b = bits.RotateLeft32(b+g(c, d, a)+in[i+6]+k2, 13)
	}
	for i := 3; i >= 1; i -= 2 {
		a = bits.RotateLeft32(a+h(b, c, d)+in[i]+k3, 3)
		d = bits.RotateLeft32(d+h(a, b, c)+in[i+4]+k3, 9)
		c = bits.RotateLeft32(c+h(d, a, b)+in[i-1]+k3, 11)
		b = bits.RotateLeft32(b+h(c, d, a)+in[i+3]+k3, 15)
	}
	buf[0] += a
	buf[1] += b
	buf[2] += c
	buf[3] += d
}
