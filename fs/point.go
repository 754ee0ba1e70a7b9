package fs

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"vitrine/repo"
)

// aliasScope sets the inode numbers below a folder `latest` apart from those of
// the restore point that it shows.
const aliasScope = "latest "

// pointKey names an opened restore point: the object, should a damaged store
// show one id twice.
type pointKey struct {
	id     repo.PointID
	object string
}

// point is a restore point that was opened, or the reason why it was not.
type point struct {
	rp     *repo.RestorePoint
	err    error
	at     time.Time // when opening failed
	folder func() *folder
	alias  func() *folder // the same with other inode numbers, for a second place in the tree
}

// point opens a restore point, once for as long as it is remembered.
func (t *Tree) point(ctx context.Context, p namedPoint) (*point, error) {
	k := pointKey{p.ID, p.Object}
	if o, ok := t.points.get(k); ok {
		if o.err == nil {
			return o, nil
		}
		if t.o.Clock().Sub(o.at) < retryAfter {
			return nil, o.err
		}
	}
	return share(ctx, t, "point "+p.Object+" "+p.ID.String(), func(ctx context.Context) (*point, error) {
		return t.openPoint(ctx, k, p)
	})
}

func (t *Tree) openPoint(ctx context.Context, k pointKey, p namedPoint) (*point, error) {
	rp, err := t.repo.OpenPoint(ctx, p.PointInfo)
	if err == nil && (rp == nil || rp.ID != p.ID || !strings.EqualFold(string(rp.Machine), string(p.Machine))) {
		err = fmt.Errorf("fs: open restore point %s: it says that it is another", p.ID)
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		err = fmt.Errorf("fs: open restore point %s of %s: %w", p.name, p.Machine, err)
		t.failed(ctx, p.name, err)
		t.points.put(k, &point{err: err, at: t.o.Clock()})
		return nil, err
	}
	o := &point{rp: rp}
	o.folder = sync.OnceValue(func() *folder { return buildPoint(t, rp, "") })
	o.alias = sync.OnceValue(func() *folder { return buildPoint(t, rp, aliasScope) })
	t.points.put(k, o)
	return o, nil
}
