// Package mem is a store in memory, for tests and for what need not last.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"vitrine/repo"
)

// Store keeps copies of what is put into it. Its zero value is an empty store.
type Store struct {
	Clock func() time.Time // nil is time.Now; not to be set while in use

	mu      sync.RWMutex // guards objects; the bytes of an object never change
	objects map[string]object
}

type object struct {
	data []byte
	time time.Time
}

var _ repo.Store = (*Store)(nil)

// New makes an empty store.
func New() *Store { return &Store{} }

// Put keeps a copy of data.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := check(ctx, name); err != nil {
		return fmt.Errorf("mem: put %s: %w", name, err)
	}
	now := s.now()
	o := object{bytes.Clone(data), now}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok {
		return fmt.Errorf("mem: put %s: %w", name, iofs.ErrExist)
	}
	if s.objects == nil {
		s.objects = make(map[string]object)
	}
	s.objects[name] = o
	return nil
}

// Get reads the object as it is now, also when it is deleted later.
func (s *Store) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	err := check(ctx, name)
	if err == nil && off < 0 {
		err = iofs.ErrInvalid
	}
	if err != nil {
		return nil, fmt.Errorf("mem: get %s: %w", name, err)
	}
	s.mu.RLock()
	o, ok := s.objects[name]
	s.mu.RUnlock()
	if !ok {
		return nil, fmt.Errorf("mem: get %s: %w", name, iofs.ErrNotExist)
	}
	b := o.data[min(off, int64(len(o.data))):]
	if n >= 0 && n < int64(len(b)) {
		b = b[:n]
	}
	return &reader{ctx, b}, nil
}

// List yields the names that the store held at one moment.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[repo.Info, error] {
	return func(yield func(repo.Info, error) bool) {
		var all []repo.Info
		s.mu.RLock()
		for name, o := range s.objects {
			if strings.HasPrefix(name, prefix) {
				all = append(all, repo.Info{Name: name, Size: int64(len(o.data)), Time: o.time})
			}
		}
		s.mu.RUnlock()
		slices.SortFunc(all, func(a, b repo.Info) int { return strings.Compare(a.Name, b.Name) })
		if err := ctx.Err(); err != nil {
			yield(repo.Info{}, fmt.Errorf("mem: list %s: %w", prefix, err))
			return
		}
		for _, in := range all {
			if err := ctx.Err(); err != nil {
				yield(repo.Info{}, fmt.Errorf("mem: list %s: %w", prefix, err))
				return
			}
			if !yield(in, nil) {
				return
			}
		}
	}
}

// Delete forgets the object.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := check(ctx, name); err != nil {
		return fmt.Errorf("mem: delete %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

func (s *Store) now() time.Time {
	if s.Clock != nil {
		return s.Clock()
	}
	return time.Now()
}

func check(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return repo.CheckStoreName(name)
}

// reader copies out of an object and never writes into it, which WriteTo
// could not promise.
type reader struct {
	ctx  context.Context
	rest []byte
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *reader) Close() error {
	r.rest = nil
	return nil
}
