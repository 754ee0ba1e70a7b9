package repo

import (
	"context"
	"io"
	"iter"
	"time"
)

// Store holds whole objects by name. Names are slash-separated relative paths
// of [a-z0-9._-] and the capital letters T and Z. It is safe for concurrent
// use, also by other processes and other machines.
type Store interface {
	// Put makes an object, atomically and durably: when it returns nil the
	// object survives a power cut, and nobody ever sees a part of it. An
	// object that exists is never touched: the error is fs.ErrExist. Put does
	// not keep or change data.
	Put(ctx context.Context, name string, data []byte) error
	// Get opens n bytes of an object from off; n < 0 reads to the end. Bytes
	// past the end are not an error: the reader ends early. A missing object
	// is fs.ErrNotExist.
	Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error)
	// List yields the objects whose names begin with prefix, in name order.
	// It stops at the first error, which it yields.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
	// Delete removes an object; a missing one is no error.
	Delete(ctx context.Context, name string) error
}

// Info is what a listing tells of an object.
type Info struct {
	Name string
	Size int64
	Time time.Time // by the store's clock
}
