package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"vitrine/repo"
)

const (
	statusDir  = ".vitrine"
	keptErrors = 64
)

// cached is offered by a repository that counts what its cache does.
type cached interface{ CacheStats() repo.CacheStats }

// latencies are the upper ends of the classes that reads are counted in.
var latencies = [...]time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, time.Second, 10 * time.Second}

// meter counts what the tree does.
type meter struct {
	handles, reads, bytes atomic.Int64
	classes               [len(latencies) + 1]atomic.Int64
	slowest               atomic.Int64

	mu     sync.Mutex
	count  int64
	errors []failure // the last ones
}

type failure struct {
	Time  time.Time `json:"time"`
	Path  string    `json:"path,omitempty"` // "" is the mount as a whole
	Error string    `json:"error"`
}

func (m *meter) read(n int, took time.Duration) {
	m.reads.Add(1)
	m.bytes.Add(int64(n))
	class := 0
	for class < len(latencies) && took > latencies[class] {
		class++
	}
	m.classes[class].Add(1)
	for {
		old := m.slowest.Load()
		if int64(took) <= old || m.slowest.CompareAndSwap(old, int64(took)) {
			return
		}
	}
}

// failed keeps an error for the status and tells Options.OnError, unless
// nobody waits for the result any more.
func (t *Tree) failed(ctx context.Context, path string, err error) {
	if ctx.Err() != nil || errors.Is(err, context.Canceled) {
		return
	}
	m := &t.meter
	m.mu.Lock()
	m.count++
	if len(m.errors) == keptErrors {
		m.errors = slices.Delete(m.errors, 0, 1)
	}
	m.errors = append(m.errors, failure{t.o.Clock().UTC(), path, err.Error()})
	m.mu.Unlock()
	t.o.OnError(path, err)
}

// Failed adds a failure of whatever serves the tree to its status: a mount in
// the background has nowhere else to tell of it.
func (t *Tree) Failed(err error) { t.failed(context.Background(), "", err) }

// Status is what .vitrine/status.json holds.
type Status struct {
	Since    time.Time        `json:"since"`
	Listed   time.Time        `json:"listed"` // when the repository was last asked for restore points
	Machines int              `json:"machines"`
	Points   int              `json:"points"`
	Handles  int64            `json:"handles"` // open files
	Reads    int64            `json:"reads"`
	Bytes    int64            `json:"bytes"`
	Latency  map[string]int64 `json:"latency"` // reads by the time they took
	Slowest  float64          `json:"slowestSeconds"`
	Cache    repo.CacheStats  `json:"cache"`
	Lease    string           `json:"lease,omitempty"` // what the mount holds in the repository
	Failures int64            `json:"failures"`
	Errors   []failure        `json:"errors"` // the last ones
}

// Status tells what the tree has done so far.
func (t *Tree) Status() Status {
	s := Status{Since: t.start, Lease: t.o.Lease, Latency: make(map[string]int64)}
	if c, ok := t.repo.(cached); ok {
		s.Cache = c.CacheStats()
	}
	t.mu.Lock()
	s.Listed = t.listed
	if t.list != nil {
		s.Machines, s.Points = len(t.list.machines), t.list.points
	}
	t.mu.Unlock()
	m := &t.meter
	s.Handles, s.Reads, s.Bytes = m.handles.Load(), m.reads.Load(), m.bytes.Load()
	for i := range m.classes {
		s.Latency[className(i)] = m.classes[i].Load()
	}
	s.Slowest = time.Duration(m.slowest.Load()).Seconds()
	m.mu.Lock()
	s.Failures, s.Errors = m.count, slices.Clone(some(m.errors))
	m.mu.Unlock()
	return s
}

func className(i int) string {
	if i == len(latencies) {
		return "longer"
	}
	return "<" + latencies[i].String()
}

func (s Status) text() []byte {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	row("mounted since", "%s", s.Since.UTC().Format(time.RFC3339))
	row("last listed", "%s", s.Listed.UTC().Format(time.RFC3339))
	row("machines", "%d", s.Machines)
	row("restore points", "%d", s.Points)
	row("open files", "%d", s.Handles)
	row("reads", "%d", s.Reads)
	row("bytes read", "%d", s.Bytes)
	for i := range len(latencies) + 1 {
		row("reads "+className(i), "%d", s.Latency[className(i)])
	}
	row("slowest read", "%.3f s", s.Slowest)
	row("cache", "%d of %d bytes", s.Cache.Size, s.Cache.Limit)
	row("cache hits", "%d", s.Cache.Hits)
	row("cache misses", "%d", s.Cache.Misses)
	row("bytes fetched", "%d", s.Cache.Fetched)
	if s.Lease != "" {
		row("lease", "%s", s.Lease)
	}
	row("errors", "%d", s.Failures)
	w.Flush()
	for _, e := range s.Errors {
		fmt.Fprintf(&b, "%s  ", e.Time.Format(time.RFC3339))
		if e.Path != "" {
			fmt.Fprintf(&b, "%s: ", e.Path)
		}
		fmt.Fprintf(&b, "%s\n", e.Error)
	}
	return b.Bytes()
}

func statusIno(name string) uint64 { return inode("tree", statusDir+"/"+name) }

func (t *Tree) statusFolder() *folder {
	f := newFolder(statusIno(""), t.start)
	add := func(name string, make func() []byte) {
		f.put(name, statusIno(name), fileMode, newVolatile(statusIno(name), t.o.Clock, make))
	}
	add("status", func() []byte { return t.Status().text() })
	add("status.json", func() []byte { return document(t.Status()) })
	return f
}

// Size counts the bytes of the disks of each machine's latest restore point,
// as far as the tree knows them, and the restore points.
func (t *Tree) Size() (bytes int64, points int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.names != nil {
		for _, m := range t.names.folders {
			bytes += m.size
		}
	}
	if t.list != nil {
		points = t.list.points
	}
	return bytes, points
}
