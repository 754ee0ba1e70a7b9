package repo

import (
	"context"
	"sync/atomic"
)

// maxFetch is how many stored bytes one request to the store asks for.
const maxFetch = 1 << 20

// read fills in what a read wants. Chunks that are neither cached nor on
// their way are fetched, neighbours in a pack with one request.
func (x *reader) read(ctx context.Context, wants []want) error {
	var few [8]*chunkFlight
	flights := append(few[:0], make([]*chunkFlight, len(wants))...)
	var group flightGroup
	for k := range wants {
		w := &wants[k]
		ch, f, mine := x.chunks.claim(Address{Pack: w.d.id, Slot: w.slot}, true)
		if f == nil {
			copy(w.dst, ch.data[w.skip:])
			ch.release()
			continue
		}
		flights[k] = f
		if mine {
			x.join(&group, w.d, w.slot, f)
		}
	}
	x.take(&group)
	var err error
	for k, f := range flights {
		if f == nil {
			continue
		}
		if err == nil {
			select {
			case <-f.done:
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		if err != nil {
			x.chunks.abandon(f)
			continue
		}
		if err = f.err; err == nil {
			copy(wants[k].dst, f.chunk.data[wants[k].skip:])
			f.chunk.release()
		}
	}
	return err
}

// launch starts the flights of what is neither cached nor on its way.
func (x *reader) launch(wants []want) {
	var group flightGroup
	for k := range wants {
		w := &wants[k]
		if _, f, mine := x.chunks.claim(Address{Pack: w.d.id, Slot: w.slot}, false); mine {
			x.join(&group, w.d, w.slot, f)
		}
	}
	x.take(&group)
}

// flightGroup is some neighbouring slots that one request will fetch.
type flightGroup struct {
	d       *directory
	slot    uint32
	flights []*chunkFlight
}

// join adds a flight to the group, which takes off first if it does not fit.
func (x *reader) join(g *flightGroup, d *directory, slot uint32, f *chunkFlight) {
	n := uint32(len(g.flights))
	if n > 0 && (g.d != d || g.slot+n != slot || d.offs[slot+1]-d.offs[g.slot] > maxFetch) {
		x.take(g)
		n = 0
	}
	if n == 0 {
		g.d, g.slot = d, slot
	}
	g.flights = append(g.flights, f)
}

// take lets the group take off. The flights end whatever becomes of the read
// that asked for them: others may be waiting.
func (x *reader) take(g *flightGroup) {
	if len(g.flights) == 0 {
		return
	}
	d, slot, flights := g.d, g.slot, g.flights
	g.flights = nil
	go func() {
		n := uint32(len(flights))
		data, err := x.slots(x.ctx, d, slot, n)
		for k, f := range flights {
			at := slot + uint32(k)
			switch {
			case err == nil:
				x.chunks.land(Address{Pack: d.id, Slot: at}, f, data[k], nil)
			case n == 1:
				x.chunks.land(Address{Pack: d.id, Slot: at}, f, nil, err)
			default: // one damaged slot must not take its neighbours along
				one, err := x.slots(x.ctx, d, at, 1)
				if err != nil {
					one = [][]byte{nil}
				}
				x.chunks.land(Address{Pack: d.id, Slot: at}, f, one[0], err)
			}
		}
	}()
}

// bitset remembers which runs of a segment have been verified.
type bitset []atomic.Uint32

func newBitset(n int) bitset { return make(bitset, (n+31)/32) }

func (b bitset) has(i int) bool { return b[i/32].Load()>>(i%32)&1 == 1 }
func (b bitset) set(i int)      { b[i/32].Or(1 << (i % 32)) }
