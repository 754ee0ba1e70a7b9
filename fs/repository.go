package fs

import (
	"context"
	"iter"

	"vitrine/fs/disk"
	"vitrine/repo"
)

// Repository is what the tree needs of a repository. It is safe for
// concurrent use. Repo makes one of a *repo.Repo.
type Repository interface {
	// Points lists the restore points by machine, then time, and opens none.
	Points(ctx context.Context) iter.Seq2[repo.PointInfo, error]
	OpenPoint(ctx context.Context, p repo.PointInfo) (*repo.RestorePoint, error)
	// OpenImage reads nothing yet.
	OpenImage(ctx context.Context, ref repo.ImageRef) (Image, error)
}

// Image is a stored disk.
type Image interface {
	disk.Disk
	disk.ContextReaderAt
	disk.Blocks
	// Prefetch fetches [off,off+n) in the background and returns at once.
	Prefetch(off, n int64)
}

var (
	_ Image  = (*repo.Image)(nil)
	_ cached = stored{}
)

// Repo gives the tree its repository.
func Repo(r *repo.Repo) Repository { return stored{r} }

type stored struct{ *repo.Repo }

func (s stored) OpenImage(ctx context.Context, ref repo.ImageRef) (Image, error) {
	i, err := s.Repo.OpenImage(ctx, ref)
	if err != nil {
		return nil, err
	}
	return i, nil
}
