package repo

import (
	"io"
	"sync"
)

// memo is a source that remembers its last answers about where data lies. A
// source may have to look through all of its tables to say that nothing
// follows, and is asked for every part of an image.
type memo struct {
	Source

	mu      sync.Mutex
	answers [8]answer
	next    int
}

// answer says that nothing lies in [from,start) and data in [start,end).
type answer struct{ from, start, end int64 }

// NextData asks the source only what no answer covers.
func (m *memo) NextData(off int64) (start, end int64, err error) {
	if a, ok := m.known(off); ok {
		if a.start == a.end {
			return 0, 0, io.EOF
		}
		return max(off, a.start), a.end, nil
	}
	start, end, err = m.Source.NextData(off)
	a := answer{from: off, start: start, end: end}
	if err == io.EOF {
		a.start, a.end = m.Size(), m.Size()
	} else if err != nil || start < off || end <= start {
		return start, end, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[m.next] = a
	m.next = (m.next + 1) % len(m.answers)
	return start, end, err
}

func (m *memo) known(off int64) (answer, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range m.answers {
		if off >= a.from && off < a.end {
			return a, true
		}
	}
	return answer{}, false
}
