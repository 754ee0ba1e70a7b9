package fs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"testing"
	"time"

	"vitrine/fs"
	"vitrine/fs/fstest"
	"vitrine/repo"
)

// gated is a repository whose listing can be held up or fail.
type gated struct {
	*fstest.Repository
	gate chan struct{} // a listing waits for it; nil is open
	err  error
}

func (g *gated) Points(ctx context.Context) iter.Seq2[repo.PointInfo, error] {
	return func(yield func(repo.PointInfo, error) bool) {
		if g.gate != nil {
			select {
			case <-g.gate:
			case <-ctx.Done():
				yield(repo.PointInfo{}, ctx.Err())
				return
			}
		}
		if g.err != nil {
			yield(repo.PointInfo{}, g.err)
			return
		}
		g.Repository.Points(ctx)(yield)
	}
}

func entryNames(t *testing.T, d fs.Dir) (names []string) {
	t.Helper()
	for e, err := range d.Entries(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, e.Name)
	}
	return names
}

func newGated(t *testing.T) (*gated, *fs.Tree) {
	t.Helper()
	r, err := fstest.Fixture("files")
	if err != nil {
		t.Fatal(err)
	}
	g := &gated{Repository: r}
	tree, err := fs.New(t.Context(), g, fs.Options{Refresh: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return g, tree
}

func TestAStoreThatDoesNotAnswerHoldsNobodyUp(t *testing.T) {
	g, tree := newGated(t)
	g.gate = make(chan struct{})
	if got := entryNames(t, tree.Root()); len(got) != 3 {
		t.Errorf("the root holds %q", got)
	}
}

func TestAFailingListingLeavesTheTreeAsItWas(t *testing.T) {
	g, tree := newGated(t)
	g.err = errors.New("no route to store")
	if got := entryNames(t, tree.Root()); len(got) != 3 {
		t.Errorf("the root holds %q", got)
	}
	if s := tree.Status(); s.Failures == 0 {
		t.Error("the status does not tell")
	}
}

func TestAFirstListingThatFailsIsAnError(t *testing.T) {
	g := &gated{Repository: fstest.NewRepository(), err: errors.New("no route to store")}
	if _, err := fs.New(t.Context(), g, fs.Options{}); !errors.Is(err, g.err) {
		t.Errorf("New: %v", err)
	}
}

func TestAnEmptyRepositoryIsAnEmptyTree(t *testing.T) {
	tree, err := fs.New(t.Context(), fstest.NewRepository(), fs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	if got := entryNames(t, tree.Root()); fmt.Sprint(got) != "[.vitrine README.txt]" {
		t.Errorf("the root holds %q", got)
	}
}

func TestNothingIsOpenedBeforeItIsLookedAt(t *testing.T) {
	tree, r := fstest.Tree(t, fstest.Setup{Fixture: "small"})
	if n := r.Opened(); n != 0 {
		t.Errorf("%d restore points are open at the start", n)
	}
	for range 3 {
		entryNames(t, tree.Root())
	}
	// Six machines; the newest of "half" is damaged, so that one more is tried.
	if n := r.Opened(); n != 7 {
		t.Errorf("%d restore points were opened for names, want 7", n)
	}
}

func TestAReadThatIsGivenUpEndsAtOnceAndIsNoFailure(t *testing.T) {
	tree, r := fstest.Tree(t, fstest.Setup{Fixture: "stream"})
	n, err := fs.Walk(t.Context(), tree.Root(), "stream/2026-11-20T22-00-05Z/raw/stream.raw")
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.(fs.File).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := r.Do("stall 1h"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go cancel()
	if _, err := h.ReadAt(ctx, make([]byte, 4096), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if s := tree.Status(); s.Failures != 0 {
		t.Errorf("the status counts %+v", s.Errors)
	}
}

func TestAClosedTreeSaysSo(t *testing.T) {
	tree, _ := fstest.Tree(t, fstest.Setup{Fixture: "small"})
	tree.Close()
	for _, err := range tree.Root().Entries(t.Context()) {
		if !errors.Is(err, fs.ErrClosed) {
			t.Errorf("the root: %v", err)
		}
	}
}

func TestChangesAreTold(t *testing.T) {
	r, err := fstest.Fixture("files")
	if err != nil {
		t.Fatal(err)
	}
	tree, err := fs.New(t.Context(), r, fs.Options{Refresh: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	told := make(chan fs.Change, 10)
	tree.Watch(func(c fs.Change) { told <- c })
	name, err := r.Do("add")
	if err != nil {
		t.Fatal(err)
	}
	entryNames(t, tree.Root())
	if c := <-told; len(c.New) != 1 || c.New[0] != name || len(c.Gone) != 0 {
		t.Errorf("told %+v, want that %s is new", c, name)
	}
	if _, err := r.Do("forget " + name); err != nil {
		t.Fatal(err)
	}
	entryNames(t, tree.Root())
	if c := <-told; len(c.Gone) != 1 || c.Gone[0] != name || len(c.New) != 0 {
		t.Errorf("told %+v, want that %s is gone", c, name)
	}
}

func TestTenThousandRestorePointsAreSmall(t *testing.T) {
	var before, after runtime.MemStats
	r, err := fstest.Fixture("many")
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&before)
	tree, err := fs.New(t.Context(), r, fs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	entryNames(t, tree.Root())
	runtime.GC()
	runtime.ReadMemStats(&after)
	if used := int64(after.HeapAlloc) - int64(before.HeapAlloc); used > 10_000*1000 {
		t.Errorf("the tree takes %d bytes", used)
	} else {
		t.Logf("the tree takes %d bytes", used)
	}
}

func BenchmarkNew(b *testing.B) {
	r, err := fstest.Fixture("many")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		tree, err := fs.New(b.Context(), r, fs.Options{})
		if err != nil {
			b.Fatal(err)
		}
		for _, err := range tree.Root().Entries(b.Context()) {
			if err != nil {
				b.Fatal(err)
			}
		}
		tree.Close()
	}
}

func BenchmarkReadAt(b *testing.B) {
	tree, _ := fstest.Tree(b, fstest.Setup{Fixture: "stream"})
	for _, name := range []string{"raw/stream.raw", "stream.vhdx"} {
		b.Run(name, func(b *testing.B) {
			n, err := fs.Walk(b.Context(), tree.Root(), "stream/2026-11-20T22-00-05Z/"+name)
			if err != nil {
				b.Fatal(err)
			}
			h, err := n.(fs.File).Open(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			defer h.Close()
			buf := make([]byte, 128<<10)
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			off := int64(0)
			for b.Loop() {
				if _, err := h.ReadAt(b.Context(), buf, off); err != nil && !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
				off = (off + int64(len(buf))) % (400 << 20)
			}
		})
	}
}

func TestMachinesThatAreNotThereAreRefused(t *testing.T) {
	all, _ := fstest.Tree(t, fstest.Setup{Fixture: "small"})
	if n, err := all.Chosen(t.Context()); err != nil || n < 7 {
		t.Errorf("%d restore points, %v", n, err)
	}
	some, _ := fstest.Tree(t, fstest.Setup{Fixture: "small", Machines: []string{"half"}})
	if n, err := some.Chosen(t.Context()); err != nil || n != 2 {
		t.Errorf("%d restore points of half, want 2, %v", n, err)
	}
	none, _ := fstest.Tree(t, fstest.Setup{Fixture: "small", Machines: []string{"half", "nobody"}})
	var missing *fs.NoMachineError
	if _, err := none.Chosen(t.Context()); !errors.As(err, &missing) || missing.Name != "nobody" {
		t.Errorf("Chosen: %v", err)
	}
}

func TestFailuresOfTheMountAreInTheStatus(t *testing.T) {
	tree, _ := fstest.Tree(t, fstest.Setup{Fixture: "tiny"})
	tree.Failed(errors.New("no more read-ahead"))
	if s := tree.Status(); s.Failures != 1 || s.Errors[0].Error != "no more read-ahead" {
		t.Errorf("status: %+v", s)
	}
}
