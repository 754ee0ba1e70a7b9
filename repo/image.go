package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"sort"
)

// Image reads a stored image. It loads the map lazily, checks every chunk it
// returns, and is safe for concurrent use. It satisfies disk.Disk,
// disk.ContextReaderAt and disk.Blocks (fs/disk) without knowing them.
type Image struct {
	x   *reader
	ref ImageRef
}

// OpenImage opens an image of a restore point; nothing is read yet.
func (r *Repo) OpenImage(ctx context.Context, ref ImageRef) (*Image, error) {
	if err := ref.validate(); err != nil {
		return nil, fmt.Errorf("repo: open image: %w", err)
	}
	return &Image{x: r.reader, ref: ref}, nil
}

// Size is the image's length in bytes.
func (i *Image) Size() int64 { return i.ref.Size }

// Ref is what the image was opened with.
func (i *Image) Ref() ImageRef { return i.ref }

// table is a loaded table of the second level.
type table struct {
	refs   []segmentRef
	before []int64 // allocated blocks of the table before each segment
}

// table loads table n; nil is one hole.
func (i *Image) table(ctx context.Context, n int) (*table, error) {
	if n >= len(i.ref.Tables) || i.ref.Tables[n].Hash.IsZero() {
		return nil, nil
	}
	t := i.ref.Tables[n]
	i.x.mu.Lock()
	key := partKey{t.Address, t.Hash}
	got, ok := i.x.tables.get(key)
	i.x.mu.Unlock()
	if ok {
		return got, i.covers(got, n)
	}
	b, err := i.x.part(ctx, t.Address, t.Hash, kindTable)
	if err != nil {
		return nil, err
	}
	refs, err := unmarshalTable(b)
	if err != nil {
		return nil, &CorruptError{Object: packName(t.Address.Pack), Slot: int64(t.Address.Slot), Err: err}
	}
	got = &table{refs: refs, before: make([]int64, len(refs)+1)}
	for k, r := range refs {
		got.before[k+1] = got.before[k] + r.allocated
	}
	i.x.mu.Lock()
	defer i.x.mu.Unlock()
	i.x.tables.add(key, got, int64(len(refs))*96)
	return got, i.covers(got, n)
}

// covers checks that table n does not go on behind the image.
func (i *Image) covers(t *table, n int) error {
	if rest := i.ref.Size - int64(n)*tableSize; int64(len(t.refs)) > (rest+segmentSize-1)/segmentSize {
		a := i.ref.Tables[n].Address
		return &CorruptError{Object: packName(a.Pack), Slot: int64(a.Slot), Err: fmt.Errorf("a table of %d segments goes on behind the image", len(t.refs))}
	}
	return nil
}

// segment loads segment n of the image; nil is one hole.
func (i *Image) segment(ctx context.Context, n int64) (*segment, error) {
	t, err := i.table(ctx, int(n/tableSlots))
	if t == nil || err != nil || int(n%tableSlots) >= len(t.refs) {
		return nil, err
	}
	ref := t.refs[n%tableSlots]
	if ref.hash.IsZero() {
		return nil, nil
	}
	i.x.mu.Lock()
	key := partKey{ref.addr, ref.hash}
	got, ok := i.x.segments.get(key)
	i.x.mu.Unlock()
	pages := segmentPagesAt(i.ref.Size, n*segmentSize)
	if ok && got.pages == pages {
		return got, nil
	}
	b, err := i.x.part(ctx, ref.addr, ref.hash, kindSegment)
	if err != nil {
		return nil, err
	}
	if got, err = unmarshalSegment(b, pages); err != nil {
		return nil, &CorruptError{Object: packName(ref.addr.Pack), Slot: int64(ref.addr.Slot), Err: err}
	}
	got.verified = newBitset(len(got.runs))
	i.x.mu.Lock()
	defer i.x.mu.Unlock()
	i.x.segments.add(key, got, int64(len(got.runs))*44+int64(len(got.packs))*32+200)
	return got, nil
}

// ReadAt reads at a byte offset, as io.ReaderAt.
func (i *Image) ReadAt(p []byte, off int64) (int, error) {
	return i.ReadAtContext(context.Background(), p, off)
}

// want is the part of a chunk that a read asks for.
type want struct {
	d    *directory
	slot uint32
	skip int    // bytes of the chunk before
	dst  []byte // where it goes
}

// ReadAtContext is ReadAt that gives up when ctx ends.
func (i *Image) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("repo: read at a negative offset")
	}
	if off >= i.ref.Size {
		return 0, io.EOF
	}
	var eof error
	if rest := i.ref.Size - off; int64(len(p)) > rest {
		p, eof = p[:rest], io.EOF
	}
	var few [8]want
	wants, n, err := i.wants(ctx, p, off, few[:0])
	if err != nil {
		// What lies before the damage can still be read.
		if n > 0 && i.x.read(ctx, wants) == nil {
			return n, fmt.Errorf("repo: image at %d: %w", off+int64(n), err)
		}
		return 0, fmt.Errorf("repo: image at %d: %w", off+int64(n), err)
	}
	if err := i.x.read(ctx, wants); err != nil {
		return 0, fmt.Errorf("repo: image at %d: %w", off, err)
	}
	return len(p), eof
}

// wants zeroes the holes of p and lists what must be read for the rest.
func (i *Image) wants(ctx context.Context, p []byte, off int64, out []want) ([]want, int, error) {
	for n := 0; n < len(p); {
		at := off + int64(n)
		seg, err := i.segment(ctx, at/segmentSize)
		if err != nil {
			return out, n, err
		}
		end := min(len(p), n+int(segmentSize-at%segmentSize))
		if seg == nil {
			clear(p[n:end])
			n = end
			continue
		}
		page := uint32(at % segmentSize / pageSize)
		for k := seg.find(page); n < end; k++ {
			r := &seg.runs[k]
			start := at - at%segmentSize + int64(r.first)*pageSize
			stop := min(end, int(start+int64(r.pages)*pageSize-off))
			if r.kind == runHole || r.kind == runLeft {
				clear(p[n:stop])
				n = stop
				continue
			}
			d, err := i.x.verified(ctx, seg, k)
			if err != nil {
				return out, n, err
			}
			for n < stop {
				rel := off + int64(n) - start
				slot, first := d.locate(r, r.first+uint32(rel/pageSize))
				skip := int(rel - int64(first-r.first)*pageSize)
				take := min(stop-n, int(d.slots[slot].Raw)-skip)
				out = append(out, want{d: d, slot: slot, skip: skip, dst: p[n : n+take]})
				n += take
			}
		}
	}
	return out, len(p), nil
}

// Prefetch brings the chunks of [off,off+n) into the cache in the background.
// It returns at once; a damaged chunk is for the read that needs it to report.
func (i *Image) Prefetch(off, n int64) {
	end := min(off+n, i.ref.Size)
	if off < 0 || off >= end {
		return
	}
	select {
	case i.x.ahead <- struct{}{}:
	default:
		return // enough is under way
	}
	go func() {
		defer func() { <-i.x.ahead }()
		i.prefetch(off, end)
	}()
}

func (i *Image) prefetch(off, end int64) {
	for off < end {
		seg, err := i.segment(i.x.ctx, off/segmentSize)
		if err != nil {
			return
		}
		next := min(end, (off/segmentSize+1)*segmentSize)
		if seg == nil {
			off = next
			continue
		}
		var wants []want
		base := off / segmentSize * segmentSize
		to := uint32(pagesOf(next - base))
		page := uint32(off % segmentSize / pageSize)
		for k := seg.find(page); k < len(seg.runs) && page < to; k++ {
			r := &seg.runs[k]
			stop := min(r.first+r.pages, to)
			if r.kind == runHole || r.kind == runLeft {
				page = stop
				continue
			}
			d, err := i.x.verified(i.x.ctx, seg, k)
			if err != nil {
				page = stop
				continue
			}
			for page < stop {
				slot, first := d.locate(r, page)
				wants = append(wants, want{d: d, slot: slot})
				page = first + d.pages(slot)
			}
		}
		i.x.launch(wants)
		off = next
	}
}

// NextData returns the first extent at or behind off that is neither hole nor
// left out; io.EOF when there is none.
func (i *Image) NextData(off int64) (start, end int64, err error) {
	if off < 0 {
		return 0, 0, errors.New("repo: extent behind a negative offset")
	}
	ctx := context.Background()
	for off < i.ref.Size {
		t, err := i.table(ctx, int(off/tableSize))
		if err != nil {
			return 0, 0, fmt.Errorf("repo: image at %d: %w", off, err)
		}
		if t == nil {
			off = (off/tableSize + 1) * tableSize
			continue
		}
		seg, err := i.segment(ctx, off/segmentSize)
		if err != nil {
			return 0, 0, fmt.Errorf("repo: image at %d: %w", off, err)
		}
		base := off / segmentSize * segmentSize
		if seg != nil {
			if s, e, ok := seg.nextData(uint32((off - base) / pageSize)); ok {
				return max(off, base+int64(s)*pageSize), min(base+int64(e)*pageSize, i.ref.Size), nil
			}
		}
		off = base + segmentSize
	}
	return 0, 0, io.EOF
}

// nextData gives the pages of the first stretch of data that ends behind page.
func (s *segment) nextData(page uint32) (start, end uint32, ok bool) {
	for k := s.find(page); k < len(s.runs); k++ {
		r := &s.runs[k]
		data := r.kind == runData || r.kind == runRepeat
		switch {
		case data && !ok:
			start, end, ok = r.first, r.first+r.pages, true
		case data:
			end = r.first + r.pages
		case ok:
			return start, end, true
		}
	}
	return start, end, ok
}

// BlockSize is the size of the blocks that Rank and Select count.
func (i *Image) BlockSize() int64 { return i.ref.Block }

// Allocated is the number of blocks that hold data.
func (i *Image) Allocated() int64 { return i.ref.Allocated }

// Rank returns how many blocks before block hold data, and whether block does.
func (i *Image) Rank(ctx context.Context, block int64) (before int64, allocated bool, err error) {
	off := block * i.ref.Block
	if block < 0 || off >= i.ref.Size {
		return i.ref.Allocated, false, nil
	}
	n := int(off / tableSize)
	if n >= len(i.ref.Tables) {
		return i.ref.Allocated, false, nil
	}
	before = i.ref.Tables[n].Before
	t, err := i.table(ctx, n)
	if t == nil || err != nil {
		return before, false, err
	}
	k := min(int(off%tableSize/segmentSize), len(t.refs))
	before += t.before[k]
	seg, err := i.segment(ctx, off/segmentSize)
	if seg == nil || err != nil {
		return before, false, err
	}
	b := seg.blockIndex(i.ref.Block)
	at := off % segmentSize / i.ref.Block
	return before + b.rank(at), b.bits[at/64]>>(at%64)&1 == 1, nil
}

// Select returns the block holding data that has n such blocks before it.
func (i *Image) Select(ctx context.Context, n int64) (block int64, err error) {
	if n < 0 || n >= i.ref.Allocated {
		return 0, fmt.Errorf("repo: image has %d allocated blocks, not %d", i.ref.Allocated, n+1)
	}
	k := sort.Search(len(i.ref.Tables), func(k int) bool { return i.ref.Tables[k].Before > n }) - 1
	if k < 0 {
		return 0, errors.New("repo: the block counts of the image do not add up")
	}
	t, err := i.table(ctx, k)
	if err != nil {
		return 0, err
	}
	if t == nil {
		return 0, errors.New("repo: the block counts of the image do not add up")
	}
	rest := n - i.ref.Tables[k].Before
	s := sort.Search(len(t.refs), func(s int) bool { return t.before[s+1] > rest })
	if s == len(t.refs) {
		return 0, errors.New("repo: the block counts of the image do not add up")
	}
	index := int64(k)*tableSlots + int64(s)
	seg, err := i.segment(ctx, index)
	if err != nil {
		return 0, err
	}
	at, ok := seg.blockIndex(i.ref.Block).find(rest - t.before[s])
	if !ok {
		return 0, errors.New("repo: the block counts of the image do not add up")
	}
	return index*(segmentSize/i.ref.Block) + at, nil
}

// blockBits tells which blocks of a segment hold data.
type blockBits struct {
	block  int64
	bits   []uint64
	before []uint32 // set bits before each word
}

// blockIndex makes the bits on first use.
func (s *segment) blockIndex(block int64) *blockBits {
	if b := s.blocksOf.Load(); b != nil && b.block == block {
		return b
	}
	per := uint32(block / pageSize)
	n := (s.pages + per - 1) / per
	b := &blockBits{block: block, bits: make([]uint64, (n+63)/64), before: make([]uint32, (n+63)/64)}
	for k := range s.runs {
		r := &s.runs[k]
		if r.kind != runData && r.kind != runRepeat {
			continue
		}
		for at := r.first / per; at <= (r.first+r.pages-1)/per; at++ {
			b.bits[at/64] |= 1 << (at % 64)
		}
	}
	sum := uint32(0)
	for w := range b.bits {
		b.before[w] = sum
		sum += uint32(bits.OnesCount64(b.bits[w]))
	}
	s.blocksOf.Store(b)
	return b
}

func (b *blockBits) rank(at int64) int64 {
	return int64(b.before[at/64]) + int64(bits.OnesCount64(b.bits[at/64]&(1<<(at%64)-1)))
}

func (b *blockBits) find(n int64) (int64, bool) {
	w := sort.Search(len(b.bits), func(w int) bool { return int64(b.before[w]) > n }) - 1
	if w < 0 {
		return 0, false
	}
	word := b.bits[w]
	for range n - int64(b.before[w]) {
		word &= word - 1
	}
	if word == 0 {
		return 0, false
	}
	return int64(w)*64 + int64(bits.TrailingZeros64(word)), true
}
