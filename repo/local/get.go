package local

import (
	"context"
	"fmt"
	"io"
	iofs "io/fs"
	"math"
	"os"
)

// Get opens the file. A reader that is open when the object is deleted reads
// on.
func (s *Store) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	r, err := s.get(ctx, name, off, n)
	if err != nil {
		return nil, fmt.Errorf("local: get %s: %w", name, err)
	}
	return r, nil
}

func (s *Store) get(ctx context.Context, name string, off, n int64) (*reader, error) {
	if err := check(ctx, name); err != nil {
		return nil, err
	}
	if off < 0 {
		return nil, fmt.Errorf("offset %d: %w", off, iofs.ErrInvalid)
	}
	f, err := openFile(s.path(name))
	if isMissing(err) {
		if err := s.there(); err != nil {
			return nil, err
		}
		return nil, iofs.ErrNotExist
	}
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = iofs.ErrNotExist // a folder is no object, nor is a pipe
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	if n < 0 || n > math.MaxInt64-off {
		n = math.MaxInt64 - off
	}
	return &reader{ctx: ctx, f: f, sec: io.NewSectionReader(f, off, n)}, nil
}

type reader struct {
	ctx context.Context
	f   *os.File
	sec *io.SectionReader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.sec.Read(p)
}

func (r *reader) Close() error { return r.f.Close() }
