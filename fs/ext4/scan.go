package ext4

import (
	"context"
	"io"

	"vitrine/fs/disk"
)

// scan goes through all blocks of a folder in order.
type scan struct {
	fsys   *FS
	inode  *inode
	leaf   *leaf
	next   uint64   // block of the folder
	inline bool     // the inline data were not read yet
	seen   disk.Set // blocks of the volume that were read: none belongs to the folder twice
}

func (fsys *FS) newScan(n *inode) *scan {
	return &scan{fsys: fsys, inode: n, inline: n.has(flagInlineData)}
}

// entries appends the entries of the next block that has any to list; io.EOF
// behind the last. After damage it can be called again and goes on behind it.
func (s *scan) entries(ctx context.Context, list []entry) ([]entry, error) {
	if s.inode.has(flagInlineData) {
		return s.inlineEntries(list)
	}
	blockSize := s.fsys.super.blockSize
	count := s.fsys.blockCount(s.inode)
	for {
		if s.next >= count {
			return list, io.EOF
		}
		r, err := s.fsys.nextRun(ctx, s.inode, &s.leaf, s.next, written)
		if err == io.EOF {
			r.first = count
		} else if err != nil {
			s.next = count // nobody knows where its other blocks are
			return list, err
		}
		if r.first != s.next {
			missing := s.next
			s.next = r.first
			return list, corrupt(folder(s.inode), s.inode.off, "its blocks %d to %d are missing", missing, r.first-1)
		}
		if s.seen.Overlaps(int64(r.block), int64(r.block+1)) {
			s.next = r.end()
			return list, corrupt(folder(s.inode), s.inode.off, "block %d belongs to it twice", r.block)
		}
		s.seen.Add(int64(r.block), int64(r.block+1))
		first := s.next == 0
		s.next++
		p, err := s.fsys.block(ctx, r.block)
		if err != nil {
			return list, err
		}
		off := int64(r.block) * blockSize
		if err := s.fsys.verifyFolderBlock(s.inode, first, p, off); err != nil {
			return list, err
		}
		n := len(list)
		if list, err = s.fsys.entries(s.inode, p, off, list); err != nil || len(list) > n {
			return list, err
		}
	}
}

// inlineEntries reads a folder that is stored in its inode: the number of its
// parent, then entries in the rest of the block map, then more of them.
func (s *scan) inlineEntries(list []entry) ([]entry, error) {
	if !s.inline {
		return list, io.EOF
	}
	s.inline = false
	data, err := s.inode.inlineData()
	if err != nil {
		return list, err
	}
	if len(data) < inlineSize {
		return list, s.inode.corrupt(s.inode.off, "an inline folder has %d bytes", len(data))
	}
	list, err = s.fsys.entries(s.inode, data[4:inlineSize], s.inode.off+44, list)
	if err != nil {
		return list, err
	}
	return s.fsys.entries(s.inode, data[inlineSize:], s.inode.off+128, list)
}
