//go:build linux && !cgofuse

package mount

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

const (
	grace = 100 * time.Millisecond // how long a read is left alone
	watch = 250 * time.Millisecond // how often a slow one's reader is looked at
)

// readContext is the context of a read: it ends when the kernel says that the
// reader was interrupted, or when the reader is found to be killed. The kernel does
// not say so of O_DIRECT reads, which it sends in the background
// (CAP_ASYNC_DIO) and waits for without listening to signals: such a reader
// would stay for as long as the store takes. A read that is answered within
// the grace costs a timer.
type readContext struct {
	context.Context
	pid   uint32
	timer *time.Timer
	done  chan struct{} // closed when the reader has gone
	over  chan struct{} // closed when the read is answered

	mu  sync.Mutex
	err error
}

// reading derives a read's context; end must be called when it is answered.
func reading(ctx context.Context) (_ context.Context, end func()) {
	c := &readContext{Context: ctx, done: make(chan struct{}), over: make(chan struct{})}
	if caller, ok := fuse.FromContext(ctx); ok {
		c.pid = caller.Pid
	}
	c.timer = time.AfterFunc(grace, c.look)
	return c, func() {
		c.timer.Stop()
		close(c.over)
	}
}

func (c *readContext) Done() <-chan struct{} { return c.done }

func (c *readContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// look waits for the reader to go, or for the read to be answered.
func (c *readContext) look() {
	again := time.NewTicker(watch)
	defer again.Stop()
	for !killed(c.pid) {
		select {
		case <-c.over:
			return
		case <-c.Context.Done():
			c.end()
			return
		case <-again.C:
		}
	}
	c.end()
}

func (c *readContext) end() {
	c.mu.Lock()
	c.err = context.Canceled
	c.mu.Unlock()
	close(c.done)
}

// killed reports whether SIGKILL waits for a thread, which then waits for us. A
// thread that has gone is another matter: somebody else may wait for the answer
// to what it asked. The kernel gives 0 for one that this process cannot see.
func killed(pid uint32) bool {
	if pid == 0 {
		return false
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	return err == nil && killPending(string(text))
}

// killPending reads proc_pid_status(5): bit 8 of the pending signals.
func killPending(status string) bool {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if name != "SigPnd" && name != "ShdPnd" {
			continue
		}
		if mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64); err == nil && mask&(1<<8) != 0 {
			return true
		}
	}
	return false
}
