package fat

import (
	"context"
	"encoding/binary"
	"fmt"
	"sort"
	"sync"

	"vitrine/fs/disk"
)

const (
	entryMask  = 0x0fffffff
	tableBatch = 4096 // entries that are read from the table at once
	maxRuns    = 1 << 16
	endOfChain = 0
)

// table reads the file allocation table, a batch of entries at a time. It is
// not for concurrent use.
type table struct {
	v     *FS
	batch []byte
	from  uint32 // first entry of batch
}

// get returns the entry of cluster c, which must not be past the last one.
func (t *table) get(ctx context.Context, c uint32) (uint32, error) {
	g := &t.v.g
	if t.batch == nil || c < t.from || c-t.from >= tableBatch {
		from := c / tableBatch * tableBatch
		n := min(tableBatch, int64(g.last)+1-int64(from))
		off, size := entryPlace(g.kind, int64(from)), entryPlace(g.kind, n)
		if g.kind == fat12 {
			size = (n*3 + 1) / 2
		}
		b, err := t.v.pages.read(ctx, g.table+off, int(size))
		if err != nil {
			return 0, err
		}
		t.batch, t.from = b, from
	}
	return parseEntry(g.kind, t.batch, c-t.from), nil
}

// entryPlace returns the bytes before entry n of a table.
func entryPlace(k kind, n int64) int64 {
	switch k {
	case fat12:
		return n * 3 / 2
	case fat16:
		return n * 2
	}
	return n * 4
}

// parseEntry decodes entry i of b.
func parseEntry(k kind, b []byte, i uint32) uint32 {
	switch k {
	case fat12:
		u := uint32(binary.LittleEndian.Uint16(b[i*3/2:]))
		if i%2 == 1 {
			return u >> 4
		}
		return u & 0xfff
	case fat16:
		return uint32(binary.LittleEndian.Uint16(b[2*i:]))
	case fat32:
		return binary.LittleEndian.Uint32(b[4*i:]) & entryMask
	}
	return binary.LittleEndian.Uint32(b[4*i:])
}

// isEnd reports whether an entry ends a chain.
func (k kind) isEnd(e uint32) bool {
	switch k {
	case fat12:
		return e >= 0xff8
	case fat16:
		return e >= 0xfff8
	case fat32:
		return e >= 0x0ffffff8
	}
	return e == 0xffffffff
}

// next returns the cluster behind c, or endOfChain.
func (t *table) next(ctx context.Context, c uint32) (uint32, error) {
	e, err := t.get(ctx, c)
	if err != nil {
		return 0, err
	}
	g := &t.v.g
	if g.kind.isEnd(e) {
		return endOfChain, nil
	}
	if !g.valid(e) {
		return 0, damaged("table", g.table+entryPlace(g.kind, int64(c)), fmt.Sprintf("behind cluster %d stands %#x", c, e))
	}
	return e, nil
}

// run is n clusters in a row: the index-th of a chain is cluster first.
type run struct {
	index, n int64
	first    uint32
}

// chain maps the bytes of a file to the volume. The whole chain is checked
// before the first byte is read: what lies behind damage, behind a circle or
// in clusters that another chain has too is not given.
type chain struct {
	v    *FS
	node node
	need int64 // clusters; -1: as many as there are

	mu      sync.Mutex
	checked bool
	runs    []run // when there are very many, some are left out
	good    int64 // clusters that are sound
	damage  error // why there are no more
}

func (v *FS) chain(n node) *chain {
	c := &chain{v: v, node: n, need: -1}
	if !n.dir || v.g.kind == exfat && n.id != rootID {
		c.need = (n.size + v.g.cluster - 1) / v.g.cluster
	}
	return c
}

func (c *chain) object() string { return fmt.Sprintf("chain of %q", c.node.name) }

// check walks the chain once.
func (c *chain) check(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.checked {
		return nil
	}
	g := &c.v.g
	c.runs, c.good, c.damage = nil, 0, nil
	switch {
	case c.need == 0:
	case !g.valid(c.node.first):
		c.damage = damaged(c.object(), c.node.place, fmt.Sprintf("it begins at cluster %d", c.node.first))
	case c.node.contiguous:
		c.good = min(c.need, int64(g.last-c.node.first)+1)
		c.runs = []run{{0, c.good, c.node.first}}
		if c.good < c.need {
			c.damage = damaged(c.object(), c.node.place, "it ends behind the last cluster")
		}
	default:
		if err := c.walk(ctx); err != nil {
			return err
		}
	}
	c.checked = true
	return nil
}

// walk follows the chain through the table.
func (c *chain) walk(ctx context.Context) error {
	links, err := c.v.links(ctx)
	if err != nil {
		return err
	}
	t := &table{v: c.v}
	at := c.node.first
	if links.has(links.once, at) {
		c.damage = damaged(c.object(), c.node.place, fmt.Sprintf("its first cluster %d is in the middle of another chain or of its own", at))
		return nil
	}
	// Brent: a mark that is moved ever farther sees a circle come round.
	mark, steps, power := at, int64(0), int64(1)
	for c.good != c.need {
		if links.has(links.twice, at) {
			c.damage = damaged(c.object(), c.v.g.place(at), fmt.Sprintf("cluster %d is in two chains, or its chain runs in a circle", at))
			return nil
		}
		c.append(at)
		next, err := t.next(ctx, at)
		if isDamage(err) {
			c.damage = err
			return nil
		}
		if err != nil {
			return err
		}
		if next == endOfChain {
			break
		}
		if next == mark {
			return c.circle(ctx, steps+1)
		}
		if steps++; steps == power {
			mark, steps, power = next, 0, power*2
		}
		at = next
	}
	if c.good < c.need {
		c.damage = damaged(c.object(), c.node.place, fmt.Sprintf("it ends after %d of %d clusters", c.good, c.need))
	}
	return nil
}

// append adds a cluster to the chain.
func (c *chain) append(at uint32) {
	if k := len(c.runs) - 1; k >= 0 {
		r := &c.runs[k]
		if r.index+r.n == c.good && int64(r.first)+r.n == int64(at) {
			r.n++
			c.good++
			return
		}
	}
	if len(c.runs) == maxRuns {
		for i := range maxRuns / 2 {
			c.runs[i] = c.runs[2*i]
		}
		c.runs = c.runs[:maxRuns/2]
	}
	c.runs = append(c.runs, run{c.good, 1, at})
	c.good++
}

// circle cuts the chain where a circle of size clusters closes.
func (c *chain) circle(ctx context.Context, size int64) error {
	slow, fast := &table{v: c.v}, &table{v: c.v}
	a, b := c.node.first, c.node.first
	var err error
	for range size {
		if b, err = fast.next(ctx, b); err != nil {
			return err
		}
	}
	before := int64(0)
	for ; a != b; before++ {
		if a, err = slow.next(ctx, a); err != nil {
			return err
		}
		if b, err = fast.next(ctx, b); err != nil {
			return err
		}
	}
	c.good = min(c.good, before+size)
	c.damage = damaged(c.object(), c.v.g.place(a), fmt.Sprintf("the chain runs in a circle of %d clusters", size))
	return nil
}

// locate returns the cluster at index, which must be sound, and how many
// follow it in a row.
func (c *chain) locate(ctx context.Context, index int64) (uint32, int64, error) {
	i := sort.Search(len(c.runs), func(i int) bool { return c.runs[i].index > index }) - 1
	r := c.runs[i]
	if index < r.index+r.n {
		return r.first + uint32(index-r.index), min(r.index+r.n, c.good) - index, nil
	}
	t := &table{v: c.v}
	at := r.first + uint32(r.n-1)
	for k := r.index + r.n - 1; k < index; k++ {
		next, err := t.next(ctx, at)
		if err != nil {
			return 0, 0, err
		}
		if at = next; at == endOfChain {
			return 0, 0, damaged(c.object(), c.node.place, "the table changed")
		}
	}
	return at, 1, nil
}

// fill reads len(p) bytes at off.
func (c *chain) fill(ctx context.Context, p []byte, off int64) error {
	_, err := c.read(ctx, p, off)
	return err
}

// read reads len(p) bytes at off, and tells how many it could read.
func (c *chain) read(ctx context.Context, p []byte, off int64) (int, error) {
	if err := c.check(ctx); err != nil {
		return 0, err
	}
	size := c.v.g.cluster
	for done := 0; done < len(p); {
		at := off + int64(done)
		index := at / size
		if index >= c.good {
			if c.damage != nil {
				return done, c.damage
			}
			return done, damaged(c.object(), c.node.place, fmt.Sprintf("byte %d is behind its end", at))
		}
		cluster, n, err := c.locate(ctx, index)
		if err != nil {
			return done, err
		}
		part := p[done:]
		part = part[:min(int64(len(part)), n*size-at%size)]
		if err := disk.ReadFull(ctx, c.v.r, part, c.v.g.place(cluster)+at%size); err != nil {
			return done, err
		}
		done += len(part)
	}
	return len(p), nil
}
