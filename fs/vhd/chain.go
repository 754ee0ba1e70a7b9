package vhd

import (
	"context"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// maxChain is more than Hyper-V lets a chain grow.
const maxChain = 1024

// ParentError is a differencing file without its right parent.
type ParentError struct {
	Child  disk.GUID // the file that needs the parent
	Want   disk.GUID // the identity it asks for
	Name   string    // the parent's file name as the child knows it
	Found  disk.GUID // the identity of what was offered; zero when nothing was
	Reason string
}

func (e *ParentError) Error() string {
	return fmt.Sprintf("vhd: parent %q (id %v) of %v %s", e.Name, e.Want, e.Child, e.Reason)
}

// Hint says what can be done about it.
func (e *ParentError) Hint() string {
	if e.Found.IsZero() {
		return "put the parent disk, under any name, beside the differencing disk"
	}
	return "the file was replaced or is another machine's: look for the one with the id asked for"
}

// Chain returns the disk that child and its parents make up together, the
// nearest parent first and the file that needs none last. Every parent must
// bear the identity that its child asks for, and have its size. The time that
// a child knows of its parent's file is not compared: copying changes it.
func Chain(child *Image, parents ...*Image) (disk.Disk, error) {
	if len(parents) >= maxChain {
		return nil, fmt.Errorf("vhd: a chain of %d files is longer than %d", len(parents)+1, maxChain)
	}
	layers := append([]*Image{child}, parents...)
	for i, m := range layers {
		last := i == len(layers)-1
		if m.Type() != Differencing {
			if !last {
				return nil, fmt.Errorf("vhd: %s disk %v takes no parent", m.Type(), m.ID())
			}
			break
		}
		e := m.orphan()
		if last {
			return nil, e
		}
		parent := layers[i+1]
		e.Found = parent.ID()
		switch {
		case e.Want.IsZero():
			e.Reason = "has no identity to recognise it by"
			return nil, e
		case e.Want != e.Found:
			e.Reason = fmt.Sprintf("is another disk than the one found (id %v)", e.Found)
			return nil, e
		case parent.Size() != m.Size():
			e.Reason = fmt.Sprintf("has %d bytes where the child has %d", parent.Size(), m.Size())
			return nil, e
		}
	}
	if len(layers) == 1 {
		return child, nil
	}
	return chain(layers), nil
}

// chain is a disk made of files: what the first does not hold comes from the
// next, and what none holds is zeros.
type chain []*Image

var _ disk.ContextReaderAt = chain(nil)

func (c chain) Size() int64 { return c[0].Size() }

func (c chain) ReadAt(p []byte, off int64) (int, error) {
	return c.ReadAtContext(context.Background(), p, off)
}

func (c chain) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	n, end := disk.Clip(len(p), off, c.Size())
	if got, err := c.read(ctx, p[:n], off); err != nil {
		return got, err
	}
	return n, end
}

func (c chain) read(ctx context.Context, p []byte, off int64) (int, error) {
	return c[0].readData(ctx, p, off, func(p []byte, off int64) error {
		if len(c) == 1 {
			clear(p)
			return nil
		}
		_, err := c[1:].read(ctx, p, off)
		return err
	})
}

// NextData joins what the files hold. It looks at all of them in a window that
// grows while nothing is found, so that a sparse file is not scanned to its end
// for every extent of a dense one.
func (c chain) NextData(off int64) (start, end int64, err error) {
	off = max(off, 0)
	for window := int64(64 << 20); off < c.Size(); window *= 2 {
		limit := off + min(window, c.Size()-off)
		start, end = limit, limit
		for _, m := range c {
			a, b, err := m.nextData(off, limit)
			if err == io.EOF {
				continue
			}
			if err != nil {
				return 0, 0, err
			}
			if a < start {
				start, end = a, b
			}
		}
		if start < limit {
			return start, end, nil
		}
		off = limit
	}
	return 0, 0, io.EOF
}
