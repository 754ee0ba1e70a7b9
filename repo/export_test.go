package repo

import "context"

// Piece is a chunk, a hole or pages left out, as tests compare them.
type Piece struct {
	Kind  string
	Page  int64
	Pages uint32
	Hash  Hash
}

// Pieces takes the map of an image apart.
func (r *Repo) Pieces(ctx context.Context, i *Image) ([]Piece, error) {
	var out []Piece
	add := func(p Piece) {
		if n := len(out); n > 0 && p.Kind != "data" && out[n-1].Kind == p.Kind {
			out[n-1].Pages += p.Pages
			return
		}
		out = append(out, p)
	}
	s := &imageStore{w: &Writer{repo: r}}
	for off := int64(0); off < i.Size(); off += segmentSize {
		pages := segmentPagesAt(i.Size(), off)
		seg, err := i.segment(ctx, off/segmentSize)
		if err != nil {
			return nil, err
		}
		if seg == nil {
			add(Piece{Kind: "hole", Page: off / pageSize, Pages: pages})
			continue
		}
		items, err := s.takeOver(ctx, seg, 0, pages, true)
		if err != nil {
			return nil, err
		}
		for _, it := range items {
			kind := map[pieceKind]string{pieceData: "data", pieceHole: "hole", pieceLeft: "left"}[it.kind]
			add(Piece{Kind: kind, Page: off/pageSize + int64(it.page), Pages: it.pages, Hash: it.hash})
		}
	}
	return out, nil
}

// RunCount is the number of runs in the map of an image.
func (r *Repo) RunCount(ctx context.Context, i *Image) (n int, err error) {
	for off := int64(0); off < i.Size(); off += segmentSize {
		seg, err := i.segment(ctx, off/segmentSize)
		if err != nil {
			return 0, err
		}
		if seg != nil {
			n += len(seg.runs)
		}
	}
	return n, nil
}
