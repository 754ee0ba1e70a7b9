package ntfs

import (
	"context"
	"fmt"
	"iter"
	"math/bits"

	"vitrine/fs/disk"
)

const bitmapPiece = 256 << 10

// bitmap returns $Bitmap, which has a bit for every cluster.
func (f *FS) bitmap() (*stream, error) {
	n, err := f.inode(recBitmap)
	if err != nil {
		return nil, err
	}
	s, err := n.stream(atData, "")
	if err != nil {
		return nil, err
	}
	if need := (f.geo.clusters + 7) / 8; s.init < need {
		return nil, damage("$Bitmap", "%d bytes, %d needed", s.init, need)
	}
	return s, nil
}

// Free yields the extents of the volume that no file uses, in order, as
// $Bitmap says. It ends with an error where the bitmap cannot be read or marks
// clusters of metadata files as free; what it yielded is not to be trusted then.
// See Consistent and HasShadowCopies before using it.
func (f *FS) Free(ctx context.Context) iter.Seq2[disk.Extent, error] {
	return func(yield func(disk.Extent, error) bool) {
		s, err := f.bitmap()
		if err == nil {
			err = f.checkMetadata()
		}
		if err != nil {
			yield(disk.Extent{}, fmt.Errorf("ntfs: find free space: %w", err))
			return
		}
		c := f.geo.cluster
		var open disk.Extent
		buf := make([]byte, min(bitmapPiece, (f.geo.clusters+7)/8))
		for at := int64(0); at < f.geo.clusters; at += int64(len(buf)) * 8 {
			if err := ctx.Err(); err != nil {
				yield(disk.Extent{}, err)
				return
			}
			b := buf[:min(int64(len(buf)), (f.geo.clusters-at+7)/8)]
			if err := s.readFull(b, at/8); err != nil {
				yield(disk.Extent{}, fmt.Errorf("ntfs: find free space: %w", err))
				return
			}
			n := min(int64(len(b))*8, f.geo.clusters-at)
			for i := int64(0); i < n; {
				used := b[i/8]>>(i%8)&1 != 0
				run := sameBits(b, i, n, used)
				if !used {
					off := (at + i) * c
					if open.Len > 0 && open.End() == off {
						open.Len += run * c
					} else {
						if open.Len > 0 && !yield(open, nil) {
							return
						}
						open = disk.Extent{Off: off, Len: run * c}
					}
				}
				i += run
			}
		}
		if open.Len > 0 {
			yield(open, nil)
		}
	}
}

// sameBits counts the bits of b from i on, before n, that are as used says.
func sameBits(b []byte, i, n int64, used bool) int64 {
	flip := byte(0)
	if used {
		flip = 0xFF
	}
	from := i
	for i < n {
		left := (b[i/8] ^ flip) >> (i % 8) // ones are where it ends
		run := int64(bits.TrailingZeros8(left))
		if left != 0 && i%8+run < 8 {
			return min(i+run, n) - from
		}
		i += 8 - i%8
	}
	return n - from
}

// metadataExtents returns the clusters of the metadata files, which must never
// count as free.
func (f *FS) metadataExtents() (*disk.Set, error) {
	set := new(disk.Set)
	for _, num := range []uint64{recMFT, recMirror, recLogFile, recBitmap, recBoot, recUpCase, recSecure} {
		n, err := f.inode(num)
		if err != nil {
			return nil, err
		}
		err = n.each(func(uint32, string) bool { return true }, func(a attr) error {
			if a.resident {
				return nil
			}
			l := runList{end: a.low}
			if err := l.decode(a.runs, a.low, a.high, f.geo.clusters, int64(1<<62)/f.geo.cluster); err != nil {
				return damage(recordName(num), "%v", err)
			}
			s := stream{fs: f, list: l}
			for _, e := range s.extents() {
				set.Add(e.Off, e.End())
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return set, nil
}

// checkMetadata fails when clusters of metadata files are marked as free.
func (f *FS) checkMetadata() error {
	set, err := f.metadataExtents()
	if err != nil {
		return err
	}
	for start, end := range set.All() {
		if err := f.used(disk.Extent{Off: start, Len: end - start}); err != nil {
			return err
		}
	}
	return nil
}

// checkUsed fails when an extent of file num is marked as free, is given twice,
// or belongs to a metadata file.
func (f *FS) checkUsed(all []disk.Extent, num uint64) error {
	meta, err := f.metadataExtents()
	if err != nil {
		return err
	}
	own := new(disk.Set)
	for _, e := range all {
		if num >= firstUser && meta.Overlaps(e.Off, e.End()) || own.Overlaps(e.Off, e.End()) {
			return damage(recordName(num), "clusters at byte %d belong to something else too", e.Off)
		}
		own.Add(e.Off, e.End())
		if err := f.used(e); err != nil {
			return err
		}
	}
	return nil
}

// used fails when a cluster of e is marked as free.
func (f *FS) used(e disk.Extent) error {
	s, err := f.bitmap()
	if err != nil {
		return err
	}
	first, end := e.Off/f.geo.cluster, e.End()/f.geo.cluster
	buf := make([]byte, min(bitmapPiece, (end-first)/8+2))
	for first < end {
		from := first / 8
		b := buf[:min(int64(len(buf)), (end+7)/8-from)]
		if err := s.readFull(b, from); err != nil {
			return err
		}
		n := min(end-from*8, int64(len(b))*8)
		if k := sameBits(b, first-from*8, n, true); k < n-(first-from*8) {
			return damage("$Bitmap", "cluster %d is in use and marked as free", first+k)
		}
		first = from*8 + n
	}
	return nil
}
