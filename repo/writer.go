package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"
)

// Source is what an image is made from: the disk.Disk of fs/disk satisfies it.
type Source interface {
	io.ReaderAt
	Size() int64
	NextData(off int64) (start, end int64, err error)
}

// ImageOptions of one StoreImage; the zero value reads everything that the
// source has.
type ImageOptions struct {
	Base    *Image                  // the image that the new one starts from; nil is none
	Changed iter.Seq2[int64, int64] // with Base: [start,end) in order, all that may differ from it; nil: everything
	LeftOut iter.Seq2[int64, int64] // [start,end) in order: not kept; only whole pages inside count
	Block   int64                   // size of the blocks counted in the map, a power of two from 64 KiB to 1 GiB; 0 is 2 MiB
	Read    func(bytes int64)       // told of source bytes done with, read or not, for progress; called from one goroutine
}

// Writer adds restore points. Nothing it stores is visible before Commit. It
// is safe for concurrent use: several images may be stored at a time.
type Writer struct {
	repo  *Repo
	ctx   context.Context // ends with Close
	stop  context.CancelFunc
	lease *heldLease
	index *index

	metaMu sync.Mutex
	meta   *packer // maps of all images

	buffers bufferPool    // of packs
	arenas  bufferPool    // of compressed chunks
	slots   chan struct{} // uploads under way
	uploads sync.WaitGroup

	mu      sync.Mutex
	err     error               // the first failed upload; nothing is committed after it
	pending []sealedPack        // in the store, in no index object yet
	indexed []string            // index objects of this writer
	named   map[PackID]struct{} // packs that images of this writer name
	sizes   map[PackID]int64    // of packs that this writer has stored
}

// NewWriter takes a lease and opens the index cache.
func (r *Repo) NewWriter(ctx context.Context) (*Writer, error) {
	lease, err := r.takeLease(ctx, "writer")
	if err != nil {
		return nil, err
	}
	x, err := r.openIndex(ctx)
	if err != nil {
		return nil, errors.Join(err, lease.end(context.WithoutCancel(ctx)))
	}
	w := &Writer{repo: r, lease: lease, index: x, slots: make(chan struct{}, 2), buffers: bufferPool{keep: 2},
		arenas: bufferPool{keep: 2*min(r.opts.Workers, maxSpanWorkers) + 1}, named: map[PackID]struct{}{}, sizes: map[PackID]int64{}}
	w.ctx, w.stop = context.WithCancel(context.WithoutCancel(ctx))
	w.meta = &packer{w: w, room: 256 << 10}
	return w, nil
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// stored takes note of a pack that is in the store, and writes an index
// object when there are enough of them.
func (w *Writer) stored(p sealedPack) error {
	if err := w.index.insert([]sealedPack{p}, ""); err != nil {
		return err
	}
	w.mu.Lock()
	w.pending = append(w.pending, p)
	w.sizes[p.id] = p.size
	var batch []sealedPack
	if len(w.pending) >= packsPerIndex {
		batch, w.pending = w.pending, nil
	}
	w.mu.Unlock()
	return w.writeIndex(w.ctx, batch)
}

func (w *Writer) writeIndex(ctx context.Context, packs []sealedPack) error {
	if len(packs) == 0 {
		return nil
	}
	name, err := w.repo.putIndex(ctx, packs)
	if err != nil {
		w.mu.Lock()
		w.pending = append(packs, w.pending...)
		w.mu.Unlock()
		return err
	}
	if err := w.index.insert(nil, name); err != nil {
		return err
	}
	w.mu.Lock()
	w.indexed = append(w.indexed, name)
	w.mu.Unlock()
	return nil
}

// name remembers packs that a map of this writer names.
func (w *Writer) name(packs ...PackID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range packs {
		w.named[p] = struct{}{}
	}
}

// storeMap stores a part of a map, unless the repository has it.
func (w *Writer) storeMap(ctx context.Context, kind chunkKind, b []byte, st *Stats) (Address, Hash, error) {
	h := w.repo.hashers.hash(kind, b)
	w.metaMu.Lock()
	defer w.metaMu.Unlock()
	if a, ok := w.index.one(h); ok {
		w.name(a.Pack)
		return a, h, nil
	}
	body, m, _ := w.repo.codecs.encode(nil, b, nil)
	a, err := w.meta.add(ctx, slotInfo{Hash: h, Raw: uint32(len(b)), Method: m, Kind: kind}, body)
	if err != nil {
		return Address{}, h, err
	}
	w.index.add(h, a)
	w.name(a.Pack)
	st.Stored += int64(len(body) + tagSize)
	return a, h, nil
}

// flush makes everything stored so far durable and listed by index objects.
func (w *Writer) flush(ctx context.Context) error {
	w.metaMu.Lock()
	err := w.meta.flush(ctx)
	w.metaMu.Unlock()
	w.uploads.Wait()
	if err != nil {
		return err
	}
	if err := w.failed(); err != nil {
		return err
	}
	w.mu.Lock()
	batch := w.pending
	w.pending = nil
	w.mu.Unlock()
	return w.writeIndex(ctx, batch)
}

// Commit makes everything stored so far durable and then writes p, whose
// Previous, Number and Index it fills in, and ID if it is zero. Time is moved
// to the next free second when the machine has a point of that second. When
// Commit returns nil the restore point is in the repository for good.
//
// All images of p must have been stored by this writer.
func (w *Writer) Commit(ctx context.Context, p *RestorePoint) error {
	if _, err := ParseMachineID(string(p.Machine)); err != nil {
		return err
	}
	if err := w.flush(ctx); err != nil {
		return err
	}
	if err := w.checkNamed(ctx); err != nil {
		return err
	}
	if err := w.place(ctx, p); err != nil {
		return err
	}
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("repo: restore point: %w", err)
	}
	name := pointName(p.Machine, p.Time, p.ID)
	if _, err := w.repo.putObject(ctx, typePoint, name, nil, b, true); err != nil {
		return err
	}
	// A store that lost or cut it is found out before anybody is told.
	if _, err := w.repo.OpenPoint(ctx, PointInfo{Machine: p.Machine, Time: p.Time, ID: p.ID, Object: name}); err != nil {
		return fmt.Errorf("repo: commit: read back: %w", err)
	}
	if err := w.lease.held(ctx); err != nil {
		if derr := w.repo.store.Delete(context.WithoutCancel(ctx), name); derr != nil {
			err = errors.Join(err, fmt.Errorf("repo: delete %s: %w", name, derr))
		}
		return err
	}
	return w.repo.AddNote(ctx, Note{Point: p.ID, Machine: p.Machine, Name: p.Name, Kind: NoteCommitted})
}

// checkNamed refuses to commit a map that names a pack that is not there, or
// not for long.
func (w *Writer) checkNamed(ctx context.Context) error {
	present, err := w.repo.listPacks(ctx)
	if err != nil {
		return err
	}
	condemned, err := w.repo.condemned(ctx)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range w.named {
		size, ok := present[id]
		if !ok {
			return fmt.Errorf("repo: commit: pack %s is gone from the store since it was looked up", id)
		}
		if want, own := w.sizes[id]; own && size != want {
			return fmt.Errorf("repo: commit: the store has %d bytes of pack %s, not the %d put", size, id, want)
		}
		if condemned[id] && id.Lease != w.lease.id {
			return fmt.Errorf("repo: commit: pack %s was condemned since it was looked up; the next run will store its chunks again", id)
		}
	}
	return nil
}

// place gives p its place in the history of its machine.
func (w *Writer) place(ctx context.Context, p *RestorePoint) error {
	p.Time = p.Time.UTC().Truncate(time.Second)
	if p.Time.IsZero() {
		p.Time = w.repo.clock().UTC().Truncate(time.Second)
	}
	taken := map[time.Time]bool{}
	var all []PointInfo
	for info, err := range w.repo.PointsOf(ctx, p.Machine) {
		if err != nil {
			return err
		}
		taken[info.Time] = true
		all = append(all, info)
	}
	for taken[p.Time] {
		p.Time = p.Time.Add(time.Second)
	}
	p.Previous, p.Number = PointID{}, 1
	for i := len(all) - 1; i >= 0; i-- {
		prev, err := w.repo.OpenPoint(ctx, all[i])
		if damaged(err) {
			continue
		}
		if err != nil {
			return err
		}
		p.Previous, p.Number = prev.ID, prev.Number+1
		break
	}
	if p.ID.IsZero() {
		if _, err := io.ReadFull(w.repo.rand, p.ID[:]); err != nil {
			return fmt.Errorf("repo: random bytes: %w", err)
		}
	}
	w.mu.Lock()
	p.Index = append([]string(nil), w.indexed...)
	w.mu.Unlock()
	return nil
}

// closeWait is how long Close waits for packs under way to arrive.
const closeWait = 30 * time.Second

// Close gives the lease back. Images stored but not committed are lost; their
// packs are found again by the next writer.
func (w *Writer) Close() error {
	w.metaMu.Lock()
	w.meta.cur = nil
	w.metaMu.Unlock()
	late := time.AfterFunc(closeWait, w.stop)
	w.uploads.Wait()
	late.Stop()
	w.stop()
	return errors.Join(w.index.close(w.failed() == nil), w.lease.end(context.WithoutCancel(w.ctx)))
}
