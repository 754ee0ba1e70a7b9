package ntfs

// xpress decompresses a chunk of XPRESS with Huffman codes ([MS-XCA] 2.2) into
// dst, which it must fill.
func xpress(dst, src []byte) error {
	const symbols = 512
	if len(src) < symbols/2 {
		return errPacked
	}
	var lengths [symbols]uint8
	for i, b := range src[:symbols/2] {
		lengths[2*i], lengths[2*i+1] = b&15, b>>4
	}
	var h huffman
	if err := h.build(lengths[:]); err != nil {
		return err
	}
	r := bitReader{src: src[symbols/2:]}
	for at := 0; at < len(dst); {
		sym, err := r.symbol(&h, 15)
		if err != nil {
			return err
		}
		if sym < 256 {
			dst[at] = byte(sym)
			at++
			continue
		}
		n, log := sym&15, sym>>4&15
		r.ensure(16)
		back := 1<<log | r.take(log)
		if n == 15 {
			b, err := r.bytes(1)
			if err != nil {
				return err
			}
			if n += int(b[0]); b[0] == 0xFF {
				if b, err = r.bytes(2); err != nil {
					return err
				}
				n = int(le.Uint16(b))
			}
		}
		if n += 3; back > at || n > len(dst)-at || r.over > 2 {
			return errPacked
		}
		copyMatch(dst, at, back, n)
		at += n
	}
	if r.over > 2 {
		return errPacked
	}
	return nil
}
