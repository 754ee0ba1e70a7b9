package ntfs

import "fmt"

// maxUnit bounds a compression unit; Windows makes units of 64 KiB at most.
const maxUnit = 1 << 20

// readUnits reads bytes of a compressed stream, unit by unit. A unit without
// clusters is zeros, one with all of them is stored as it is, any other is
// compressed: which it is depends on the clusters of its VCNs, not on runs,
// since a hole may cover the rest of one unit and all of the next.
func (s *stream) readUnits(p []byte, off int64) (int, error) {
	size := s.unit * s.fs.geo.cluster
	for done := 0; done < len(p); {
		at := off + int64(done)
		unit, skip := at/size, at%size
		q := p[done:]
		if int64(len(q)) > size-skip {
			q = q[:size-skip]
		}
		var err error
		switch have := s.allocated(unit * s.unit); have {
		case 0:
			clear(q)
		case s.unit:
			_, err = s.readRuns(q, at)
		default:
			err = s.readUnit(q, unit, skip, have)
		}
		if err != nil {
			return done, err
		}
		done += len(q)
	}
	return len(p), nil
}

// allocated counts the clusters of the unit that begins at vcn.
func (s *stream) allocated(vcn int64) int64 {
	have := int64(0)
	for end := vcn + s.unit; vcn < end; {
		lcn, n, ok := s.list.at(vcn)
		if !ok {
			break
		}
		if n = min(n, end-vcn); lcn != hole {
			have += n
		}
		vcn += n
	}
	return have
}

// readUnit reads a part of a unit that have clusters hold compressed.
func (s *stream) readUnit(p []byte, unit, skip, have int64) error {
	size := s.unit * s.fs.geo.cluster
	key := cacheKey{unitBlock, s.record, s.typ, s.name, unit}
	if v, ok := s.fs.cache.get(key); ok {
		copy(p, v.([]byte)[skip:])
		return nil
	}
	buf := s.fs.buffer()
	defer s.fs.buffers.Put(buf)
	packed := grow(buf, have*s.fs.geo.cluster)
	if err := s.gather(packed, unit*s.unit); err != nil {
		return err
	}
	whole := int64(len(p)) == size
	out := p
	if !whole {
		out = make([]byte, size)
	}
	if err := lznt1(out, packed); err != nil {
		return damage(s.object(), "compression unit %d: %v", unit, err)
	}
	if !whole {
		copy(p, out[skip:])
		s.fs.cache.put(key, out, size)
	}
	return nil
}

// gather reads the clusters of the unit at vcn, without its holes.
func (s *stream) gather(p []byte, vcn int64) error {
	c := s.fs.geo.cluster
	for len(p) > 0 {
		lcn, n, ok := s.list.at(vcn)
		if !ok {
			return fmt.Errorf("ntfs: read %s: no runs at VCN %d", s.object(), vcn)
		}
		if lcn != hole {
			k := min(n*c, int64(len(p)))
			if err := s.fs.read(p[:k], lcn*c); err != nil {
				return err
			}
			p = p[k:]
		}
		vcn += n
	}
	return nil
}

// buffer returns a buffer that others have used; it goes back to f.buffers.
func (f *FS) buffer() *[]byte {
	if b, ok := f.buffers.Get().(*[]byte); ok {
		return b
	}
	return new([]byte)
}

// grow returns n bytes of *b, made anew when it has not as many.
func grow(b *[]byte, n int64) []byte {
	if int64(cap(*b)) < n {
		*b = make([]byte, n)
	}
	return (*b)[:n]
}
