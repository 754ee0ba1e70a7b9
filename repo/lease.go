package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// leaseRenewal is how often a live process renews its lease.
const leaseRenewal = 15 * time.Minute

// Lease is a live process's claim on what it uses. Its objects are
// leases/<id>/<number>: a renewal is a new object.
type Lease struct {
	ID      LeaseID   `json:"id"`
	Kind    string    `json:"kind"` // writer | mount
	Host    string    `json:"host,omitempty"`
	PID     int       `json:"pid,omitempty"`
	Started time.Time `json:"started"`
	Renewed time.Time `json:"renewed"`
	Number  int       `json:"number"`
	Points  []PointID `json:"points,omitempty"` // restore points in use: bases, mounted ones
}

// heldLease is a lease of this process, renewed in the background.
type heldLease struct {
	r  *Repo
	id LeaseID

	mu    sync.Mutex
	state Lease

	stop    context.CancelFunc
	stopped chan struct{}
}

func leaseName(id LeaseID, n int) string { return fmt.Sprintf("leases/%s/%08d", id, n) }

// takeLease makes a lease and keeps it until end.
func (r *Repo) takeLease(ctx context.Context, kind string) (*heldLease, error) {
	now := r.clock().UTC()
	l := &heldLease{r: r, state: Lease{Kind: kind, Host: r.opts.Host, PID: os.Getpid(), Started: now}}
	if _, err := io.ReadFull(r.rand, l.id[:]); err != nil {
		return nil, fmt.Errorf("repo: random bytes: %w", err)
	}
	l.state.ID = l.id
	if err := l.put(ctx); err != nil {
		return nil, err
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	l.stop, l.stopped = stop, make(chan struct{})
	go l.renew(background)
	return l, nil
}

// put writes the next renewal.
func (l *heldLease) put(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := l.state
	next.Renewed = l.r.clock().UTC()
	b, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if _, err := l.r.putObject(ctx, typeLease, leaseName(l.id, next.Number), nil, b, false); err != nil {
		return err
	}
	next.Number++
	l.state = next
	return nil
}

// renew keeps the lease. A renewal that cannot be written is tried again: a
// lease that grows old is for prune to judge, and commit looks once more.
func (l *heldLease) renew(ctx context.Context) {
	defer close(l.stopped)
	wait := leaseRenewal
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		wait = leaseRenewal
		if l.put(ctx) != nil {
			wait = time.Minute
		}
	}
}

// held reports whether the lease still stands.
func (l *heldLease) held(ctx context.Context) error {
	found := false
	prefix := "leases/" + l.id.String() + "/"
	for info, err := range l.r.store.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("repo: list %s: %w", prefix, err)
		}
		if lastPart(info.Name) == "revoked" {
			return fmt.Errorf("repo: lease %s: %w", l.id, ErrLocked)
		}
		found = true
	}
	if !found {
		return fmt.Errorf("repo: lease %s is gone: %w", l.id, ErrLocked)
	}
	return nil
}

// end gives the lease back.
func (l *heldLease) end(ctx context.Context) error {
	l.stop()
	<-l.stopped
	prefix := "leases/" + l.id.String() + "/"
	var names []string
	for info, err := range l.r.store.List(ctx, prefix) {
		if err != nil {
			return fmt.Errorf("repo: list %s: %w", prefix, err)
		}
		names = append(names, info.Name)
	}
	for _, n := range names {
		if err := l.r.store.Delete(ctx, n); err != nil {
			return fmt.Errorf("repo: delete %s: %w", n, err)
		}
	}
	return nil
}

// HeldLease is a lease that a reader of this process holds.
type HeldLease struct{ l *heldLease }

// ID is the lease's id, as Leases lists it.
func (h *HeldLease) ID() LeaseID { return h.l.id }

// End gives the lease back.
func (h *HeldLease) End(ctx context.Context) error { return h.l.end(ctx) }

// MountLease claims the repository for a reader until End is called. A reader
// that may not write goes without: the error is fs.ErrPermission or that of a
// read-only file system.
func (r *Repo) MountLease(ctx context.Context) (*HeldLease, error) {
	l, err := r.takeLease(ctx, "mount")
	if err != nil {
		return nil, err
	}
	return &HeldLease{l}, nil
}

// Leases lists what live processes hold: the newest renewal of each.
func (r *Repo) Leases(ctx context.Context) ([]Lease, error) {
	newest := map[string]string{}
	var order []string
	for info, err := range r.store.List(ctx, "leases/") {
		if err != nil {
			return nil, fmt.Errorf("repo: list leases/: %w", err)
		}
		parts := strings.Split(info.Name, "/")
		if len(parts) != 3 || parts[2] == "revoked" {
			continue
		}
		if _, ok := newest[parts[1]]; !ok {
			order = append(order, parts[1])
		}
		newest[parts[1]] = info.Name
	}
	var leases []Lease
	for _, id := range order {
		_, b, err := r.getObject(ctx, typeLease, newest[id])
		if isNotExist(err) {
			continue // ended since
		}
		if err != nil {
			return nil, err
		}
		var l Lease
		if err := json.Unmarshal(b, &l); err != nil {
			return nil, corrupt(newest[id], err)
		}
		leases = append(leases, l)
	}
	return leases, nil
}
