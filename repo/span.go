package repo

import (
	"context"
	"fmt"
	"io"
	"sort"
)

// item is a piece of an image on its way into the map.
type item struct {
	kind  pieceKind
	pages uint32
	hash  Hash
	addr  Address
	known bool // addr is set

	page   int // in the span, while it is cut
	method method
	off, n int // compressed form in the job's arena; n is 0 when known

	// A run taken over whole from the base.
	whole  bool
	repeat bool
	slots  uint32
	check  [checkSize]byte
}

// spanJob is a part of an image, at most a span, that one worker turns into
// items. Jobs are collected in order.
type spanJob struct {
	off   int64    // first byte
	pages uint32   // its length
	base  *segment // of the base, when it is not read whole
	fresh extents  // with base: what is read anew; without: everything

	items []item
	arena []byte
	read  int64
	done  chan struct{}
}

// spanWorker has the memory that a job needs while it is worked on.
type spanWorker struct {
	s       *imageStore
	buf     spanBuffer
	loaded  [spanPages / unitPages]bool
	scratch []byte
}

// run does one job. Where the base is damaged the source is read instead.
func (k *spanWorker) run(ctx context.Context, j *spanJob) error {
	if j.base != nil {
		k.loaded = [spanPages / unitPages]bool{}
		err := k.recut(ctx, j)
		if err == nil {
			return k.fill(j)
		}
		if !damaged(err) {
			return err
		}
		k.s.w.index.distrust(err)
		j.items = nil
	}
	for at := uint32(0); at < j.pages; at += spanPages {
		k.loaded = [spanPages / unitPages]bool{}
		part := &spanJob{off: j.off + int64(at)*pageSize, pages: min(spanPages, j.pages-at), arena: j.arena}
		if _, err := k.cut(ctx, part, 0, int(part.pages), extents{{part.off, part.end(k.s.size)}}, nil); err != nil {
			return err
		}
		if err := k.fill(part); err != nil {
			return err
		}
		j.items, j.arena, j.read = append(j.items, part.items...), part.arena, j.read+part.read
	}
	return nil
}

// fill finds the addresses of the chunks that the repository has, and
// compresses the others.
func (k *spanWorker) fill(j *spanJob) error {
	if err := k.s.w.index.lookup(j.items); err != nil {
		return fmt.Errorf("repo: index cache: %w", err)
	}
	for i := range j.items {
		it := &j.items[i]
		if it.kind != pieceData || it.known {
			continue
		}
		raw := k.buf.data[it.page*pageSize : (it.page+int(it.pages))*pageSize]
		if j.arena == nil {
			j.arena = k.s.w.arenas.get(min(spanSize+spanSize/32, int(j.pages)*pageSize*2))[:0]
		}
		it.off = len(j.arena)
		j.arena, it.method, k.scratch = k.s.w.repo.codecs.encode(j.arena, raw, k.scratch)
		it.n = len(j.arena) - it.off
	}
	return nil
}

func (j *spanJob) end(size int64) int64 { return min(j.off+int64(j.pages)*pageSize, size) }

// cut cuts the pages [from,to) anew and adds the items. fresh is what may be
// read ahead of need.
func (k *spanWorker) cut(ctx context.Context, j *spanJob, from, to int, fresh extents, stop func(p int) bool) (int, error) {
	load := func(unit int) error {
		if k.loaded[unit] {
			return nil
		}
		start := j.off + int64(unit)*unitSize
		end := min(start+unitSize, j.end(k.s.size))
		if ahead := fresh.clip(start, j.end(k.s.size)); len(ahead) > 0 && ahead[0][0] < end {
			end = min((ahead[0][1]+unitSize-1)/unitSize*unitSize, j.end(k.s.size))
		}
		return k.load(ctx, j, unit, start, end)
	}
	emit := func(kind pieceKind, p, n int) error {
		it := item{kind: kind, page: p, pages: uint32(n)}
		if kind == pieceData {
			it.hash = k.s.w.repo.hashers.hash(kindData, k.buf.data[p*pageSize:(p+n)*pageSize])
		}
		j.items = append(j.items, it)
		return nil
	}
	return cutSpan(k.s.w.repo.keys.seed, &k.buf, from, to, load, stop, emit)
}

// load reads [start,end) of the source into the buffer; start is the byte of
// unit. What the source has no data for, and units that are left out, are not
// read.
func (k *spanWorker) load(ctx context.Context, j *spanJob, unit int, start, end int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if k.buf.data == nil {
		k.buf.data = make([]byte, min(spanSize, (k.s.size+unitSize-1)/unitSize*unitSize))
	}
	for u, at := unit, start; at < end; u, at = u+1, at+unitSize {
		if k.loaded[u] {
			end = at
			break
		}
	}
	var touched [spanPages / unitPages]bool // units with data at the source
	at := start
	for at < end {
		s, e, err := k.s.src.NextData(at)
		if err == io.EOF {
			s, e, err = end, end, nil
		}
		if err != nil {
			return fmt.Errorf("repo: source at %d: %w", at, err)
		}
		s, e = min(s, end), min(e, end)
		if s < at || e < s || (e == s && s < end) {
			return fmt.Errorf("repo: source says that data behind %d is at [%d,%d)", at, s, e)
		}
		for _, x := range k.s.skip.clip(s, e) {
			if err := k.read(j, &touched, s, x[0]); err != nil {
				return err
			}
			s = x[1]
		}
		if err := k.read(j, &touched, s, e); err != nil {
			return err
		}
		at = e
	}
	for u, at := unit, start; at < end; u, at = u+1, at+unitSize {
		k.loaded[u] = true
		k.buf.classify(u, int(j.pages), touched[u], k.leftIn(j, at))
	}
	return nil
}

// read reads [s,e) of the source. A unit that it fills only in part is cleared
// before; one that nothing is read into keeps what the buffer had.
func (k *spanWorker) read(j *spanJob, touched *[spanPages / unitPages]bool, s, e int64) error {
	if s == e {
		return nil
	}
	for at := s / unitSize * unitSize; at < e; at += unitSize {
		u := (at - j.off) / unitSize
		if !touched[u] && (at < s || at+unitSize > e) {
			clear(k.buf.data[at-j.off : min(at-j.off+unitSize, int64(len(k.buf.data)))])
		}
		touched[u] = true
	}
	n, err := k.s.src.ReadAt(k.buf.data[s-j.off:e-j.off], s)
	if int64(n) < e-s {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return fmt.Errorf("repo: read source at %d: %w", s+int64(n), err)
	}
	j.read += e - s
	return nil
}

// leftIn gives the test for pages left out, nil where a unit has none.
func (k *spanWorker) leftIn(j *spanJob, at int64) func(page int) bool {
	left := k.s.left.clip(at, at+unitSize)
	if len(left) == 0 {
		return nil
	}
	return func(page int) bool { return left.contains(j.off + int64(page)*pageSize) }
}

// recut turns a part of the base's map into items, cutting anew what is fresh
// and its neighbours.
func (k *spanWorker) recut(ctx context.Context, j *spanJob) error {
	first := uint32(j.off % segmentSize / pageSize)
	if len(j.fresh) == 0 {
		items, err := k.s.takeOver(ctx, j.base, first, first+j.pages, false)
		j.items = items
		return err
	}
	old, err := k.s.takeOver(ctx, j.base, first, first+j.pages, true)
	if err != nil {
		return err
	}
	// The old pieces by page; data is never split, what is empty may be.
	at := func(p int) *item { // the piece that holds page p
		i := sort.Search(len(old), func(i int) bool { return old[i].page+int(old[i].pages) > p })
		return &old[i]
	}
	closed := func(p int) bool { // no old chunk goes on across p
		o := at(p)
		return o.page == p || o.kind != pieceData
	}
	begin := func(p int) int { // where cutting for a change at unit p must begin
		if p == 0 {
			return 0
		}
		if o := at(p - 1); o.kind == pieceData {
			return o.page
		}
		return p
	}
	keep := func(from, to int) {
		for i := range old {
			o := old[i]
			s, e := max(o.page, from), min(o.page+int(o.pages), to)
			if s < e {
				o.page, o.pages = s, uint32(e-s)
				j.items = append(j.items, o)
			}
		}
	}
	var todo [][2]int
	for _, x := range j.fresh.round(unitSize) {
		todo = append(todo, [2]int{int((x[0] - j.off) / pageSize), min(int((x[1]-j.off)/pageSize), int(j.pages))})
	}
	pos := 0
	for i := 0; i < len(todo); i++ {
		from := max(begin(todo[i][0]), pos)
		keep(pos, from)
		mark := todo[i][1]
		stop := func(p int) bool {
			if p < mark {
				return false
			}
			for i+1 < len(todo) && begin(todo[i+1][0]) <= p {
				i++
				mark = max(mark, todo[i][1])
			}
			return p >= mark && closed(p)
		}
		if pos, err = k.cut(ctx, j, from, int(j.pages), j.fresh, stop); err != nil {
			return err
		}
	}
	keep(pos, int(j.pages))
	return nil
}
