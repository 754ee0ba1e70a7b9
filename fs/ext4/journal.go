package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	journalMagic = 0xC03B3998

	journalDescriptor = 1
	journalCommit     = 2
	journalSuperV1    = 3
	journalSuperV2    = 4
	journalRevoke     = 5

	journalCompatChecksum = 1

	journalRevokes     = 1
	journal64Bit       = 2
	journalAsyncCommit = 4
	journalCsumV2      = 8
	journalCsumV3      = 16
	journalFastCommit  = 32
	journalKnown       = journalRevokes | journal64Bit | journalAsyncCommit | journalCsumV2 | journalCsumV3 | journalFastCommit

	tagEscape   = 1
	tagSameUUID = 2
	tagLast     = 8

	// maxPatches bounds the overlay in memory. The default journal of the
	// largest volumes has 262,144 blocks.
	maxPatches = 1 << 20
)

// journal is the log of the volume, jbd2. A transaction is descriptors, each
// with the blocks it describes behind it, revocations and a commit.
type journal struct {
	fsys     *FS
	inode    *inode
	leaf     *leaf
	off      int64 // of its superblock on the volume
	length   uint32
	first    uint32 // where the ring begins
	end      uint32 // where it ends
	start    uint32 // where the oldest transaction begins; 0: the log is empty
	sequence uint32 // its number
	incompat uint32
	oldSums  *bigEndianCRC // commits have a checksum of all blocks
	seed     uint32        // where checksums start
	headLen  int           // bytes of a block in use, without the checksum behind it
}

func (j *journal) corrupt(off int64, format string, args ...any) error {
	return corrupt("journal", off, format, args...)
}

func (j *journal) checksums() bool { return j.incompat&(journalCsumV2|journalCsumV3) != 0 }

// openJournal reads the journal's superblock.
func (fsys *FS) openJournal(ctx context.Context) (*journal, error) {
	s := fsys.super
	if s.journalInode == 0 {
		return nil, errors.New("ext4: read journal: it is on another device")
	}
	n, err := fsys.inode(ctx, s.journalInode)
	if err != nil {
		return nil, fmt.Errorf("ext4: read journal: %w", err)
	}
	if !n.is(modeRegular) || n.has(flagInlineData) {
		return nil, n.corrupt(n.off, "it is no journal")
	}
	j := &journal{fsys: fsys, inode: n}
	p, number, err := j.block(ctx, 0)
	if err != nil {
		return nil, err
	}
	j.off = s.blockOff(number)
	be := binary.BigEndian
	kind := be.Uint32(p[4:])
	if be.Uint32(p) != journalMagic || kind != journalSuperV1 && kind != journalSuperV2 {
		return nil, j.corrupt(j.off, "it has no superblock")
	}
	j.length, j.first = be.Uint32(p[16:]), be.Uint32(p[20:])
	j.sequence, j.start = be.Uint32(p[24:]), be.Uint32(p[28:])
	var compat uint32
	if kind == journalSuperV2 {
		compat, j.incompat = be.Uint32(p[36:]), be.Uint32(p[40:])
	}
	if unknown := j.incompat &^ journalKnown; unknown != 0 {
		return nil, &UnsupportedError{[]string{fmt.Sprintf("a journal with the unknown feature 0x%x", unknown)}}
	}
	j.headLen = int(s.blockSize)
	if j.checksums() {
		if p[0x50] != 4 {
			return nil, j.corrupt(j.off+0x50, "checksum type %d is unknown", p[0x50])
		}
		want := crc32c(crc32cZeros(crc32c(^uint32(0), p[:0xFC]), 4), p[0x100:0x400])
		if got := be.Uint32(p[0xFC:]); got != want {
			return nil, j.corrupt(j.off+0xFC, "checksum of its superblock is %08x, not %08x", got, want)
		}
		j.seed = crc32c(^uint32(0), p[48:64])
		j.headLen -= 4
	} else if compat&journalCompatChecksum != 0 {
		j.oldSums = newBigEndianCRC()
	}
	j.end = j.length
	if j.incompat&journalFastCommit != 0 {
		fast := be.Uint32(p[0x54:])
		if fast == 0 {
			fast = 256
		}
		if fast >= j.length {
			return nil, j.corrupt(j.off+0x54, "%d of %d blocks are for fast commits", fast, j.length)
		}
		j.end -= fast
	}
	switch {
	case be.Uint32(p[12:]) != uint32(s.blockSize):
		return nil, j.corrupt(j.off+12, "its blocks have %d bytes", be.Uint32(p[12:]))
	case uint64(j.length) > fsys.blockCount(n):
		return nil, j.corrupt(j.off+16, "it has %d blocks in a file of %d", j.length, fsys.blockCount(n))
	case j.first == 0 || j.first >= j.end || j.start != 0 && (j.start < j.first || j.start >= j.end):
		return nil, j.corrupt(j.off+20, "it runs from block %d to %d and begins at %d", j.first, j.end, j.start)
	}
	return j, nil
}

// block reads a block of the journal and says where on the volume it is.
func (j *journal) block(ctx context.Context, at uint32) ([]byte, uint64, error) {
	r, err := j.fsys.nextRun(ctx, j.inode, &j.leaf, uint64(at), written)
	if err != nil || r.first != uint64(at) {
		if err != nil && ctx.Err() == nil && !isDamage(err) {
			err = nil
		}
		if err == nil {
			err = j.corrupt(j.off, "block %d is missing", at)
		}
		return nil, 0, err
	}
	p, err := j.fsys.block(ctx, r.block)
	if err != nil {
		return nil, 0, fmt.Errorf("ext4: read journal: %w", err)
	}
	return p, r.block, nil
}

// replayed is what a replay found.
type replayed struct {
	overlay      overlay
	transactions int
	damaged      string // why the log may have ended too early, or ""
	fastCommits  bool   // newer changes that are in no transaction
}

// replay reads the whole log.
func (j *journal) replay(ctx context.Context) (*replayed, error) {
	r := &replay{journal: j, newest: make(map[uint64]patch), at: j.start, left: j.end - j.first, sequence: j.sequence}
	if j.start != 0 {
		for {
			more, err := r.transaction(ctx)
			if err != nil {
				return nil, err
			}
			if !more {
				break
			}
		}
	}
	out := &replayed{overlay: makeOverlay(r.newest), transactions: int(r.sequence - j.sequence), damaged: r.damaged}
	if j.start != 0 {
		fast, err := j.fastCommits(ctx, r.sequence)
		if err != nil {
			return nil, err
		}
		out.fastCommits = fast
	}
	return out, nil
}

// fastCommits reports whether the fast-commit area holds changes that follow
// the last transaction: a head, tag 9, with the number of the transaction that
// never came. The area begins one block behind the ring.
func (j *journal) fastCommits(ctx context.Context, sequence uint32) (bool, error) {
	if j.end == j.length || j.end+1 == j.length {
		return false, nil
	}
	p, _, err := j.block(ctx, j.end+1)
	if err != nil {
		return false, err
	}
	le := binary.LittleEndian
	return le.Uint16(p) == 9 && le.Uint32(p[8:]) == sequence, nil
}
