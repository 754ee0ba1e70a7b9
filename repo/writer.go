package repo

import (
	"context"
	"io"
	"iter"
)

// Source is what an image is made from: the disk.Disk of fs/disk satisfies it.
type Source interface {
	io.ReaderAt
	Size() int64
	NextData(off int64) (start, end int64, err error)
}

// ImageOptions of one StoreImage; the zero value reads everything that the
// source has.
type ImageOptions struct {
	Base    *Image                  // the image that the new one starts from; nil is none
	Changed iter.Seq2[int64, int64] // with Base: [start,end) in order, all that may differ from it; nil: everything
	LeftOut iter.Seq2[int64, int64] // [start,end) in order, whole pages: not kept
	Block   int64                   // size of the blocks counted in the map, a power of two from 64 KiB to 1 GiB; 0 is 2 MiB
	Read    func(bytes int64)       // told of source bytes read or passed over, for progress; called from one goroutine
}

// Writer adds restore points. Nothing it stores is visible before Commit. It
// is safe for concurrent use: several images may be stored at a time.
type Writer struct{}

// NewWriter takes a lease and opens the index cache.
func (r *Repo) NewWriter(ctx context.Context) (*Writer, error) { return nil, errNotYet }

// StoreImage reads src and stores it as an image. What lies outside of
// Changed is taken from Base without reading src, but for the neighbours of
// a changed extent, which are cut anew with it.
func (w *Writer) StoreImage(ctx context.Context, src Source, o ImageOptions) (ImageRef, Stats, error) {
	return ImageRef{}, Stats{}, errNotYet
}

// Commit makes everything stored so far durable and then writes p, whose
// Previous, Number and Index it fills in, and ID if it is zero. When it
// returns nil the restore point is in the repository for good.
func (w *Writer) Commit(ctx context.Context, p *RestorePoint) error { return errNotYet }

// Close gives the lease back. Images stored but not committed are lost, their
// packs are found again by the next writer.
func (w *Writer) Close() error { return nil }
