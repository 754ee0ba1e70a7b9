package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sort"

	"golang.org/x/sync/errgroup"
)

// data reads every pack: its SHA-256 against the index, every slot's seal,
// compression and hash.
func (c *checker) data(ctx context.Context) error {
	if !c.opts.ReadData {
		return nil
	}
	ids := make([]PackID, 0, len(c.packs))
	for id := range c.packs {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, j int) bool { return ids[i].String() < ids[j].String() })
	var done int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.r.opts.Workers)
	for _, id := range ids {
		g.Go(func() error {
			err := c.pack(ctx, id)
			c.mu.Lock() // progress never goes back
			defer c.mu.Unlock()
			done += c.packs[id]
			if c.opts.Progress != nil {
				c.opts.Progress(done, c.rep.Stored)
			}
			return err
		})
	}
	err := g.Wait()
	c.rep.Read = done
	return err
}

// pack reads one pack whole.
func (c *checker) pack(ctx context.Context, id PackID) error {
	name := packName(id)
	b, err := readObject(ctx, c.r.store, name)
	if isNotExist(err) {
		return nil
	}
	if err != nil {
		return err
	}
	p, listed := c.indexed[id]
	if listed && sha256.Sum256(b) != p.sum {
		c.find(name, "its SHA-256 is not the one in the index")
	}
	slots := p.slots
	epoch := uint32(0)
	var head packHead
	if err := head.unmarshal(b); err == nil {
		epoch = head.Epoch
	}
	if _, own, err := c.r.openDirectory(id, b); err == nil {
		slots = own
	} else if !listed {
		return nil // packDirectories has said so
	}
	d := newDirectory(id, epoch, slots)
	if int64(len(b)) > d.offs[len(slots)] {
		c.find(name, "%d bytes behind its end", int64(len(b))-d.offs[len(slots)])
	}
	a, err := c.r.keys.packAEAD(epoch, id)
	if err != nil {
		return err
	}
	for slot := range slots {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.slot(d, uint32(slot), b, a.Open); err != nil {
			c.mu.Lock()
			if c.damaged[id] == nil {
				c.damaged[id] = map[uint32]error{}
			}
			c.damaged[id][uint32(slot)] = err
			c.mu.Unlock()
			c.find(name, "%s", reason(err))
		}
	}
	return nil
}

func (c *checker) slot(d *directory, slot uint32, b []byte, open func(dst, nonce, sealed, data []byte) ([]byte, error)) error {
	s := &d.slots[slot]
	start, end := d.offs[slot], d.offs[slot+1]
	if end > int64(len(b)) {
		return &CorruptError{Object: packName(d.id), Slot: int64(slot), Err: errors.New("it ends before the slot does")}
	}
	text, err := open(nil, slotNonce(slot), b[start:end], c.r.keys.slotData(d.id, slot))
	if err != nil {
		return &CorruptError{Object: packName(d.id), Slot: int64(slot), Err: errSeal}
	}
	if _, err := c.r.openChunk(nil, d.id, slot, s, text); err != nil {
		return err
	}
	return nil
}

// String sums a report up in a line.
func (c *CheckReport) String() string {
	return fmt.Sprintf("%d restore points, %d images, %d packs, %d chunks: %d findings", c.Points, c.Images, c.Packs, c.Chunks, len(c.Findings))
}
