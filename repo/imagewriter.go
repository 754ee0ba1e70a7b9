package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"
)

// imageStore is one StoreImage: a planner goes over the image in order and
// makes jobs, workers read, cut, hash and compress, and a collector gives the
// chunks their places and builds the map, in order again.
type imageStore struct {
	w    *Writer
	src  Source
	size int64
	opts ImageOptions

	base    *Image // nil: everything is read
	changed extents
	left    extents
	skip    extents // the units that lie in left completely
}

// maxSpanWorkers bounds the spans of an image in memory: each takes its 16 MiB
// and, until the map has it, what is left of it compressed.
const maxSpanWorkers = 6

// smallImage is the size up to which images share a pack with the maps, so
// that a machine's configuration does not make a pack for each of its files.
const smallImage = 4 << 20

// StoreImage reads src and stores it as an image. What lies outside of
// Changed is taken from Base without reading src, but for the neighbours of
// a changed extent, which are cut anew with it. A base of another size is no
// base: everything is read.
func (w *Writer) StoreImage(ctx context.Context, src Source, o ImageOptions) (ImageRef, Stats, error) {
	s := &imageStore{w: w, src: &memo{Source: src}, size: src.Size(), opts: o}
	if err := s.prepare(); err != nil {
		return ImageRef{}, Stats{}, err
	}
	workers := min(w.repo.opts.Workers, maxSpanWorkers)
	jobs := make(chan *spanJob, workers)    // for the workers
	ordered := make(chan *spanJob, workers) // for the collector; bounds what waits in memory
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(jobs)
		defer close(ordered)
		return s.plan(ctx, func(j *spanJob, work bool) error {
			j.done = make(chan struct{})
			if !work {
				close(j.done)
			} else {
				select {
				case jobs <- j:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			select {
			case ordered <- j:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	for range workers {
		g.Go(func() error {
			k := &spanWorker{s: s}
			for j := range jobs {
				err := k.run(ctx, j)
				close(j.done)
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	var ref ImageRef
	var st Stats
	g.Go(func() error {
		var err error
		ref, st, err = s.collect(ctx, ordered)
		return err
	})
	if err := g.Wait(); err != nil {
		return ImageRef{}, Stats{}, err
	}
	if err := w.failed(); err != nil {
		return ImageRef{}, Stats{}, err
	}
	return ref, st, nil
}

// prepare checks the options.
func (s *imageStore) prepare() error {
	if s.size < 0 {
		return fmt.Errorf("repo: a source of %d bytes", s.size)
	}
	if s.opts.Block == 0 {
		s.opts.Block = 2 << 20
	}
	if b := s.opts.Block; b < unitSize || b > segmentSize || b&(b-1) != 0 {
		return fmt.Errorf("repo: blocks of %d bytes", b)
	}
	if s.opts.Read == nil {
		s.opts.Read = func(int64) {}
	}
	left, err := collect(s.opts.LeftOut, s.size, "left out")
	if err != nil {
		return err
	}
	for _, x := range left {
		start, end := (x[0]+pageSize-1)/pageSize*pageSize, x[1]/pageSize*pageSize
		if x[1] == s.size {
			end = s.size
		}
		s.left.add(start, end)
		s.skip.add((start+unitSize-1)/unitSize*unitSize, end/unitSize*unitSize)
	}
	if s.opts.Base != nil && s.opts.Changed != nil && s.opts.Base.Size() == s.size {
		s.base = s.opts.Base
		if s.changed, err = collect(s.opts.Changed, s.size, "changed"); err != nil {
			return err
		}
	}
	return nil
}

// segmentPagesAt is the length of the segment that begins at off.
func segmentPagesAt(size, off int64) uint32 {
	return uint32(min(pagesOf(size)-off/pageSize, segmentPages))
}

// plan makes the jobs of the whole image in order. Jobs end with their
// segment.
func (s *imageStore) plan(ctx context.Context, send func(j *spanJob, work bool) error) error {
	for off := int64(0); off < s.size; off += segmentSize {
		if err := ctx.Err(); err != nil {
			return err
		}
		pages := segmentPagesAt(s.size, off)
		var seg *segment
		var fresh extents
		if s.base != nil {
			var err error
			seg, err = s.base.segment(ctx, off/segmentSize)
			lost := damaged(err) // then all of it is read
			if err != nil && !lost {
				return fmt.Errorf("repo: base: %w", err)
			}
			if lost {
				s.w.index.distrust(err)
			} else {
				if fresh, err = s.freshIn(seg, off, pages); err != nil {
					return err
				}
			}
			if seg == nil && !lost {
				seg = &segment{pages: pages, runs: []run{{kind: runHole, pages: pages}}}
			}
		}
		if err := s.planSegment(off, pages, seg, fresh, send); err != nil {
			return err
		}
	}
	return nil
}

// planSegment makes the jobs of one segment.
func (s *imageStore) planSegment(off int64, pages uint32, seg *segment, fresh extents, send func(j *spanJob, work bool) error) error {
	end := min(off+int64(pages)*pageSize, s.size)
	if seg != nil && len(fresh) == 0 {
		return send(&spanJob{off: off, pages: pages, base: seg}, true)
	}
	quiet := off // where a stretch without work began
	flush := func(to int64) error {
		if to == quiet {
			return nil
		}
		j := &spanJob{off: quiet, pages: uint32(pagesOf(to - quiet)), base: seg}
		if seg == nil {
			j.items = []item{{kind: pieceHole, pages: j.pages}}
		}
		quiet = to
		return send(j, seg != nil)
	}
	for at := off; at < end; {
		to := min(at+spanSize, end)
		var part extents
		if seg != nil {
			part = fresh.clip(at, to)
		}
		next, busy, err := s.busy(seg != nil, part, at, to, end)
		if err != nil {
			return err
		}
		if !busy {
			at = next
			continue
		}
		if err := flush(at); err != nil {
			return err
		}
		if err := send(&spanJob{off: at, pages: uint32(pagesOf(to - at)), base: seg, fresh: part}, true); err != nil {
			return err
		}
		at, quiet = to, to
	}
	return flush(end)
}

// busy tells whether a span needs work and, if not, where to look next.
func (s *imageStore) busy(incremental bool, fresh extents, at, to, end int64) (next int64, busy bool, err error) {
	if incremental {
		return to, len(fresh) > 0, nil
	}
	if len(s.left.clip(at, to)) > 0 {
		return to, true, nil
	}
	start, _, err := s.src.NextData(at)
	if err == io.EOF {
		start, err = s.size, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("repo: source at %d: %w", at, err)
	}
	if start < to {
		return to, true, nil
	}
	next = min(start/spanSize*spanSize, end)
	if l := s.left.clip(to, end); len(l) > 0 {
		next = min(next, l[0][0]/spanSize*spanSize)
	}
	return max(next, to), false, nil
}

// freshIn gives what of a segment cannot be taken from the base: what may
// have changed, what was left out and is not now or the other way round, what
// the source no longer has, and what lies in packs that are gone or condemned.
func (s *imageStore) freshIn(seg *segment, off int64, pages uint32) (extents, error) {
	end := min(off+int64(pages)*pageSize, s.size)
	fresh := s.changed.clip(off, end)
	left := s.left.clip(off, end)
	if seg == nil {
		for _, x := range left {
			fresh.add(x[0], x[1])
		}
		return fresh.normalize(), nil
	}
	var was extents
	for i := range seg.runs {
		r := &seg.runs[i]
		a, b := off+int64(r.first)*pageSize, min(off+int64(r.first+r.pages)*pageSize, s.size)
		switch r.kind {
		case runLeft:
			was.add(a, b)
		case runData, runRepeat:
			if !s.w.index.usable(seg.packs[r.pack]) {
				fresh.add(a, b)
				continue
			}
			if err := s.gone(&fresh, a, b); err != nil {
				return nil, err
			}
		}
	}
	for _, x := range differ(was.normalize(), left) {
		fresh.add(x[0], x[1])
	}
	return fresh.normalize(), nil
}

// gone adds what of the run [a,b) the source has no data for. Less than a unit
// inside the run does not count: it is no hole.
func (s *imageStore) gone(fresh *extents, a, b int64) error {
	for at := a; at < b; {
		start, end, err := s.src.NextData(at)
		if err == io.EOF {
			start, end, err = b, b, nil
		}
		if err != nil {
			return fmt.Errorf("repo: source at %d: %w", at, err)
		}
		from, to := at, min(start, b)
		if from > a {
			from = (from + unitSize - 1) / unitSize * unitSize
		}
		if to < b {
			to = to / unitSize * unitSize
		}
		fresh.add(from, to)
		if end <= at {
			break
		}
		at = end
	}
	return nil
}

// differ gives what lies in exactly one of two sets.
func differ(a, b extents) extents {
	var out extents
	minus := func(a, b extents) {
		for _, x := range a {
			at := x[0]
			for _, y := range b.clip(x[0], x[1]) {
				out.add(at, y[0])
				at = y[1]
			}
			out.add(at, x[1])
		}
	}
	minus(a, b)
	minus(b, a)
	return out.normalize()
}

// takeOver turns the pages [from,to) of a segment of the base into items. The
// runs come whole where they can, unless single chunks are asked for.
func (s *imageStore) takeOver(ctx context.Context, seg *segment, from, to uint32, single bool) ([]item, error) {
	var items []item
	for i := seg.find(from); i < len(seg.runs) && seg.runs[i].first < to; i++ {
		r := &seg.runs[i]
		a, b := max(r.first, from), min(r.first+r.pages, to)
		it := item{page: int(a - from), pages: b - a}
		switch {
		case r.kind == runHole:
			it.kind = pieceHole
			items = append(items, it)
		case r.kind == runLeft:
			it.kind = pieceLeft
			items = append(items, it)
		case !single && b-a == r.pages:
			it.kind, it.known, it.whole = pieceData, true, true
			it.addr = Address{Pack: seg.packs[r.pack], Slot: r.slot}
			it.repeat, it.slots, it.check = r.kind == runRepeat, r.slots, r.check
			items = append(items, it)
		default:
			d, err := s.w.repo.reader.verified(ctx, seg, i)
			if err != nil {
				return nil, fmt.Errorf("repo: base: %w", err)
			}
			for p := a; p < b; {
				slot, first := d.locate(r, p)
				n := d.pages(slot)
				if first != p || p+n > b {
					return nil, corrupt(packName(seg.packs[r.pack]), errors.New("a chunk of the base crosses a cut"))
				}
				items = append(items, item{kind: pieceData, known: true, page: int(p - from), pages: n,
					addr: Address{Pack: seg.packs[r.pack], Slot: slot}, hash: d.slots[slot].Hash})
				p += n
			}
		}
	}
	return items, nil
}

// collector builds the map of one image.
type collector struct {
	s      *imageStore
	ctx    context.Context
	data   *packer // nil: the pack that maps and small images share
	m      mapper
	ref    ImageRef
	st     Stats
	off    int64 // of the segment that is being built
	table  []segmentRef
	before int64
}

// collect takes the jobs in order, gives new chunks their places and builds
// the map.
func (s *imageStore) collect(ctx context.Context, ordered <-chan *spanJob) (_ ImageRef, _ Stats, err error) {
	c := &collector{s: s, ctx: ctx}
	if s.size > smallImage {
		c.data = &packer{w: s.w, room: int(min(int64(s.w.repo.packSize), s.size))}
		// Other images may have taken addresses in the last pack already: it is
		// stored also when this one fails.
		defer func() {
			if err != nil && s.w.failed() == nil {
				err = errors.Join(err, c.data.flush(s.w.ctx))
			}
		}()
	}
	c.m.hashers = &s.w.repo.hashers
	c.m.hashes = func(ctx context.Context, id PackID, slot, n uint32) ([]Hash, error) {
		return s.w.repo.reader.hashes(ctx, id, slot, n)
	}
	c.ref = ImageRef{Size: s.size, Block: s.opts.Block}
	c.st.Size = s.size
	if s.size > 0 {
		c.m.begin(segmentPagesAt(s.size, 0))
	}
	for j := range ordered {
		select {
		case <-j.done:
		case <-ctx.Done():
			return c.ref, c.st, ctx.Err()
		}
		if err := c.job(j); err != nil {
			return c.ref, c.st, err
		}
		c.st.Read += j.read
		s.opts.Read(int64(j.pages) * pageSize)
		s.w.arenas.put(j.arena)
	}
	if ctx.Err() != nil {
		return c.ref, c.st, ctx.Err()
	}
	if c.off < s.size {
		return c.ref, c.st, errors.New("repo: the map of the image is not complete")
	}
	if err := c.endTable(); err != nil {
		return c.ref, c.st, err
	}
	for len(c.ref.Tables) > 0 && c.ref.Tables[len(c.ref.Tables)-1].Hash.IsZero() {
		c.ref.Tables = c.ref.Tables[:len(c.ref.Tables)-1]
	}
	c.st.Data, c.st.LeftOut = c.ref.Data, c.ref.Left
	if c.data == nil {
		return c.ref, c.st, nil
	}
	return c.ref, c.st, c.data.flush(ctx)
}

// put gives a new chunk its place.
func (c *collector) put(s slotInfo, body []byte) (Address, error) {
	if c.data != nil {
		return c.data.add(c.ctx, s, body)
	}
	c.s.w.metaMu.Lock()
	defer c.s.w.metaMu.Unlock()
	return c.s.w.meta.add(c.ctx, s, body)
}

// job adds the items of one job to the map.
func (c *collector) job(j *spanJob) error {
	for i := range j.items {
		it := &j.items[i]
		bytes := c.bytes(it.pages)
		switch it.kind {
		case pieceHole:
			c.m.empty(runHole, it.pages)
		case pieceLeft:
			c.m.empty(runLeft, it.pages)
			c.ref.Left += bytes
		default:
			c.ref.Data += bytes
			if err := c.chunk(it, j.arena, bytes); err != nil {
				return err
			}
		}
	}
	if c.m.at == c.m.seg.pages {
		return c.endSegment()
	}
	return nil
}

// bytes is what the next pages hold; the last page of an image may be short.
func (c *collector) bytes(pages uint32) int64 {
	start := c.off + int64(c.m.at)*pageSize
	return min(start+int64(pages)*pageSize, c.s.size) - start
}

func (c *collector) chunk(it *item, arena []byte, bytes int64) error {
	if it.whole {
		kind := runData
		if it.repeat {
			kind = runRepeat
		}
		return c.m.run(c.ctx, kind, it.pages, it.addr, nil, it.slots, it.check)
	}
	if !it.known {
		if it.addr, it.known = c.s.w.index.recent(it.hash); !it.known {
			body := arena[it.off : it.off+it.n]
			a, err := c.put(slotInfo{Hash: it.hash, Raw: it.pages * pageSize, Method: it.method, Kind: kindData}, body)
			if err != nil {
				return err
			}
			it.addr = a
			c.s.w.index.add(it.hash, a)
			c.st.New += bytes
			c.st.Stored += int64(len(body) + tagSize)
		}
	}
	return c.m.chunk(c.ctx, it.pages, it.addr, it.hash)
}

// endSegment stores the segment that is complete and begins the next.
func (c *collector) endSegment() error {
	var ref segmentRef
	if seg := c.m.end(); seg != nil {
		a, h, err := c.s.w.storeMap(c.ctx, kindSegment, seg.marshal(), &c.st)
		if err != nil {
			return err
		}
		c.s.w.name(seg.packs...)
		ref = segmentRef{addr: a, hash: h, allocated: seg.blocks(c.s.opts.Block, seg.pages)}
	}
	c.table = append(c.table, ref)
	c.ref.Allocated += ref.allocated
	c.off += int64(c.m.seg.pages) * pageSize
	if c.off < c.s.size {
		c.m.begin(segmentPagesAt(c.s.size, c.off))
		if len(c.table) == tableSlots {
			return c.endTable()
		}
	} else {
		c.off = c.s.size
	}
	return nil
}

// endTable stores the table that is complete.
func (c *collector) endTable() error {
	if len(c.table) == 0 {
		return nil
	}
	t := TableRef{Before: c.before}
	if b := marshalTable(c.table); b != nil {
		var err error
		if t.Address, t.Hash, err = c.s.w.storeMap(c.ctx, kindTable, b, &c.st); err != nil {
			return err
		}
	}
	c.ref.Tables = append(c.ref.Tables, t)
	c.table, c.before = c.table[:0], c.ref.Allocated
	return nil
}
