package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"vitrine/repo"
	"vitrine/repo/mem"
)

// Crash is a store that remembers every change made through it, so that a
// test can look at the store as it would be had the power gone at any moment.
// It keeps all data in memory.
type Crash struct {
	repo.Store
	clock func() time.Time
	start *mem.Store

	mu      sync.Mutex // guards the fields below
	moments int        // begins and ends of changes so far
	changes []*change
}

// change is a Put or Delete that succeeded, or may yet.
type change struct {
	Call
	data       []byte
	time       time.Time
	begin, end int  // moments; end 0: has not ended
	failed     bool // ended with an error: nothing was changed
}

// NewCrash wraps a store and remembers what it holds now. The clones show the
// times of clock; nil is time.Now.
func NewCrash(t testing.TB, s repo.Store, clock func() time.Time) *Crash {
	t.Helper()
	if clock == nil {
		clock = time.Now
	}
	c := &Crash{Store: s, clock: clock, start: mem.New()}
	var at time.Time
	c.start.Clock = func() time.Time { return at }
	for in, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatalf("storetest: crash: %v", err)
		}
		at = in.Time
		if err := c.start.Put(t.Context(), in.Name, Read(t, s, in.Name)); err != nil {
			t.Fatalf("storetest: crash: %v", err)
		}
	}
	return c
}

// Put implements repo.Store.
func (c *Crash) Put(ctx context.Context, name string, data []byte) error {
	ch := c.begin(OpPut, name, bytes.Clone(data))
	err := c.Store.Put(ctx, name, data)
	c.done(ch, err)
	return err
}

// Delete implements repo.Store.
func (c *Crash) Delete(ctx context.Context, name string) error {
	ch := c.begin(OpDelete, name, nil)
	err := c.Store.Delete(ctx, name)
	c.done(ch, err)
	return err
}

func (c *Crash) begin(op Op, name string, data []byte) *change {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moments++
	ch := &change{Call: Call{op, name}, data: data, begin: c.moments}
	c.changes = append(c.changes, ch)
	return ch
}

func (c *Crash) done(ch *change, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.moments++
	ch.end, ch.failed, ch.time = c.moments, err != nil, c.clock()
	if ch.failed {
		ch.data = nil
	}
}

// Len counts the changes so far, failed ones too.
func (c *Crash) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.changes)
}

// Change gives the change number n, from 0, for messages.
func (c *Crash) Change(n int) Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.changes[n].Call
}

// At gives the store as a crash right before the change number n, from 0,
// leaves it: what had ended is there, what was under way beside it is not.
// At(Len()) is the store as it is now, without what is still under way.
func (c *Crash) At(n int) *mem.Store {
	return c.clone(n, func() bool { return false })
}

// During gives the store as a crash during the change number n leaves it:
// each change under way at that moment, n among them, is there or is not, by
// the toss of r. A nil r lets all be there.
func (c *Crash) During(n int, r *rand.Rand) *mem.Store {
	return c.clone(n, func() bool { return r == nil || r.IntN(2) == 0 })
}

func (c *Crash) clone(n int, toss func() bool) *mem.Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	moment := c.moments + 1
	if n < len(c.changes) {
		moment = c.changes[n].begin
	}
	kept := make(map[*change]bool)
	for _, ch := range c.changes {
		if ch.failed || ch.begin > moment {
			continue
		}
		if ended := ch.end != 0 && ch.end < moment; ended || toss() {
			kept[ch] = true
		}
	}
	return c.replay(kept)
}

// replay makes the kept changes to a copy of the start, in the order they
// ended, those that have not ended last.
func (c *Crash) replay(kept map[*change]bool) *mem.Store {
	ctx := context.Background()
	var at time.Time
	s := mem.New()
	s.Clock = func() time.Time { return at }
	for in, err := range c.start.List(ctx, "") {
		var b []byte
		if err == nil {
			b, err = read(ctx, c.start, in.Name, 0, -1)
		}
		at = in.Time
		if err == nil {
			err = s.Put(ctx, in.Name, b)
		}
		must(err)
	}
	byEnd := make([]*change, c.moments+1)
	var open []*change
	for _, ch := range c.changes {
		switch {
		case !kept[ch]:
		case ch.end == 0:
			open = append(open, ch)
		default:
			byEnd[ch.end] = ch
		}
	}
	for _, ch := range append(byEnd, open...) {
		if ch == nil {
			continue
		}
		at = ch.time
		if at.IsZero() {
			at = c.clock()
		}
		// A second Put of a name, one of several under way, is refused as the
		// store would have refused it.
		if ch.Op == OpPut {
			if err := s.Put(ctx, ch.Name, ch.data); !errors.Is(err, iofs.ErrExist) {
				must(err)
			}
		} else {
			must(s.Delete(ctx, ch.Name))
		}
	}
	s.Clock = c.clock
	return s
}

// must stops a test whose store in memory fails, which it cannot.
func must(err error) {
	if err != nil {
		panic(fmt.Sprintf("storetest: crash clone: %v", err))
	}
}
