package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"

	"vitrine/repo"
)

// maxSlurp bounds a file that must be held in memory because it can only be
// read from its start.
const maxSlurp = 64 << 20

// files stores every regular file of a tree, byte for byte, in name order.
func (s *storing) files(ctx context.Context, tree iofs.FS) ([]repo.File, error) {
	if tree == nil {
		return nil, nil
	}
	var out []repo.File
	err := iofs.WalkDir(tree, ".", func(name string, e iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			return ctx.Err()
		}
		if !e.Type().IsRegular() {
			s.point.Warnings = append(s.point.Warnings, repo.Warning{
				Object: name, Code: "file-skipped", Text: fmt.Sprintf("%s is no regular file", name),
			})
			return nil
		}
		f, err := s.file(ctx, tree, name)
		if err != nil {
			return fmt.Errorf("file %s: %w", name, err)
		}
		out = append(out, f)
		return nil
	})
	return out, err
}

func (s *storing) file(ctx context.Context, tree iofs.FS, name string) (_ repo.File, err error) {
	f, err := tree.Open(name)
	if err != nil {
		return repo.File{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return repo.File{}, err
	}
	src := fileSource{size: info.Size()}
	if r, ok := f.(io.ReaderAt); ok {
		src.ReaderAt = r
	} else {
		b, err := io.ReadAll(io.LimitReader(f, maxSlurp+1))
		if err != nil {
			return repo.File{}, err
		}
		if len(b) > maxSlurp {
			return repo.File{}, fmt.Errorf("longer than %d bytes and readable only from its start", maxSlurp)
		}
		if int64(len(b)) != src.size {
			return repo.File{}, ErrSourceChanged
		}
		src.ReaderAt = bytes.NewReader(b)
	}
	ref, _, err := s.image(ctx, src, name, 0, &plan{})
	return repo.File{Name: name, Time: info.ModTime().UTC(), Image: ref}, err
}

// fileSource is a file as a source: all of it is data.
type fileSource struct {
	io.ReaderAt
	size int64
}

func (f fileSource) Size() int64 { return f.size }

func (f fileSource) NextData(off int64) (int64, int64, error) {
	if off >= f.size {
		return 0, 0, io.EOF
	}
	return max(off, 0), f.size, nil
}
