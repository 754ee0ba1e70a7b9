// Package fstest checks that a tree of restore points is shown as it should
// be: one table of checks that the bare tree of package fs and every mount of
// it must pass. It brings a repository made of nothing that can be slow, stall
// and be damaged on command, so that a mount served by another process can be
// told what to do.
package fstest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"vitrine/fs"
	"vitrine/repo"
)

// Repository is a fs.Repository whose images are computed. It is safe for
// concurrent use.
type Repository struct {
	mu     sync.Mutex
	points []repo.RestorePoint
	broken map[repo.PointID]bool
	images []Content
	opened int // restore points opened
	serial uint64

	latency time.Duration // of a request to the store
	stalled time.Time     // until when every request waits
	flying  int           // requests at this moment
	peak    int
}

var _ fs.Repository = (*Repository)(nil)

// ErrDamaged is why a broken restore point does not open.
var ErrDamaged = errors.New("fstest: damaged on purpose")

// NewRepository makes an empty one.
func NewRepository() *Repository { return &Repository{broken: make(map[repo.PointID]bool)} }

// Points lists the restore points.
func (r *Repository) Points(ctx context.Context) iter.Seq2[repo.PointInfo, error] {
	return func(yield func(repo.PointInfo, error) bool) {
		r.mu.Lock()
		points := slices.Clone(r.points)
		r.mu.Unlock()
		for _, p := range points {
			info := repo.PointInfo{Machine: p.Machine, Time: p.Time, ID: p.ID, Object: "points/" + string(p.Machine) + "/" + p.ID.String()}
			if !yield(info, ctx.Err()) || ctx.Err() != nil {
				return
			}
		}
	}
}

// OpenPoint opens one.
func (r *Repository) OpenPoint(ctx context.Context, p repo.PointInfo) (*repo.RestorePoint, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened++
	if r.broken[p.ID] {
		return nil, ErrDamaged
	}
	i := slices.IndexFunc(r.points, func(q repo.RestorePoint) bool { return q.ID == p.ID })
	if i < 0 {
		return nil, fmt.Errorf("fstest: no restore point %s", p.ID)
	}
	c := r.points[i]
	return &c, ctx.Err()
}

// OpenImage opens an image that Image made.
func (r *Repository) OpenImage(_ context.Context, ref repo.ImageRef) (fs.Image, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(ref.Tables) != 1 || int(ref.Tables[0].Before) >= len(r.images) {
		return nil, errors.New("fstest: no such image")
	}
	return &image{r: r, c: r.images[ref.Tables[0].Before], block: ref.Block, loads: make(map[int64]*load)}, nil
}

// Image keeps c and returns the reference to it.
func (r *Repository) Image(c Content, block int64) repo.ImageRef {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images = append(r.images, c)
	ref := repo.ImageRef{Size: c.Size, Block: block, Allocated: int64(len(c.blocks(block)))}
	for _, e := range c.Data {
		ref.Data += e[1] - e[0]
	}
	ref.Tables = []repo.TableRef{{Before: int64(len(r.images) - 1)}}
	return ref
}

// Add adds a restore point, under a new id if it has none.
func (r *Repository) Add(p repo.RestorePoint) repo.PointID {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial++
	if p.ID.IsZero() {
		p.ID = repo.ID{0: 0x51, 1: byte(r.serial >> 16), 2: byte(r.serial >> 8), 3: byte(r.serial), 15: byte(len(p.Machine))}
	}
	r.points = append(r.points, p)
	return p.ID
}

// Break makes a restore point unopenable.
func (r *Repository) Break(id repo.PointID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.broken[id] = true
}

// Opened counts the restore points that were opened.
func (r *Repository) Opened() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.opened
}

// Do obeys a command, for a repository in another process:
//
//	add            a restore point of the first machine, one hour after its last
//	forget NAME    drops the restore points of that time
//	latency D      every request takes D
//	stall D        every request from now on waits until D from now
//	peak           answers how many requests were under way at a time, and starts anew
//	opened         answers how many restore points were opened
func (r *Repository) Do(command string) (string, error) {
	verb, arg, _ := strings.Cut(command, " ")
	switch verb {
	case "add":
		r.mu.Lock()
		p := r.points[0]
		for _, q := range r.points {
			if q.Machine == p.Machine && q.Time.After(p.Time) {
				p = q
			}
		}
		r.mu.Unlock()
		p.ID, p.Time = repo.PointID{}, p.Time.Add(time.Hour)
		r.Add(p)
		return TimeName(p.Time), nil
	case "forget":
		r.mu.Lock()
		r.points = slices.DeleteFunc(r.points, func(p repo.RestorePoint) bool { return TimeName(p.Time) == arg })
		r.mu.Unlock()
		return "", nil
	case "latency", "stall":
		d, err := time.ParseDuration(arg)
		r.mu.Lock()
		defer r.mu.Unlock()
		if verb == "latency" {
			r.latency = d
		} else {
			r.stalled = time.Now().Add(d)
		}
		return "", err
	case "peak":
		r.mu.Lock()
		defer r.mu.Unlock()
		n := r.peak
		r.peak = r.flying
		return strconv.Itoa(n), nil
	case "opened":
		return strconv.Itoa(r.Opened()), nil
	}
	return "", fmt.Errorf("fstest: unknown command %q", command)
}

// request is one trip to the store.
func (r *Repository) request(ctx context.Context) error {
	r.mu.Lock()
	wait := max(r.latency, time.Until(r.stalled))
	r.flying++
	r.peak = max(r.peak, r.flying)
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.flying--
		r.mu.Unlock()
	}()
	if wait <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slow reports whether requests take time.
func (r *Repository) slow() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.latency > 0 || time.Now().Before(r.stalled)
}

// TimeName is the name that the folder of a time has.
func TimeName(t time.Time) string { return t.UTC().Format("2006-01-02T15-04-05Z") }
