package mount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vitrine/fs"
)

// Options of a mount; the zero value is right.
type Options struct {
	AllowOther bool   // let other users in; the kernel checks permissions
	UID, GID   *int   // owner of everything; nil is who mounts
	Umask      uint32 // taken from 0555 and 0444
	NonEmpty   bool   // allow a mount point that has something in it
	Name       string // shown as the source of the mount; "" is "vitrine"

	// KeepOut are folders that the mount point may not be inside of nor
	// above: the repository, the cache, where overlays lie.
	KeepOut []string

	// LazyAfter is how long a mount that is busy is waited for when its
	// context ends, before it is detached; 0 is 10 s.
	LazyAfter time.Duration
	// OnBusy is told who keeps a mount from ending; nil is silent.
	OnBusy func(*BusyError)
	// OnError is told of failures that no caller of Mount would see; nil is
	// silent.
	OnError func(error)

	// Forward are options that only the system understands, as in a list
	// behind -o: *OptionError for one that it does not.
	Forward []string
}

const defaultLazy = 10 * time.Second

// Mounted is a tree that is being served.
type Mounted struct {
	dir  string
	o    Options
	s    server
	done chan struct{} // closed when the mount has ended and everything behind it
}

// server is one way to serve a tree, once it is mounted.
type server interface {
	// wait returns when the mount has ended, by whomever.
	wait()
	// unmount ends it: a *BusyError if somebody uses it.
	unmount() error
	// detach ends it for new users and, when the last one has gone, for all.
	detach() error
}

// Mount serves the tree at dir until ctx ends, Unmount is called or somebody
// unmounts it from outside. It returns when the mount can be used, and tells
// systemd. A stale mount at dir is unmounted first.
func Mount(ctx context.Context, tree *fs.Tree, dir string, o Options) (*Mounted, error) {
	if o.LazyAfter == 0 {
		o.LazyAfter = defaultLazy
	}
	if o.OnBusy == nil {
		o.OnBusy = func(*BusyError) {}
	}
	if o.OnError == nil {
		o.OnError = func(error) {}
	}
	if o.Name == "" {
		o.Name = "vitrine"
	}
	var err error
	if o.Forward, err = forward(o.Forward); err != nil {
		return nil, err
	}
	dir, err = prepare(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	s, err := serve(ctx, tree, dir, o)
	if err != nil {
		return nil, fmt.Errorf("mount: %s: %w", dir, err)
	}
	m := &Mounted{dir: dir, o: o, s: s, done: make(chan struct{})}
	go m.watch(ctx)
	if err := tellSystemd("READY=1"); err != nil {
		o.OnError(err)
	}
	return m, nil
}

// Dir is the mount point, absolute.
func (m *Mounted) Dir() string { return m.dir }

// Wait returns when the mount has ended. A mount that had to be detached has
// ended when its last user has gone or, with a context that ended, at once.
func (m *Mounted) Wait() { <-m.done }

// Unmount ends the mount: a *BusyError if somebody uses it.
func (m *Mounted) Unmount() error {
	select {
	case <-m.done:
		return nil
	default:
	}
	if err := m.s.unmount(); err != nil {
		return err
	}
	<-m.done
	return nil
}

// watch ends the mount with ctx.
func (m *Mounted) watch(ctx context.Context) {
	defer close(m.done)
	defer func() {
		if err := tellSystemd("STOPPING=1"); err != nil {
			m.o.OnError(err)
		}
	}()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.s.wait()
	}()
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	m.end(ended)
}

// end unmounts, waits for users to go, and detaches when they do not.
func (m *Mounted) end(ended <-chan struct{}) {
	limit := time.After(m.o.LazyAfter)
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	told := false
	for {
		err := m.s.unmount()
		var busy *BusyError
		switch {
		case err == nil:
			<-ended
			return
		case errors.As(err, &busy) && !told:
			m.o.OnBusy(busy)
			told = true
		}
		select {
		case <-ended:
			return
		case <-again.C:
		case <-limit:
			if err := m.s.detach(); err != nil {
				m.o.OnError(fmt.Errorf("mount: detach %s: %w", m.dir, err))
			}
			return
		}
	}
}
