package storetest

import (
	"context"
	"io"
	"iter"
	"strings"
	"sync"

	"vitrine/repo"
)

// Counting is a store that counts what is asked of it.
type Counting struct {
	store repo.Store

	mu     sync.Mutex // guards counts
	counts map[Call]Tally
}

// Tally is what was counted: bytes are those given to Put, read from Get's
// readers, and the objects that List yielded.
type Tally struct {
	Calls int
	Bytes int64
}

var _ repo.Store = (*Counting)(nil)

// NewCounting wraps a store.
func NewCounting(s repo.Store) *Counting {
	return &Counting{store: s, counts: make(map[Call]Tally)}
}

// Count sums up the calls of op, or AnyOp, for names that begin with prefix.
func (c *Counting) Count(op Op, prefix string) Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum Tally
	for call, t := range c.counts {
		if (op == AnyOp || op == call.Op) && strings.HasPrefix(call.Name, prefix) {
			sum.Calls += t.Calls
			sum.Bytes += t.Bytes
		}
	}
	return sum
}

// Reset begins to count anew.
func (c *Counting) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.counts)
}

func (c *Counting) add(op Op, name string, calls int, n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := c.counts[Call{op, name}]
	t.Calls += calls
	t.Bytes += n
	c.counts[Call{op, name}] = t
}

// Put implements repo.Store.
func (c *Counting) Put(ctx context.Context, name string, data []byte) error {
	c.add(OpPut, name, 1, int64(len(data)))
	return c.store.Put(ctx, name, data)
}

// Get implements repo.Store.
func (c *Counting) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	c.add(OpGet, name, 1, 0)
	r, err := c.store.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	return &countingReader{r, c, name}, nil
}

type countingReader struct {
	io.ReadCloser
	c    *Counting
	name string
}

func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.c.add(OpGet, r.name, 0, int64(n))
	return n, err
}

// List implements repo.Store.
func (c *Counting) List(ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
	return func(yield func(repo.Info, error) bool) {
		c.add(OpList, prefix, 1, 0)
		for in, err := range c.store.List(ctx, prefix) {
			if err == nil {
				c.add(OpList, prefix, 0, 1)
			}
			if !yield(in, err) {
				return
			}
		}
	}
}

// Delete implements repo.Store.
func (c *Counting) Delete(ctx context.Context, name string) error {
	c.add(OpDelete, name, 1, 0)
	return c.store.Delete(ctx, name)
}
