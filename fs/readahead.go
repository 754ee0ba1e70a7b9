package fs

import "sync"

const (
	streams    = 4       // runs of reading that one handle follows
	slack      = 2 << 20 // how far out of order reads of one run may come
	minWindow  = 512 << 10
	maxWindow  = 8 << 20
	minStreak  = 3 // reads in a row that make a run
	windowPart = 2 // the window is filled up when this part of it is used
)

// readAhead follows how a handle is read and says what to fetch before it is
// asked for. A kernel reads one file by several requests at a time that come
// in any order, and a guest reads several places in turn: so it follows a few
// streams, each with some slack. The zero value is ready.
type readAhead struct {
	mu  sync.Mutex
	run [streams]stream
	now uint64
}

// stream is a place that is being read towards the end of the file.
type stream struct {
	next   int64 // behind the furthest byte read
	ahead  int64 // behind the furthest byte asked for in advance
	window int64
	streak int
	used   uint64 // when, by the handle's count of reads; 0 is never
}

// read is told of a read of n bytes at off and returns what to fetch: n is 0
// for nothing.
func (r *readAhead) read(off, n, size int64) (ahead, length int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.now++
	s := r.find(off)
	end := off + n
	if s.used == 0 || off < s.next-slack || off > s.next+slack {
		*s = stream{next: end, ahead: end, window: minWindow, streak: 1, used: r.now}
		return 0, 0
	}
	s.used = r.now
	if end > s.next {
		s.next = end
		s.streak++
	}
	s.ahead = max(s.ahead, s.next)
	if s.streak < minStreak || s.ahead-s.next > s.window-s.window/windowPart {
		return 0, 0
	}
	s.window = min(max(2*s.window, 4*n), maxWindow)
	target := min(s.next+s.window, size)
	if target <= s.ahead {
		return 0, 0
	}
	ahead, length = s.ahead, target-s.ahead
	s.ahead = target
	return ahead, length
}

// find returns the stream that a read at off goes on with, or the one to give
// up for it.
func (r *readAhead) find(off int64) *stream {
	oldest := &r.run[0]
	for i := range r.run {
		s := &r.run[i]
		if s.used != 0 && off >= s.next-slack && off <= s.next+slack {
			return s
		}
		if s.used < oldest.used {
			oldest = s
		}
	}
	return oldest
}
