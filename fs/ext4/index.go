package ext4

import (
	"context"
	"encoding/binary"
	"errors"
)

// errNoIndex means that an index cannot be used and all blocks of the folder
// must be searched.
var errNoIndex = errors.New("the folder has no usable index")

// index is one block of a folder's index: hashes in order, each with the block
// where names with that hash and higher ones are found.
type index struct {
	block        []byte
	start        int // of the entries in the block
	count, limit int
	version      uint8 // of the hash function; the root's
	levels       uint8 // of blocks below; the root's
}

func (x *index) hash(i int) uint32 {
	if i == 0 {
		return 0 // its place is taken by limit and count
	}
	return binary.LittleEndian.Uint32(x.block[x.start+8*i:])
}

func (x *index) child(i int) uint32 {
	return binary.LittleEndian.Uint32(x.block[x.start+8*i+4:]) & 0x0FFFFFFF
}

// parseIndex reads the root, which lies behind "." and "..", or a node of an
// index.
func (fsys *FS) parseIndex(n *inode, p []byte, off int64) (*index, error) {
	le := binary.LittleEndian
	x := &index{block: p, start: 8}
	if recordLen(le.Uint16(p[4:]), fsys.super.blockSize) == 12 {
		if le.Uint32(p[24:]) != 0 || p[29] != 8 {
			return nil, corrupt(folder(n), off+24, "the root of its index is not understood")
		}
		x.start, x.version, x.levels = 32, p[28], p[30]
	}
	x.limit, x.count = int(le.Uint16(p[x.start:])), int(le.Uint16(p[x.start+2:]))
	if x.count == 0 || x.count > x.limit || x.start+8*x.limit > len(p) {
		return nil, corrupt(folder(n), off+int64(x.start), "a block of its index has %d of %d entries", x.count, x.limit)
	}
	return x, nil
}

// seek returns the last entry whose hash is at most hash.
func (x *index) seek(hash uint32) int {
	low, high := 1, x.count
	for low < high {
		if mid := (low + high) / 2; x.hash(mid) > hash {
			high = mid
		} else {
			low = mid + 1
		}
	}
	return low - 1
}

// step is a place in an index: an entry of one of its blocks.
type step struct {
	*index
	at int
}

// search looks for a name with the folder's index. hashOf tells the name's
// hash by the index's function. found is false when there is no such name.
func (fsys *FS) search(ctx context.Context, n *inode, hashOf func(version uint8) (uint32, bool), match func(entry) bool) (e entry, found bool, err error) {
	f := folderBlocks{fsys: fsys, inode: n}
	root, err := f.index(ctx, 0)
	if err != nil {
		return entry{}, false, err
	}
	hash, ok := hashOf(root.version)
	if !ok || root.levels > 2 || root.start != 32 {
		return entry{}, false, errNoIndex
	}
	path := make([]step, 0, 3)
	path = append(path, step{root, root.seek(hash)})
	for len(path) <= int(root.levels) {
		last := path[len(path)-1]
		x, err := f.index(ctx, last.child(last.at))
		if err != nil {
			return entry{}, false, err
		}
		path = append(path, step{x, x.seek(hash)})
	}
	var list []entry
	for range fsys.blockCount(n) {
		last := path[len(path)-1]
		p, off, err := f.block(ctx, last.child(last.at))
		if err != nil {
			return entry{}, false, err
		}
		if list, err = fsys.entries(n, p, off, list[:0]); err != nil {
			return entry{}, false, err
		}
		for _, e := range list {
			if match(e) {
				return e, true, nil
			}
		}
		more, err := f.advance(ctx, path, hash)
		if err != nil || !more {
			return entry{}, false, err
		}
	}
	return entry{}, false, errNoIndex
}

// advance moves path to the next block of names if that goes on with the same
// hash.
func (f *folderBlocks) advance(ctx context.Context, path []step, hash uint32) (bool, error) {
	level := len(path) - 1
	for ; level >= 0; level-- {
		s := &path[level]
		if s.at+1 < s.count {
			s.at++
			break
		}
	}
	if level < 0 {
		return false, nil
	}
	if s := path[level]; s.hash(s.at)&^1 != hash {
		return false, nil
	}
	for level++; level < len(path); level++ {
		above := path[level-1]
		x, err := f.index(ctx, above.child(above.at))
		if err != nil {
			return false, err
		}
		path[level] = step{x, 0}
	}
	return true, nil
}

// folderBlocks reads single blocks of a folder.
type folderBlocks struct {
	fsys  *FS
	inode *inode
	leaf  *leaf
}

// block reads a block of names and verifies it.
func (f *folderBlocks) block(ctx context.Context, number uint32) (p []byte, off int64, err error) {
	n := f.inode
	r, err := f.fsys.nextRun(ctx, n, &f.leaf, uint64(number), written)
	if err != nil || r.first != uint64(number) {
		if err != nil && (ctx.Err() != nil || isDamage(err)) {
			return nil, 0, err
		}
		return nil, 0, corrupt(folder(n), n.off, "its block %d is missing", number)
	}
	if p, err = f.fsys.block(ctx, r.block); err != nil {
		return nil, 0, err
	}
	off = f.fsys.super.blockOff(r.block)
	return p, off, f.fsys.verifyFolderBlock(n, number == 0, p, off)
}

// index reads a block of the index.
func (f *folderBlocks) index(ctx context.Context, number uint32) (*index, error) {
	p, off, err := f.block(ctx, number)
	if err != nil {
		return nil, err
	}
	if !f.fsys.isIndexBlock(f.inode, number == 0, p) {
		return nil, errNoIndex
	}
	x, err := f.fsys.parseIndex(f.inode, p, off)
	if err != nil {
		return nil, err
	}
	if number == 0 != (x.start == 32) {
		return nil, errNoIndex
	}
	return x, nil
}
