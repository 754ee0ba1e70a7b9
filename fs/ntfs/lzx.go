package ntfs

const (
	lzxMain    = 256 + 8*30
	lzxLengths = 249
	lzxChunk   = 32 << 10
)

// lzxState is a chunk being decompressed: code lengths and recent distances
// outlast a block.
type lzxState struct {
	bitReader
	main, length, aligned, pre huffman
	mainLens                   [lzxMain]uint8
	lengthLens                 [lzxLengths]uint8
	recent                     [3]int
}

// lzx decompresses a chunk of LZX, in the variant of WIM files, into dst of at
// most 32 KiB, which it must fill.
func lzx(dst, src []byte) error {
	if len(dst) > lzxChunk {
		return errPacked
	}
	s := &lzxState{bitReader: bitReader{src: src}, recent: [3]int{1, 1, 1}}
	for at := 0; at < len(dst); {
		kind, n := s.take(3), lzxChunk
		if s.take(1) == 0 {
			n = s.take(16)
		}
		if n == 0 || n > len(dst)-at {
			return errPacked
		}
		var err error
		switch kind {
		case 1, 2:
			if err = s.codes(kind == 2); err == nil {
				err = s.block(dst[:at+n], at, kind == 2)
			}
		case 3:
			err = s.stored(dst[at : at+n])
		default:
			err = errPacked
		}
		if err != nil {
			return err
		}
		at += n
	}
	undoE8(dst)
	return nil
}

// stored copies a block that is not compressed.
func (s *lzxState) stored(dst []byte) error {
	// The rest of a word is dropped, or a whole one where none has begun; the
	// words read ahead are given back.
	s.ensure(1)
	s.have = (s.have - 1) &^ 15
	if s.over > 0 {
		return errPacked
	}
	s.at -= s.have / 8
	s.bits, s.have = 0, 0
	b, err := s.bytes(12)
	if err != nil {
		return err
	}
	for i := range s.recent {
		v := le.Uint32(b[4*i:])
		if v == 0 || v > lzxChunk {
			return errPacked
		}
		s.recent[i] = int(v)
	}
	if b, err = s.bytes(len(dst)); err != nil {
		return err
	}
	copy(dst, b)
	if len(dst)%2 != 0 && s.at < len(s.src) {
		s.at++
	}
	return nil
}

// codes reads the codes of a block.
func (s *lzxState) codes(aligned bool) error {
	if aligned {
		var lens [8]uint8
		for i := range lens {
			lens[i] = uint8(s.take(3))
		}
		if err := s.aligned.build(lens[:]); err != nil {
			return err
		}
	}
	if err := s.lens(s.mainLens[:256]); err != nil {
		return err
	}
	if err := s.lens(s.mainLens[256:]); err != nil {
		return err
	}
	if err := s.main.build(s.mainLens[:]); err != nil {
		return err
	}
	if err := s.lens(s.lengthLens[:]); err != nil {
		return err
	}
	return s.length.build(s.lengthLens[:])
}

// lens reads code lengths, coded as differences to those of the last block.
func (s *lzxState) lens(lens []uint8) error {
	var pre [20]uint8
	for i := range pre {
		pre[i] = uint8(s.take(4))
	}
	if err := s.pre.build(pre[:]); err != nil {
		return err
	}
	for i := 0; i < len(lens); {
		sym, err := s.symbol(&s.pre, 15)
		if err != nil {
			return err
		}
		n, same := 1, false
		switch sym {
		case 17:
			n = 4 + s.take(4)
		case 18:
			n = 20 + s.take(5)
		case 19:
			n, same = 4+s.take(1), true
			if sym, err = s.symbol(&s.pre, 15); err != nil {
				return err
			}
		}
		if n > len(lens)-i || same && sym > 16 || s.over > 2 {
			return errPacked
		}
		v := uint8(0)
		if sym <= 16 {
			v = uint8((int(lens[i]) + 17 - sym) % 17)
		}
		for range n {
			lens[i] = v
			i++
		}
	}
	return nil
}

// block decodes literals and matches until dst is full.
func (s *lzxState) block(dst []byte, at int, aligned bool) error {
	for at < len(dst) {
		sym, err := s.symbol(&s.main, 16)
		if err != nil {
			return err
		}
		if sym < 256 {
			dst[at] = byte(sym)
			at++
			continue
		}
		n, slot := (sym-256)%8, (sym-256)/8
		if n == 7 {
			more, err := s.symbol(&s.length, 16)
			if err != nil {
				return err
			}
			n += more
		}
		n += 2
		var back int
		if slot < 3 {
			back = s.recent[slot]
			s.recent[slot] = s.recent[0]
		} else {
			if back, err = s.distance(slot, aligned); err != nil {
				return err
			}
			s.recent[2], s.recent[1] = s.recent[1], s.recent[0]
		}
		s.recent[0] = back
		if back <= 0 || back > at || n > len(dst)-at || s.over > 2 {
			return errPacked
		}
		copyMatch(dst, at, back, n)
		at += n
	}
	if s.over > 2 {
		return errPacked
	}
	return nil
}

// distance reads the rest of a distance of at least 2.
func (s *lzxState) distance(slot int, aligned bool) (int, error) {
	extra := max(slot/2-1, 0)
	base := slot
	if slot >= 4 {
		base = (2 + slot&1) << extra
	}
	if !aligned || extra < 3 {
		return base + s.take(extra) - 2, nil
	}
	v := base + s.take(extra-3)<<3
	low, err := s.symbol(&s.aligned, 7)
	return v + low - 2, err
}

// undoE8 turns the absolute targets that the packer made of x86 calls back
// into relative ones.
func undoE8(b []byte) {
	const fileSize = 12_000_000
	for i := 0; i < len(b)-10; i++ {
		if b[i] != 0xE8 {
			continue
		}
		switch abs := int32(le.Uint32(b[i+1:])); {
		case abs >= 0 && abs < fileSize:
			le.PutUint32(b[i+1:], uint32(abs-int32(i)))
		case abs < 0 && abs >= -int32(i):
			le.PutUint32(b[i+1:], uint32(abs+fileSize))
		}
		i += 4
	}
}
