package repo

import "context"

// mapper builds the segments of one image from pieces in order. It merges
// what can be merged, so that equal maps have equal bytes.
type mapper struct {
	hashers *hashers
	// hashes gives the hashes of n slots of a stored pack from slot on; it is
	// asked when a run taken over from a base is continued.
	hashes func(ctx context.Context, id PackID, slot, n uint32) ([]Hash, error)

	seg  *segment
	at   uint32 // pages so far
	pack map[PackID]uint32
	last []Hash // hashes of the last run's chunks; nil for a run taken over
}

func (m *mapper) begin(pages uint32) {
	m.seg = &segment{pages: pages}
	m.at, m.last = 0, nil
	m.pack = map[PackID]uint32{}
}

func (m *mapper) tail() *run {
	if len(m.seg.runs) == 0 {
		return nil
	}
	return &m.seg.runs[len(m.seg.runs)-1]
}

func (m *mapper) push(r run) {
	m.seg.runs = append(m.seg.runs, r)
	m.at += r.pages
}

// packIndex numbers packs by first use.
func (m *mapper) packIndex(id PackID) uint32 {
	i, ok := m.pack[id]
	if !ok {
		i = uint32(len(m.seg.packs))
		m.pack[id] = i
		m.seg.packs = append(m.seg.packs, id)
	}
	return i
}

// empty adds pages of a hole or left out.
func (m *mapper) empty(kind runKind, pages uint32) {
	if t := m.tail(); t != nil && t.kind == kind {
		t.pages += pages
		m.at += pages
		return
	}
	m.finish()
	m.push(run{kind: kind, first: m.at, pages: pages})
}

// chunk adds one chunk.
func (m *mapper) chunk(ctx context.Context, pages uint32, a Address, h Hash) error {
	return m.run(ctx, runData, pages, a, []Hash{h}, 1, [checkSize]byte{})
}

// run adds a run. Without hashes it is taken over as it is, with its check.
func (m *mapper) run(ctx context.Context, kind runKind, pages uint32, a Address, hashes []Hash, slots uint32, check [checkSize]byte) error {
	t := m.tail()
	if t != nil && (t.kind == runData || t.kind == runRepeat) && m.seg.packs[t.pack] == a.Pack {
		switch {
		case t.kind == runData && kind == runData && t.slot+t.slots == a.Slot:
			return m.join(ctx, t, pages, a, hashes, slots)
		case t.slots == 1 && slots == 1 && t.slot == a.Slot:
			// The check of a repeat is that of its one chunk.
			m.finish()
			t.kind = runRepeat
			t.pages += pages
			m.at += pages
			return nil
		}
	}
	m.finish()
	m.push(run{kind: kind, first: m.at, pages: pages, pack: m.packIndex(a.Pack), slot: a.Slot, slots: slots, check: check})
	if hashes != nil {
		m.last = append(m.last[:0], hashes...)
	}
	return nil
}

// join adds chunks to the run t, which they follow in its pack.
func (m *mapper) join(ctx context.Context, t *run, pages uint32, a Address, hashes []Hash, slots uint32) error {
	last := m.last
	var err error
	if last == nil {
		if last, err = m.hashes(ctx, a.Pack, t.slot, t.slots); err != nil {
			return err
		}
	}
	if hashes == nil {
		if hashes, err = m.hashes(ctx, a.Pack, a.Slot, slots); err != nil {
			return err
		}
	}
	m.last = append(last, hashes...)
	t.slots += slots
	t.pages += pages
	m.at += pages
	return nil
}

// finish computes the check of the run that ends here.
func (m *mapper) finish() {
	if t := m.tail(); t != nil && m.last != nil {
		t.check = m.hashers.runCheck(m.last)
	}
	m.last = nil
}

// end returns the segment, or nil when it is one hole.
func (m *mapper) end() *segment {
	m.finish()
	if len(m.seg.runs) == 1 && m.seg.runs[0].kind == runHole {
		return nil
	}
	return m.seg
}
