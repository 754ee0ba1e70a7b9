package fs

import (
	"context"
	"errors"
	iofs "io/fs"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Options of a tree; the zero value is right.
type Options struct {
	// Machines limits the tree to these: names or GUIDs. None means all.
	Machines []string
	// Full reports every file as without holes, for servers that refuse to
	// share a sparse file as a disk (Samba to Hyper-V).
	Full bool
	// RealLatest makes `latest` a folder instead of a link.
	RealLatest bool

	Refresh time.Duration    // how old a listing may be; 0 is 2 s
	Clock   func() time.Time // nil is time.Now
	Lease   string           // what the mount holds in the repository, for .vitrine/status
	// OnError is told of every read that failed, by path; nil is silent, and
	// .vitrine/status has the last of them either way.
	OnError func(path string, err error)
}

// ErrClosed is returned by everything in a tree that was closed.
var ErrClosed = errors.New("fs: the tree is closed")

const (
	defaultRefresh = 2 * time.Second
	patience       = time.Second      // how long a refresh may keep somebody waiting who has an older listing
	retryAfter     = 30 * time.Second // when a restore point that could not be opened is tried again
	openPoints     = 256              // restore points kept open
	openDisks      = 64               // disks kept open after their last use
)

// Tree is the tree of all restore points. It is safe for concurrent use.
type Tree struct {
	repo  Repository
	o     Options
	start time.Time

	ctx     context.Context // ends with Close; background work runs under it
	cancel  context.CancelFunc
	flights singleflight.Group

	mu       sync.Mutex
	closed   bool
	work     sync.WaitGroup // background work; added to under mu while not closed
	list     *listing
	listed   time.Time // when the last attempt to list ended
	names    *roster   // of some listing, maybe an older one
	watchers []func(Change)

	points *lru[pointKey, *point]
	disks  *lru[uint64, source]
	guests *lru[string, *guests]
	meter  meter
}

// New opens the tree of a repository: it lists the restore points.
func New(ctx context.Context, repository Repository, o Options) (*Tree, error) {
	if o.Refresh == 0 {
		o.Refresh = defaultRefresh
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.OnError == nil {
		o.OnError = func(string, error) {}
	}
	t := &Tree{
		repo: repository, o: o, start: o.Clock(),
		points: newLRU[pointKey, *point](openPoints),
		disks:  newLRU[uint64, source](openDisks),
		guests: newLRU[string, *guests](openGuests),
	}
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if _, err := t.current(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return t, nil
}

// Close ends the tree's background work. What is still open fails from now on.
func (t *Tree) Close() error {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.work.Wait()
	return nil
}

// Root is the tree's root directory.
func (t *Tree) Root() Dir { return rootDir{t} }

// share runs f once for everybody who asks for key at the same time, under
// the tree's own context, and waits for its result as long as ctx lasts.
func share[T any](ctx context.Context, t *Tree, key string, f func(ctx context.Context) (T, error)) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := t.flights.DoChan(key, func() (any, error) {
		if !t.begin() {
			return none, ErrClosed
		}
		defer t.work.Done()
		v, err := f(t.ctx)
		if err != nil && t.ctx.Err() != nil {
			err = ErrClosed
		}
		return v, err
	})
	select {
	case <-ctx.Done():
		return none, ctx.Err()
	case r := <-done:
		if r.Err != nil {
			return none, r.Err
		}
		return r.Val.(T), nil
	}
}

// begin announces background work, which must end with t.work.Done. It
// reports false when the tree is closed.
func (t *Tree) begin() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.work.Add(1)
	return true
}

// Change tells that a machine's restore points are not those of before.
type Change struct {
	Ino  uint64   // of the machine's folder
	Gone []string // names of restore points that are no longer in it
	New  []string // names of restore points that were not in it before
}

// Watch has f told of changes. It is called from the tree's background work
// and must come back soon: Close waits for it.
func (t *Tree) Watch(f func(Change)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.watchers = append(t.watchers, f)
}

func notExist(name string) error {
	return &iofs.PathError{Op: "lookup", Path: name, Err: iofs.ErrNotExist}
}
