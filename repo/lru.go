package repo

import "container/list"

// lru keeps the values used last, up to a number of bytes. It is not safe for
// concurrent use.
type lru[K comparable, V any] struct {
	limit, size int64
	order       *list.List // of *lruEntry, newest first
	entries     map[K]*list.Element
	evicted     func(V) // told of values that had to go; may be nil
}

type lruEntry[K comparable, V any] struct {
	key   K
	value V
	size  int64
}

func newLRU[K comparable, V any](limit int64) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), entries: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(k K) (v V, ok bool) {
	e, ok := l.entries[k]
	if !ok {
		return v, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*lruEntry[K, V]).value, true
}

// add keeps v; a value that is there already stays, and v is not kept.
func (l *lru[K, V]) add(k K, v V, size int64) bool {
	if e, ok := l.entries[k]; ok {
		l.order.MoveToFront(e)
		return false
	}
	l.entries[k] = l.order.PushFront(&lruEntry[K, V]{k, v, size})
	l.size += size
	for l.size > l.limit && l.order.Len() > 1 {
		e := l.order.Back()
		old := l.order.Remove(e).(*lruEntry[K, V])
		delete(l.entries, old.key)
		l.size -= old.size
		if l.evicted != nil {
			l.evicted(old.value)
		}
	}
	return true
}
