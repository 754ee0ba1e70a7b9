package fstest

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sort"
	"sync"

	"vitrine/fs"
	"vitrine/fs/disk"
)

// Content is what an image holds: Text, or bytes computed from Seed in the
// extents of Data and zeros between them.
type Content struct {
	Size int64
	Seed uint64
	Data [][2]int64 // [start,end), in order
	Text []byte
	Bad  [2]int64 // an extent that cannot be read
}

// Text is the content of a small file.
func Text(s string) Content {
	return Content{Size: int64(len(s)), Text: []byte(s), Data: [][2]int64{{0, int64(len(s))}}}
}

// ErrBad is why an extent cannot be read.
var ErrBad = errors.New("fstest: bad extent")

// Read fills p with the bytes at off, fewer at the end.
func (c Content) Read(p []byte, off int64) (int, error) {
	if off >= c.Size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.Size-off))
	p = p[:n]
	clear(p)
	end := off + int64(n)
	if c.Bad[1] > off && c.Bad[0] < end {
		return 0, ErrBad
	}
	i := sort.Search(len(c.Data), func(i int) bool { return c.Data[i][1] > off })
	for ; i < len(c.Data) && c.Data[i][0] < end; i++ {
		c.fill(p, off, max(off, c.Data[i][0]), min(end, c.Data[i][1]))
	}
	return n, nil
}

// fill writes the bytes of [from,to) into p, which begins at off.
func (c Content) fill(p []byte, off, from, to int64) {
	if c.Text != nil {
		copy(p[from-off:to-off], c.Text[from:to])
		return
	}
	var word [8]byte
	for at := from; at < to; {
		if at%8 == 0 && to-at >= 8 {
			binary.LittleEndian.PutUint64(p[at-off:], c.word(at/8))
			at += 8
			continue
		}
		binary.LittleEndian.PutUint64(word[:], c.word(at/8))
		p[at-off] = word[at%8]
		at++
	}
}

// word is never zero in any of its bytes.
func (c Content) word(i int64) uint64 {
	x := (uint64(i) + c.Seed<<40) * 0x9e3779b97f4a7c15
	return (x ^ x>>29) | 0x0101010101010101
}

// NextData is disk.Disk's.
func (c Content) NextData(off int64) (start, end int64, err error) {
	for _, e := range c.Data {
		if e[1] > off {
			return max(e[0], off), e[1], nil
		}
	}
	return 0, 0, io.EOF
}

// blocks lists the allocated blocks.
func (c Content) blocks(size int64) []int64 {
	var list []int64
	for _, e := range c.Data {
		for b := e[0] / size; b <= (e[1]-1)/size; b++ {
			if len(list) == 0 || list[len(list)-1] < b {
				list = append(list, b)
			}
		}
	}
	return list
}

// unit is what one request to the store brings.
const unit = 256 << 10

// image is a content behind a store: each unit of it costs one request.
type image struct {
	r     *Repository
	c     Content
	block int64

	mu    sync.Mutex
	loads map[int64]*load
}

type load struct {
	done chan struct{}
	err  error
}

var (
	_ fs.Image  = (*image)(nil)
	_ disk.Disk = (*image)(nil)
)

func (i *image) Size() int64 { return i.c.Size }

func (i *image) ReadAt(p []byte, off int64) (int, error) {
	return i.ReadAtContext(context.Background(), p, off)
}

func (i *image) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if i.r.slow() {
		for u := off / unit; u*unit < min(off+int64(len(p)), i.c.Size); u++ {
			l := i.load(u)
			select {
			case <-l.done:
				if l.err != nil {
					return 0, l.err
				}
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	}
	n, err := i.c.Read(p, off)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

// load starts to bring a unit, unless that was done before.
func (i *image) load(u int64) *load {
	i.mu.Lock()
	defer i.mu.Unlock()
	l := i.loads[u]
	if l == nil {
		l = &load{done: make(chan struct{})}
		i.loads[u] = l
		go func() {
			l.err = i.r.request(context.Background())
			close(l.done)
		}()
	}
	return l
}

func (i *image) Prefetch(off, n int64) {
	if !i.r.slow() {
		return
	}
	for u := off / unit; u*unit < min(off+n, i.c.Size); u++ {
		i.load(u)
	}
}

func (i *image) NextData(off int64) (start, end int64, err error) { return i.c.NextData(off) }

func (i *image) BlockSize() int64 { return i.block }
func (i *image) Allocated() int64 { return int64(len(i.c.blocks(i.block))) }

func (i *image) Rank(_ context.Context, block int64) (before int64, allocated bool, err error) {
	list := i.c.blocks(i.block)
	n := sort.Search(len(list), func(i int) bool { return list[i] >= block })
	return int64(n), n < len(list) && list[n] == block, nil
}

func (i *image) Select(_ context.Context, n int64) (int64, error) {
	list := i.c.blocks(i.block)
	if n < 0 || n >= int64(len(list)) {
		return 0, io.EOF
	}
	return list[n], nil
}
