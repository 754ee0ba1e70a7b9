package lvm

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

const superMagic = 27022010

// pool is a thin pool: chunks of a data volume, given out by trees in the
// metadata.
type pool struct {
	data  disk.Disk
	tree  tree
	root  uint64 // thin volume's number -> root of its tree
	chunk int64  // bytes
}

// pool opens the thin pool of that name. The caller holds g.mu.
func (g *Group) pool(ctx context.Context, name string, chain []*Volume) (*pool, error) {
	if p := g.pools[name]; p != nil {
		return p, nil
	}
	v := g.all[name]
	if v == nil || len(v.segments) != 1 || v.segments[0].kind != "thin-pool" {
		return nil, damage("metadata: %.64q is no thin pool", name)
	}
	n := v.segments[0].n
	var parts [2]disk.Disk
	for i, key := range []string{"metadata", "pool"} {
		below := g.all[n.str(key)]
		if below == nil {
			return nil, damage("pool %s: its %s volume is not there", name, key)
		}
		d, err := below.open(ctx, append(chain, v))
		if err != nil {
			return nil, err
		}
		parts[i] = d
	}
	chunk, err := n.within("chunk_size", 1, maxSize/sector)
	if err != nil {
		return nil, err
	}
	p := &pool{data: parts[1], tree: tree{d: parts[0], cache: map[int64]*bnode{}}, chunk: chunk * sector}
	if err := p.readSuper(ctx, g, name); err != nil {
		return nil, err
	}
	if want, ok := n.num("transaction_id"); ok && len(g.Notes) < 64 {
		if got, err := p.transaction(ctx); err == nil && got != want {
			g.Notes = append(g.Notes, fmt.Sprintf("pool %s is in transaction %d, the group expects %d", name, got, want))
		}
	}
	g.pools[name] = p
	return p, nil
}

func (p *pool) super(ctx context.Context) ([]byte, error) {
	b := make([]byte, metaBlock)
	if err := disk.ReadFull(ctx, p.tree.d, b, 0); err != nil {
		return nil, fmt.Errorf("lvm: read pool metadata: %w", err)
	}
	return b, nil
}

func (p *pool) transaction(ctx context.Context) (int64, error) {
	b, err := p.super(ctx)
	if err != nil {
		return 0, err
	}
	return int64(binary.LittleEndian.Uint64(b[48:])), nil
}

// readSuper checks the first block of the metadata.
func (p *pool) readSuper(ctx context.Context, g *Group, name string) error {
	b, err := p.super(ctx)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	version, incompatible := le.Uint32(b[40:]), le.Uint32(b[360:])
	switch {
	case le.Uint64(b[32:]) != superMagic:
		return damage("pool %s: its metadata has no header", name)
	case metaChecksum(b, superSalt) != le.Uint32(b):
		return damage("pool %s: the checksum of its metadata's header is wrong", name)
	case version == 0 || version > 2 || incompatible != 0:
		return &UnsupportedError{g.Name + "/" + name, fmt.Sprintf("This pool has metadata of version %d with features %#x, which are not known here: ", version, incompatible) + attach}
	case int64(le.Uint32(b[336:]))*sector != p.chunk:
		return damage("pool %s: chunks of %d bytes in its metadata, of %d in the group's", name, int64(le.Uint32(b[336:]))*sector, p.chunk)
	}
	if le.Uint32(b[4:])&1 != 0 {
		g.Notes = append(g.Notes, fmt.Sprintf("pool %s asks to be checked (thin_check)", name))
	}
	p.root = le.Uint64(b[320:])
	return nil
}

// thin opens a thin volume.
func (v *Volume) thin(ctx context.Context, s segment, chain []*Volume) (disk.Disk, error) {
	if len(v.segments) != 1 {
		return nil, damage("volume %s: a thin volume of %d segments", v.Name, len(v.segments))
	}
	p, err := v.g.pool(ctx, s.n.str("thin_pool"), chain)
	if err != nil {
		return nil, err
	}
	id, err := s.n.within("device_id", 0, 1<<24)
	if err != nil {
		return nil, err
	}
	root, ok, err := p.tree.get(ctx, p.root, uint64(id))
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, damage("volume %s: its pool does not know number %d", v.Name, id)
	}
	t := &thin{pool: p, root: root, size: v.size, origin: disk.Zeros(0)}
	if name := s.n.str("external_origin"); name != "" {
		o := v.g.all[name]
		if o == nil {
			return nil, damage("volume %s: its origin %.64q is not there", v.Name, name)
		}
		if t.origin, err = o.open(ctx, chain); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// thin is a thin volume. What it has no chunk for lies on the origin, or reads
// as zeros.
type thin struct {
	pool   *pool
	root   uint64
	size   int64
	origin disk.Disk
}

var _ disk.ContextReaderAt = (*thin)(nil)

func (t *thin) Size() int64 { return t.size }

// run returns where [off,end) lies, end being as far as chunks follow each
// other on the data volume, or as there are none (on < 0).
func (t *thin) run(ctx context.Context, off int64) (on, end int64, err error) {
	chunk := t.pool.chunk
	key := uint64(off / chunk)
	n, i, err := t.pool.tree.seek(ctx, t.root, key)
	if err != nil {
		return 0, 0, err
	}
	if n == nil || n.keys[i] > uint64((t.size-1)/chunk) {
		return -1, t.size, nil
	}
	if n.keys[i] != key {
		return -1, int64(n.keys[i]) * chunk, nil
	}
	first := n.values[i] >> 24
	count := uint64(1)
	for i++; i < len(n.keys) && n.keys[i] == key+count && n.values[i]>>24 == first+count; i++ {
		count++
	}
	if first+count > uint64(t.pool.data.Size()/chunk) {
		return 0, 0, damage("pool metadata: chunk %d lies behind the end of the data", first+count-1)
	}
	return int64(first)*chunk + off%chunk, min(int64(key+count)*chunk, t.size), nil
}

func (t *thin) ReadAt(p []byte, off int64) (int, error) {
	return t.ReadAtContext(context.Background(), p, off)
}

func (t *thin) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, eof := disk.Clip(len(p), off, t.size)
	for done := 0; done < n; {
		at := off + int64(done)
		on, end, err := t.run(ctx, at)
		if err != nil {
			return done, err
		}
		part := p[done:][:min(int64(n-done), end-at)]
		switch {
		case on >= 0:
			err = disk.ReadFull(ctx, t.pool.data, part, on)
		default:
			have := part[:min(int64(len(part)), max(t.origin.Size()-at, 0))]
			clear(part[len(have):])
			if len(have) > 0 {
				err = disk.ReadFull(ctx, t.origin, have, at)
			}
		}
		if err != nil {
			return done, err
		}
		done += len(part)
	}
	return n, eof
}

func (t *thin) NextData(off int64) (start, end int64, err error) {
	for off = max(off, 0); off < t.size; {
		on, stop, err := t.run(context.Background(), off)
		if err != nil {
			return 0, 0, err
		}
		below, shift := t.pool.data, on-off
		if on < 0 {
			below, shift = t.origin, 0
		}
		a, b, err := below.NextData(off + shift)
		if err != nil && err != io.EOF {
			return 0, 0, err
		}
		if err == nil && a-shift < stop {
			return a - shift, min(b-shift, stop), nil
		}
		off = stop
	}
	return 0, 0, io.EOF
}
