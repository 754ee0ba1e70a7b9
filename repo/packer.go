package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"sync"
)

// packBuffer is a pack that is being filled. Chunks lie in it compressed, each
// with room for its tag behind it, so that sealing moves nothing.
type packBuffer struct {
	id    PackID
	buf   []byte // front bytes of room for head and directory, then the slots
	slots []slotInfo
}

// packFront is the room that the longest head and directory take.
const packFront = packHeadSize + maxSlots*slotInfoSize + tagSize

// sealedPack is a pack in the store, as an index object lists it.
type sealedPack struct {
	id        PackID
	size      int64
	sum       [32]byte // SHA-256 of the whole object
	directory uint32   // length of the sealed directory
	slots     []slotInfo
}

// packer fills packs one after another and hands them to the writer's
// uploaders. It is used by one goroutine at a time.
type packer struct {
	w    *Writer
	room int // bytes to begin a buffer with
	cur  *packBuffer
}

// add gives a compressed chunk its place; it waits while a full pack cannot be
// handed over.
func (p *packer) add(ctx context.Context, s slotInfo, body []byte) (Address, error) {
	s.Stored = uint32(len(body) + tagSize)
	if p.cur != nil && (len(p.cur.slots) == maxSlots || len(p.cur.buf)-packFront+int(s.Stored) > p.w.repo.packSize) {
		if err := p.flush(ctx); err != nil {
			return Address{}, err
		}
	}
	if p.cur == nil {
		id := PackID{Lease: p.w.lease.id}
		if _, err := io.ReadFull(p.w.repo.rand, id.Pack[:]); err != nil {
			return Address{}, fmt.Errorf("repo: random bytes: %w", err)
		}
		p.cur = &packBuffer{id: id, buf: p.w.buffers.get(packFront + p.room)[:packFront]}
	}
	c := p.cur
	c.buf = append(c.buf, body...)
	c.buf = append(c.buf, zeros[:tagSize]...)
	c.slots = append(c.slots, s)
	return Address{Pack: c.id, Slot: uint32(len(c.slots) - 1)}, nil
}

// flush hands the current pack over; it waits while too many are under way.
func (p *packer) flush(ctx context.Context) error {
	if p.cur == nil {
		return nil
	}
	if err := p.w.upload(ctx, p.cur); err != nil {
		return err // it stays: others may have taken addresses in it
	}
	p.cur = nil
	return nil
}

// seal seals slots and directory in place and returns the object. Every seal
// is opened again and compared before the pack is trusted.
func (c *packBuffer) seal(k *keyring, epoch uint32) ([]byte, error) {
	a, err := k.packAEAD(epoch, c.id)
	if err != nil {
		return nil, err
	}
	var plain, back []byte
	sealOne := func(text []byte, slot uint32, data []byte) error {
		plain = append(plain[:0], text...)
		sealed := a.Seal(text[:0], slotNonce(slot), text, data)
		back, err = a.Open(back[:0], slotNonce(slot), sealed, data)
		if err != nil || !bytes.Equal(back, plain) {
			return fmt.Errorf("repo: pack %s slot %d did not read back as it was sealed (memory fault?)", c.id, slot)
		}
		return nil
	}
	at := packFront
	directory := make([]byte, 0, len(c.slots)*slotInfoSize+tagSize)
	for i, s := range c.slots {
		n := int(s.Stored) - tagSize
		if err := sealOne(c.buf[at:at+n:at+int(s.Stored)], uint32(i), k.slotData(c.id, uint32(i))); err != nil {
			return nil, err
		}
		at += int(s.Stored)
		directory = appendSlotInfo(directory, s)
	}
	head := packHead{ID: c.id, Cipher: k.cipher, Epoch: epoch, Slots: uint32(len(c.slots)),
		Directory: uint32(len(directory) + tagSize), Data: uint64(at - packFront)}
	h := head.marshal()
	if err := sealOne(directory, directoryNonce, append(k.slotData(c.id, directoryNonce), h...)); err != nil {
		return nil, err
	}
	directory = directory[:len(directory)+tagSize]
	start := packFront - len(h) - len(directory)
	copy(c.buf[start:], h)
	copy(c.buf[start+len(h):], directory)
	return c.buf[start:at], nil
}

// upload seals and stores a pack in the background.
func (w *Writer) upload(ctx context.Context, c *packBuffer) error {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := w.failed(); err != nil {
		<-w.slots
		return err
	}
	w.uploads.Add(1)
	go func() {
		defer w.uploads.Done()
		defer func() { <-w.slots }()
		if err := w.store(c); err != nil {
			w.fail(err)
		}
		w.buffers.put(c.buf)
	}()
	return nil
}

// store seals one pack, puts it, and remembers it for the next index object.
func (w *Writer) store(c *packBuffer) error {
	b, err := c.seal(&w.repo.keys, w.repo.epoch)
	if err != nil {
		return err
	}
	done := sealedPack{id: c.id, size: int64(len(b)), sum: sha256.Sum256(b), slots: c.slots,
		directory: uint32(len(c.slots)*slotInfoSize + tagSize)}
	if err := w.repo.store.Put(w.ctx, packName(c.id), b); err != nil {
		return fmt.Errorf("repo: put %s: %w", packName(c.id), err)
	}
	return w.stored(done)
}

// bufferPool keeps large buffers for their next use, so that they are no
// garbage.
type bufferPool struct {
	keep int // buffers at most

	mu   sync.Mutex
	free [][]byte
}

// get gives a buffer with a capacity of at least n.
func (p *bufferPool) get(n int) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range p.free {
		if cap(b) >= n {
			p.free = append(p.free[:i], p.free[i+1:]...)
			return b
		}
	}
	return make([]byte, 0, n)
}

// put takes a buffer back; small ones are not worth keeping.
func (p *bufferPool) put(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < p.keep && cap(b) >= spanSize {
		p.free = append(p.free, b)
	}
}
