package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
)

// SetPackSize makes packs small, so that a small backup has several.
func (r *Repo) SetPackSize(n int) { r.packSize = n }

// Place is where something lies in an object, for tests that damage it.
type Place struct {
	What     string // head | directory | data | segment | table
	Slot     uint32
	Off, Len int64
	Raw      uint32 // length of the chunk
}

// Places takes a pack apart.
func (r *Repo) Places(ctx context.Context, id PackID) ([]Place, error) {
	head, slots, err := r.readDirectory(ctx, id)
	if err != nil {
		return nil, err
	}
	out := []Place{{What: "head", Len: packHeadSize}, {What: "directory", Off: packHeadSize, Len: int64(head.Directory)}}
	d := newDirectory(id, head.Epoch, slots)
	for i, s := range slots {
		what := map[chunkKind]string{kindData: "data", kindSegment: "segment", kindTable: "table"}[s.Kind]
		out = append(out, Place{what, uint32(i), d.offs[i], int64(s.Stored), s.Raw})
	}
	return out, nil
}

// ForgetDirectories makes readers load the directories of packs again.
func (r *Repo) ForgetDirectories() {
	r.reader.mu.Lock()
	defer r.reader.mu.Unlock()
	r.reader.dirs = newLRU[PackID, *directory](r.reader.dirs.limit)
}

// Condemn writes a list of packs that prune is about to delete.
func (r *Repo) Condemn(ctx context.Context, name string, ids ...PackID) error {
	var b []byte
	for _, id := range ids {
		b = append(append(b, id.Lease[:]...), id.Pack[:]...)
	}
	_, err := r.putObject(ctx, typeCondemned, "condemned/"+name, nil, b, false)
	return err
}

// MovedRun is a run of a moved record.
type MovedRun struct {
	From, N uint32
	Pack    PackID
	Slot    uint32
}

// PutMoved writes a moved record.
func (r *Repo) PutMoved(ctx context.Context, id PackID, slots uint32, runs ...MovedRun) error {
	rec := movedRecord{Slots: slots}
	for _, m := range runs {
		rec.Runs = append(rec.Runs, movedRuns(m))
	}
	b, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	_, err = r.putObject(ctx, typeMoved, movedName(id), nil, b, false)
	return err
}

// Rewrite copies all slots of a pack into a new one, in order, and returns it
// with an index object over it.
func (r *Repo) Rewrite(ctx context.Context, id PackID) (PackID, error) {
	d, err := r.reader.directory(ctx, id)
	if err != nil {
		return PackID{}, err
	}
	w, err := r.NewWriter(ctx)
	if err != nil {
		return PackID{}, err
	}
	p := &packer{w: w, room: r.packSize}
	to := PackID{}
	for slot := range d.slots {
		raw, err := r.reader.slots(ctx, d, uint32(slot), 1)
		if err != nil {
			return PackID{}, err
		}
		s := d.slots[slot]
		body, m, _ := r.codecs.encode(nil, raw[0], nil)
		s.Method = m
		a, err := p.add(ctx, s, body)
		if err != nil {
			return PackID{}, err
		}
		if !to.Pack.IsZero() && a.Pack != to {
			return PackID{}, errors.New("the copy does not fit one pack")
		}
		to = a.Pack
	}
	if err := p.flush(ctx); err != nil {
		return PackID{}, err
	}
	return to, errors.Join(w.flush(ctx), w.Close())
}

// Revoke ends the lease of a writer from outside.
func (w *Writer) Revoke(ctx context.Context) error {
	return w.repo.store.Put(ctx, "leases/"+w.lease.id.String()+"/revoked", nil)
}

// Lease is the writer's lease.
func (w *Writer) Lease() LeaseID { return w.lease.id }

// MapPacks gives the packs that hold the data of an image.
func (r *Repo) MapPacks(ctx context.Context, i *Image) (map[PackID]bool, error) {
	packs := map[PackID]bool{}
	for off := int64(0); off < i.Size(); off += segmentSize {
		seg, err := i.segment(ctx, off/segmentSize)
		if err != nil {
			return nil, err
		}
		if seg != nil {
			for _, id := range seg.packs {
				packs[id] = true
			}
		}
	}
	return packs, nil
}

// Run is a run of a map, for tests that forge one.
type Run struct {
	Kind        string // data | repeat | hole | left
	Page, Pages uint32
	Pack        PackID
	Slot, Slots uint32
}

// ForgeMap stores the map of an image again with its first segment changed,
// sealed as validly as any other, and commits a restore point like p that
// names it. The check of a run stays as it was.
func (r *Repo) ForgeMap(ctx context.Context, p *RestorePoint, ref ImageRef, change func(runs []Run) error) (*RestorePoint, error) {
	i, err := r.OpenImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	old, err := i.segment(ctx, 0)
	if err != nil {
		return nil, err
	}
	seg := &segment{pages: old.pages, packs: append([]PackID(nil), old.packs...), runs: append([]run(nil), old.runs...)}
	kinds := map[runKind]string{runData: "data", runRepeat: "repeat", runHole: "hole", runLeft: "left"}
	var runs []Run
	for _, x := range seg.runs {
		y := Run{Kind: kinds[x.kind], Page: x.first, Pages: x.pages, Slot: x.slot, Slots: x.slots}
		if x.kind == runData || x.kind == runRepeat {
			y.Pack = seg.packs[x.pack]
		}
		runs = append(runs, y)
	}
	if err := change(runs); err != nil {
		return nil, err
	}
	for k, y := range runs {
		x := &seg.runs[k]
		if x.kind != runData && x.kind != runRepeat {
			continue
		}
		x.slot, x.slots, x.pages = y.Slot, y.Slots, y.Pages
		if y.Pack != seg.packs[x.pack] {
			x.pack = uint32(len(seg.packs))
			seg.packs = append(seg.packs, y.Pack)
		}
	}
	w, err := r.NewWriter(ctx)
	if err != nil {
		return nil, err
	}
	var st Stats
	a, h, err := w.storeMap(ctx, kindSegment, seg.marshal(), &st)
	if err != nil {
		return nil, err
	}
	t, err := i.table(ctx, 0)
	if err != nil {
		return nil, err
	}
	refs := append([]segmentRef(nil), t.refs...)
	refs[0].addr, refs[0].hash = a, h
	forged := ref
	forged.Tables = append([]TableRef(nil), ref.Tables...)
	forged.Tables[0].Address, forged.Tables[0].Hash, err = w.storeMap(ctx, kindTable, marshalTable(refs), &st)
	if err != nil {
		return nil, err
	}
	q := *p
	q.ID = PointID{}
	q.Disks = []Disk{{Name: "forged.vhdx", Image: forged}}
	q.Files = nil
	if err := w.Commit(ctx, &q); err != nil {
		return nil, fmt.Errorf("commit: %w", err)
	}
	return &q, w.Close()
}

// DataHashes gives the hashes of the chunks of data in a pack.
func (r *Repo) DataHashes(ctx context.Context, id PackID) ([]Hash, error) {
	_, slots, err := r.readDirectory(ctx, id)
	var out []Hash
	for _, s := range slots {
		if s.Kind == kindData {
			out = append(out, s.Hash)
		}
	}
	return out, err
}
