package main

import (
	"context"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"vitrine/backup"
)

// bars shows the progress of disks on a terminal: a line for each being read,
// with a bar, bytes, rate and time left.
type bars struct {
	ctx context.Context
	e   *env
	on  bool

	mu sync.Mutex
	p  *mpb.Progress // nil while paused
}

var _ backup.Progress = (*bars)(nil)

// newBars shows nothing unless stderr is a terminal and people read stdout.
func newBars(ctx context.Context, e *env, quiet bool) *bars {
	b := &bars{ctx: ctx, e: e, on: e.errTerm && !quiet && e.getenv("TERM") != "dumb"}
	b.resume()
	return b
}

// resume starts showing again.
func (b *bars) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.on && b.p == nil {
		b.p = mpb.NewWithContext(b.ctx, mpb.WithOutput(b.e.err), mpb.WithWidth(30), mpb.WithRefreshRate(150*time.Millisecond))
	}
}

// pause clears the lines, so that others can write. No meter is running then:
// a machine's disks are done when its result is printed.
func (b *bars) pause() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.p != nil {
		b.p.Wait()
		b.p = nil
	}
}

// close ends the display for good.
func (b *bars) close() {
	b.pause()
	b.on = false
}

// minShown is the size of what is worth a bar: configuration files are not.
const minShown = 4 << 20

// Begin adds a line.
func (b *bars) Begin(_, item string, total int64) backup.Meter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.p == nil || total < minShown {
		return noMeter{}
	}
	bar := b.p.New(total, mpb.BarStyle().Lbound("[").Rbound("]").Filler("=").Tip(">").Padding(" "),
		mpb.BarRemoveOnComplete(),
		mpb.PrependDecorators(
			decor.Name(oneLine(item), decor.WCSyncSpaceR),
			decor.Percentage(decor.WCSyncSpace),
		),
		mpb.AppendDecorators(
			decor.Any(func(s decor.Statistics) string { return size(s.Current) + " of " + size(s.Total) }, decor.WCSyncSpace),
			decor.Any(rate(b.e.now), decor.WCSyncSpace),
			decor.AverageETA(decor.ET_STYLE_GO, decor.WCSyncSpace),
		),
	)
	return meter{bar, total}
}

// rate gives the bytes of a second since the bar began.
func rate(now func() time.Time) func(decor.Statistics) string {
	began := now()
	return func(s decor.Statistics) string {
		seconds := max(now().Sub(began).Seconds(), 0.001)
		return size(int64(float64(s.Current)/seconds)) + "/s"
	}
}

type meter struct {
	bar   *mpb.Bar
	total int64
}

func (m meter) Add(n int64) { m.bar.IncrInt64(n) }

func (m meter) End(err error) {
	if err != nil {
		m.bar.Abort(true)
		return
	}
	m.bar.SetCurrent(m.total)
	m.bar.SetTotal(m.total, true)
}

type noMeter struct{}

func (noMeter) Add(int64) {}
func (noMeter) End(error) {}
