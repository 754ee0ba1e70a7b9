package repo

import "context"

// Image reads a stored image. It loads the map lazily, checks every chunk it
// returns, and is safe for concurrent use. It satisfies disk.Disk,
// disk.ContextReaderAt and disk.Blocks (fs/disk) without knowing them.
type Image struct{}

// OpenImage opens an image of a restore point; nothing is read yet.
func (r *Repo) OpenImage(ctx context.Context, ref ImageRef) (*Image, error) { return nil, errNotYet }

// Size is the image's length in bytes.
func (i *Image) Size() int64 { return 0 }

// ReadAt reads at a byte offset, as io.ReaderAt.
func (i *Image) ReadAt(p []byte, off int64) (int, error) { return 0, errNotYet }

// ReadAtContext is ReadAt that gives up when ctx ends.
func (i *Image) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	return 0, errNotYet
}

// Prefetch brings the chunks of [off,off+n) into the cache in the background,
// as far as the cache has room. It returns at once.
func (i *Image) Prefetch(off, n int64) {}

// NextData returns the first extent at or behind off that is neither hole nor
// left out; io.EOF when there is none.
func (i *Image) NextData(off int64) (start, end int64, err error) { return 0, 0, errNotYet }

// BlockSize, Allocated, Rank and Select count the image's blocks that hold data.
func (i *Image) BlockSize() int64 { return 0 }

// Allocated is the number of blocks that hold data.
func (i *Image) Allocated() int64 { return 0 }

// Rank returns how many blocks before block hold data, and whether block does.
func (i *Image) Rank(ctx context.Context, block int64) (before int64, allocated bool, err error) {
	return 0, false, errNotYet
}

// Select returns the block holding data that has n such blocks before it.
func (i *Image) Select(ctx context.Context, n int64) (block int64, err error) { return 0, errNotYet }
