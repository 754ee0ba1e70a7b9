package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"
)

// directory is a pack's directory as readers keep it.
type directory struct {
	id    PackID
	slots []slotInfo
	offs  []int64  // of the slots in the object
	sums  []uint32 // pages before each slot, and of all
	moved []Address
	epoch uint32
}

func newDirectory(id PackID, epoch uint32, slots []slotInfo) *directory {
	d := &directory{id: id, slots: slots, epoch: epoch, offs: make([]int64, len(slots)+1), sums: make([]uint32, len(slots)+1)}
	at := int64(packHeadSize + len(slots)*slotInfoSize + tagSize)
	for i, s := range slots {
		d.offs[i] = at
		at += int64(s.Stored)
		d.sums[i+1] = d.sums[i] + (s.Raw+pageSize-1)/pageSize
	}
	d.offs[len(slots)] = at
	return d
}

// pages is the length of a chunk.
func (d *directory) pages(slot uint32) uint32 { return d.sums[slot+1] - d.sums[slot] }

// locate finds the chunk of a run that holds a page of the segment, and the
// page where it begins. The run has been verified.
func (d *directory) locate(r *run, page uint32) (slot, first uint32) {
	rel := page - r.first
	if r.kind == runRepeat {
		n := d.pages(r.slot)
		return r.slot, r.first + rel/n*n
	}
	target := d.sums[r.slot] + rel
	i := sort.Search(int(r.slots), func(i int) bool { return d.sums[int(r.slot)+i+1] > target })
	slot = r.slot + uint32(i)
	return slot, r.first + d.sums[slot] - d.sums[r.slot]
}

// end is the length of the whole pack.
func (d *directory) end() int64 { return d.offs[len(d.slots)] }

// size is roughly what the directory takes in memory.
func (d *directory) size() int64 { return int64(len(d.slots))*56 + 200 }

// reader finds and decodes chunks for all images of a repository.
type reader struct {
	r      *Repo
	ctx    context.Context
	stop   context.CancelFunc
	chunks *chunkCache
	work   chan struct{} // decoding at a time
	fetch  chan struct{} // fetching at a time

	ahead chan struct{} // prefetching at a time

	stored sync.Pool // buffers of stored slots

	mu       sync.Mutex
	dirs     *lru[PackID, *directory]
	tables   *lru[partKey, *table]
	segments *lru[partKey, *segment]
	wait     map[PackID]*dirFlight
}

// partKey is a part of a map at its place: the same part may lie whole at one
// and damaged at another.
type partKey struct {
	addr Address
	hash Hash
}

type dirFlight struct {
	done chan struct{}
	d    *directory
	err  error
}

func newReader(r *Repo, cache int64, workers int) *reader {
	x := &reader{r: r, chunks: newChunkCache(cache), work: make(chan struct{}, workers), fetch: make(chan struct{}, 16),
		ahead: make(chan struct{}, 8), wait: map[PackID]*dirFlight{},
		dirs: newLRU[PackID, *directory](max(cache/4, 8<<20)), tables: newLRU[partKey, *table](4 << 20),
		segments: newLRU[partKey, *segment](max(cache/8, 8<<20))}
	x.ctx, x.stop = context.WithCancel(context.Background())
	return x
}

func (x *reader) close() { x.stop() }

// directory gives the directory of a pack, loading it once for all who wait.
func (x *reader) directory(ctx context.Context, id PackID) (*directory, error) {
	x.mu.Lock()
	if d, ok := x.dirs.get(id); ok {
		x.mu.Unlock()
		return d, nil
	}
	f, ok := x.wait[id]
	if !ok {
		f = &dirFlight{done: make(chan struct{})}
		x.wait[id] = f
		go x.load(id, f)
	}
	x.mu.Unlock()
	select {
	case <-f.done:
		return f.d, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (x *reader) load(id PackID, f *dirFlight) {
	defer close(f.done)
	f.d, f.err = x.readPack(x.ctx, id)
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.wait, id)
	if f.err == nil {
		x.dirs.add(id, f.d, f.d.size())
	}
}

func (x *reader) readPack(ctx context.Context, id PackID) (*directory, error) {
	head, slots, err := x.r.readDirectory(ctx, id)
	if isNotExist(err) {
		d, merr := x.moved(ctx, id)
		if merr == nil || !isNotExist(merr) {
			return d, merr
		}
	}
	if err != nil {
		return nil, err
	}
	return newDirectory(id, head.Epoch, slots), nil
}

// movedRecord says where prune has put the slots of a pack that is gone:
// moved/<old pack>. It is looked at only when the old pack is missing.
type movedRecord struct {
	Slots uint32      `json:"slots"`
	Runs  []movedRuns `json:"runs"`
}

type movedRuns struct {
	From uint32 `json:"from"` // first old slot
	N    uint32 `json:"n"`
	Pack PackID `json:"pack"`
	Slot uint32 `json:"slot"` // first new slot
}

func movedName(id PackID) string { return "moved/" + id.String() }

// moved puts together the directory of a pack that has been rewritten. What
// it says is believed no more than any address: every run is checked.
func (x *reader) moved(ctx context.Context, id PackID) (*directory, error) {
	name := movedName(id)
	_, b, err := x.r.getObject(ctx, typeMoved, name)
	if err != nil {
		return nil, err
	}
	var rec movedRecord
	if err := json.Unmarshal(b, &rec); err != nil {
		return nil, corrupt(name, err)
	}
	if rec.Slots == 0 || rec.Slots > maxSlots || len(rec.Runs) > maxSlots {
		return nil, corrupt(name, fmt.Errorf("%d slots in %d runs", rec.Slots, len(rec.Runs)))
	}
	slots, moved := make([]slotInfo, rec.Slots), make([]Address, rec.Slots)
	targets := map[PackID][]slotInfo{}
	for _, m := range rec.Runs {
		there, ok := targets[m.Pack]
		if !ok {
			if _, there, err = x.r.readDirectory(ctx, m.Pack); err != nil {
				return nil, err
			}
			targets[m.Pack] = there
		}
		if m.N > rec.Slots || m.From > rec.Slots-m.N || int64(m.Slot)+int64(m.N) > int64(len(there)) {
			return nil, corrupt(name, errors.New("a run does not fit"))
		}
		for i := range m.N {
			slots[m.From+i] = there[m.Slot+i]
			moved[m.From+i] = Address{Pack: m.Pack, Slot: m.Slot + i}
		}
	}
	d := newDirectory(id, 0, slots)
	d.moved = moved
	return d, nil
}

// hashes gives the hashes of n slots.
func (x *reader) hashes(ctx context.Context, id PackID, slot, n uint32) ([]Hash, error) {
	d, err := x.directory(ctx, id)
	if err != nil {
		return nil, err
	}
	if int(slot)+int(n) > len(d.slots) {
		return nil, corrupt(packName(id), fmt.Errorf("a map names slots %d to %d of %d", slot, slot+n-1, len(d.slots)))
	}
	out := make([]Hash, n)
	for i := range out {
		out[i] = d.slots[int(slot)+i].Hash
	}
	return out, nil
}

// verified gives the directory for a run after comparing the run's check with
// it and its length with the chunks': a wrong address never passes for data.
func (x *reader) verified(ctx context.Context, seg *segment, i int) (*directory, error) {
	r := &seg.runs[i]
	id := seg.packs[r.pack]
	d, err := x.directory(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := fits(d, r); err != nil {
		return nil, err
	}
	// What a moved record says is not the pack's own and may be another one
	// the next time: it is compared every time.
	keep := seg.verified != nil && d.moved == nil
	if keep && seg.verified.has(i) {
		return d, nil
	}
	if err := x.verify(d, r); err != nil {
		return nil, err
	}
	if keep {
		seg.verified.set(i)
	}
	return d, nil
}

// fits checks that a run's slots exist and are as long as the run.
func fits(d *directory, r *run) error {
	if int(r.slot)+int(r.slots) > len(d.slots) {
		return corrupt(packName(d.id), fmt.Errorf("a map names slots %d to %d of %d", r.slot, r.slot+r.slots-1, len(d.slots)))
	}
	n := d.sums[r.slot+r.slots] - d.sums[r.slot]
	if r.kind == runData && n != r.pages || r.kind == runRepeat && (n == 0 || r.pages%n != 0) {
		return &CorruptError{Object: packName(d.id), Slot: int64(r.slot), Err: fmt.Errorf("a run of %d pages has chunks of %d", r.pages, n)}
	}
	return nil
}

// verify compares a run's check with the directory.
func (x *reader) verify(d *directory, r *run) error {
	hashes := make([]Hash, r.slots)
	for i := range hashes {
		s := &d.slots[int(r.slot)+i]
		if s.Kind != kindData {
			return &CorruptError{Object: packName(d.id), Slot: int64(r.slot) + int64(i), Err: errors.New("a map names a part of a map as data")}
		}
		hashes[i] = s.Hash
	}
	if x.r.hashers.runCheck(hashes) != r.check {
		return &CorruptError{Object: packName(d.id), Slot: int64(r.slot), Err: fmt.Errorf("the check of the run of %d slots is wrong: the map means other chunks", r.slots)}
	}
	return nil
}

// part reads one part of a map by address and hash.
func (x *reader) part(ctx context.Context, a Address, h Hash, kind chunkKind) ([]byte, error) {
	d, err := x.directory(ctx, a.Pack)
	if err != nil {
		return nil, err
	}
	if int(a.Slot) >= len(d.slots) {
		return nil, corrupt(packName(a.Pack), fmt.Errorf("it has no slot %d", a.Slot))
	}
	if s := &d.slots[a.Slot]; s.Hash != h || s.Kind != kind {
		return nil, &CorruptError{Object: packName(a.Pack), Slot: int64(a.Slot), Err: errors.New("it is not the part of a map that is meant")}
	}
	out, err := x.slots(ctx, d, a.Slot, 1)
	if err != nil {
		return nil, err
	}
	return out[0], nil
}

// slots reads, opens, decompresses and checks n neighbouring slots with one
// request to the store.
func (x *reader) slots(ctx context.Context, d *directory, slot, n uint32) ([][]byte, error) {
	if d.moved != nil {
		return x.movedSlots(ctx, d, slot, n)
	}
	select {
	case x.fetch <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	length := d.offs[slot+n] - d.offs[slot]
	b := x.buffer(int(length))
	defer x.stored.Put(&b)
	got, err := readFull(ctx, x.r.store, packName(d.id), d.offs[slot], b)
	<-x.fetch
	if isNotExist(err) {
		return x.gone(ctx, d, slot, n, err)
	}
	if err != nil {
		return nil, err
	}
	if int64(got) != length {
		return nil, &CorruptError{Object: packName(d.id), Slot: int64(slot), Err: io.ErrUnexpectedEOF}
	}
	return x.decode(ctx, d, slot, n, b)
}

// buffer gives n bytes of a buffer for stored slots.
func (x *reader) buffer(n int) []byte {
	if b, ok := x.stored.Get().(*[]byte); ok && cap(*b) >= n {
		return (*b)[:n]
	}
	return make([]byte, n, max(n, maxFetch))
}

// gone reads slots of a pack that has been deleted since its directory was
// read, if prune left word where they are.
func (x *reader) gone(ctx context.Context, old *directory, slot, n uint32, missing error) ([][]byte, error) {
	d, err := x.moved(ctx, old.id)
	if isNotExist(err) {
		return nil, missing
	}
	if err != nil {
		return nil, err
	}
	if len(d.slots) != len(old.slots) {
		return nil, corrupt(movedName(old.id), fmt.Errorf("%d slots of a pack of %d", len(d.slots), len(old.slots)))
	}
	d.slots = old.slots
	return x.movedSlots(ctx, d, slot, n)
}

func (x *reader) movedSlots(ctx context.Context, d *directory, slot, n uint32) ([][]byte, error) {
	var out [][]byte
	for i := range n {
		there, at, err := x.follow(ctx, d, slot+i)
		if err != nil {
			return nil, err
		}
		b, err := x.slots(ctx, there, at, 1)
		if err != nil {
			return nil, err
		}
		out = append(out, b[0])
	}
	return out, nil
}

// maxMoves bounds how often a slot may have been moved since its record was
// read: a record itself names only packs that are there.
const maxMoves = 8

// follow finds the pack where a moved slot lies now.
func (x *reader) follow(ctx context.Context, d *directory, slot uint32) (*directory, uint32, error) {
	want := d.slots[slot].Hash
	for range maxMoves {
		a := d.moved[slot]
		there, err := x.directory(ctx, a.Pack)
		if err != nil {
			return nil, 0, err
		}
		if int(a.Slot) >= len(there.slots) || there.slots[a.Slot].Hash != want {
			return nil, 0, corrupt(movedName(d.id), fmt.Errorf("slot %d is not at %s", slot, a))
		}
		if there.moved == nil {
			return there, a.Slot, nil
		}
		d, slot = there, a.Slot
	}
	return nil, 0, corrupt(movedName(d.id), errors.New("it has been moved too often"))
}

// decode opens slots that lie behind each other in b, in parallel where there
// is enough to do.
func (x *reader) decode(ctx context.Context, d *directory, slot, n uint32, b []byte) ([][]byte, error) {
	out := make([][]byte, n)
	errs := make([]error, n)
	one := func(lo, hi uint32) {
		x.work <- struct{}{}
		defer func() { <-x.work }()
		a, err := x.r.keys.packAEAD(d.epoch, d.id)
		for i := lo; i < hi; i++ {
			if err != nil {
				errs[i] = err
				return
			}
			if ctx.Err() != nil {
				errs[i] = ctx.Err()
				return
			}
			at := d.offs[slot+i] - d.offs[slot]
			sealed := b[at : at+int64(d.slots[slot+i].Stored)]
			text, err := a.Open(sealed[:0], slotNonce(slot+i), sealed, x.r.keys.slotData(d.id, slot+i))
			if err != nil {
				errs[i] = &CorruptError{Object: packName(d.id), Slot: int64(slot + i), Err: errSeal}
				return
			}
			if out[i], err = x.r.openChunk(x.chunks.pool.get(int(d.slots[slot+i].Raw)), d.id, slot+i, &d.slots[slot+i], text); err != nil {
				errs[i] = err
				return
			}
		}
	}
	const each = 8
	if n < 2*each {
		one(0, n)
	} else {
		var wg sync.WaitGroup
		for lo := uint32(0); lo < n; lo += each {
			hi := min(lo+each, n)
			wg.Go(func() { one(lo, hi) })
		}
		wg.Wait()
	}
	for i := range errs {
		if errs[i] != nil {
			return nil, errs[i]
		}
	}
	return out, nil
}

// openChunk decompresses what a seal held into dst, which is empty, and checks
// its hash.
func (r *Repo) openChunk(dst []byte, id PackID, slot uint32, s *slotInfo, text []byte) ([]byte, error) {
	raw, err := r.codecs.decode(dst, text, s.Method, int(s.Raw))
	if err != nil {
		return nil, &CorruptError{Object: packName(id), Slot: int64(slot), Err: err}
	}
	if r.hashers.hash(s.Kind, raw) != s.Hash {
		return nil, &CorruptError{Object: packName(id), Slot: int64(slot), Err: errors.New("the content has another hash")}
	}
	return raw, nil
}
