package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vitrine/repo"
)

// ErrInjected is what a Fault without an error of its own fails with.
var ErrInjected = errors.New("injected fault")

// ErrNoSpace is the error of a full disk.
const ErrNoSpace = syscall.ENOSPC

// Mode is how an operation goes wrong.
type Mode int

// The modes. Those that lie return no error.
const (
	FailBefore Mode = iota // nothing is done, the error is returned
	FailAfter              // it is done, the error is returned all the same (Get: after the last byte)
	Short                  // Get: the reader ends after At bytes; List: after At objects; with Err when it is set, else as if that were all
	Flip                   // Get: the bit At of what is read is flipped
	Lose                   // Put and Delete return nil and do nothing; List leaves out the object number At, from 0
	Truncate               // Put stores the first At bytes and returns nil
)

// Fault is one thing that goes wrong. Operations that match Op and Prefix are
// counted from 1.
type Fault struct {
	Op      Op
	Prefix  string // of the name; for List, of the prefix that is asked for
	N       int    // the one that fails; 0 is the first
	Forever bool   // and all matching ones after it
	Mode    Mode
	At      int64
	Err     error // nil is ErrInjected
}

// Call is one operation that a store was asked for.
type Call struct {
	Op   Op
	Name string
}

// Faulty is a store that goes wrong by a plan.
type Faulty struct {
	store repo.Store

	mu    sync.Mutex // guards the fields below
	plan  []*planned
	calls []Call
}

type planned struct {
	Fault
	seen int
	hit  bool
}

var _ repo.Store = (*Faulty)(nil)

// NewFaulty wraps a store. Without a plan it only counts.
func NewFaulty(s repo.Store, plan ...Fault) *Faulty {
	f := &Faulty{store: s}
	f.Add(plan...)
	return f
}

// Add adds faults that count from now on.
func (f *Faulty) Add(plan ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range plan {
		f.plan = append(f.plan, &planned{Fault: p})
	}
}

// Heal ends all faults, also those that last for ever.
func (f *Faulty) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = nil
}

// Ops counts the operations so far, failed ones too.
func (f *Faulty) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.calls)
}

// Calls gives the operations so far, in the order they began.
func (f *Faulty) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

// Hit tells whether every planned fault took effect: a flipped bit that
// nobody read did not.
func (f *Faulty) Hit() bool { return len(f.missed()) == 0 }

// VerifyHit fails the test for every planned fault that took no effect.
func (f *Faulty) VerifyHit(t testing.TB) {
	t.Helper()
	for _, p := range f.missed() {
		t.Errorf("storetest: planned fault was never hit: %+v", p)
	}
}

func (f *Faulty) missed() []Fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Fault
	for _, p := range f.plan {
		if !p.hit {
			out = append(out, p.Fault)
		}
	}
	return out
}

// next counts an operation and gives the first fault that is due for it.
func (f *Faulty) next(op Op, name string) *planned {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, Call{op, name})
	var due *planned
	for _, p := range f.plan {
		if p.Op != AnyOp && p.Op != op || !strings.HasPrefix(name, p.Prefix) {
			continue
		}
		p.seen++
		n := max(p.N, 1)
		if due == nil && (p.seen == n || p.Forever && p.seen > n) {
			due = p
		}
	}
	return due
}

func (f *Faulty) took(p *planned) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p.hit = true
}

// fail marks the fault as hit and gives its error.
func (f *Faulty) fail(p *planned, op Op, name string) error {
	f.took(p)
	err := p.Err
	if err == nil {
		err = ErrInjected
	}
	return fmt.Errorf("storetest: %s %s: %w", op, name, err)
}

// Put implements repo.Store.
func (f *Faulty) Put(ctx context.Context, name string, data []byte) error {
	p := f.next(OpPut, name)
	if p == nil {
		return f.store.Put(ctx, name, data)
	}
	switch p.Mode {
	case FailBefore:
		return f.fail(p, OpPut, name)
	case FailAfter:
		if err := f.store.Put(ctx, name, data); err != nil {
			return err
		}
		return f.fail(p, OpPut, name)
	case Lose:
		f.took(p)
		return nil
	case Truncate:
		if p.At < int64(len(data)) {
			f.took(p)
			data = data[:p.At]
		}
	}
	return f.store.Put(ctx, name, data)
}

// Delete implements repo.Store.
func (f *Faulty) Delete(ctx context.Context, name string) error {
	p := f.next(OpDelete, name)
	if p == nil {
		return f.store.Delete(ctx, name)
	}
	switch p.Mode {
	case FailBefore:
		return f.fail(p, OpDelete, name)
	case FailAfter:
		if err := f.store.Delete(ctx, name); err != nil {
			return err
		}
		return f.fail(p, OpDelete, name)
	case Lose:
		f.took(p)
		return nil
	}
	return f.store.Delete(ctx, name)
}

// Get implements repo.Store.
func (f *Faulty) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	p := f.next(OpGet, name)
	if p != nil && p.Mode == FailBefore {
		return nil, f.fail(p, OpGet, name)
	}
	r, err := f.store.Get(ctx, name, off, n)
	if p == nil || err != nil {
		return r, err
	}
	return &faultyReader{ReadCloser: r, f: f, p: p, name: name}, nil
}

type faultyReader struct {
	io.ReadCloser
	f    *Faulty
	p    *planned
	name string
	pos  int64
}

func (r *faultyReader) Read(b []byte) (int, error) {
	if r.p.Mode == Short {
		if len(b) > 0 && r.pos >= r.p.At {
			return 0, r.end()
		}
		b = b[:min(int64(len(b)), r.p.At-r.pos)]
	}
	n, err := r.ReadCloser.Read(b)
	at := r.p.At/8 - r.pos
	if r.p.Mode == Flip && r.p.At >= 0 && at >= 0 && at < int64(n) {
		b[at] ^= 1 << (r.p.At % 8)
		r.f.took(r.p)
	}
	r.pos += int64(n)
	if r.p.Mode == FailAfter && err == io.EOF {
		err = r.f.fail(r.p, OpGet, r.name)
	}
	return n, err
}

// end cuts the object short, when there is more of it to cut off.
func (r *faultyReader) end() error {
	var one [1]byte
	if n, err := io.ReadFull(r.ReadCloser, one[:]); n == 0 {
		return err
	}
	if r.p.Err != nil {
		return r.f.fail(r.p, OpGet, r.name)
	}
	r.f.took(r.p)
	return io.EOF
}

// List implements repo.Store.
func (f *Faulty) List(ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
	return func(yield func(repo.Info, error) bool) {
		p := f.next(OpList, prefix)
		if p == nil {
			f.store.List(ctx, prefix)(yield)
			return
		}
		if p.Mode == FailBefore {
			yield(repo.Info{}, f.fail(p, OpList, prefix))
			return
		}
		var i int64
		for in, err := range f.store.List(ctx, prefix) {
			i++
			switch {
			case err == nil && p.Mode == Lose && i-1 == p.At:
				f.took(p)
				continue
			case err == nil && p.Mode == Short && i > p.At:
				if p.Err != nil {
					yield(repo.Info{}, f.fail(p, OpList, prefix))
				}
				f.took(p)
				return
			}
			if !yield(in, err) || err != nil {
				return
			}
		}
		if p.Mode == FailAfter {
			yield(repo.Info{}, f.fail(p, OpList, prefix))
		}
	}
}

// Poison wraps a store so that the slice given to Put is overwritten when Put
// returns: what still reads it then reads rubbish. It is harsher than the
// contract, which lets a caller use its slice again; that is its use.
func Poison(s repo.Store) repo.Store { return poison{s} }

type poison struct{ repo.Store }

func (p poison) Put(ctx context.Context, name string, data []byte) error {
	before := bytes.Clone(data)
	err := p.Store.Put(ctx, name, data)
	if !bytes.Equal(before, data) {
		err = errors.Join(err, fmt.Errorf("storetest: put %s: the store changed its caller's data", name))
	}
	scribble(data)
	return err
}

// scribble changes every byte.
func scribble(b []byte) {
	for i := range b {
		b[i] = ^b[i]
	}
}
