package ext4

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// errLogEnds is what ends a transaction that was not committed.
var errLogEnds = errors.New("the log ends")

// replay goes through a journal once. What a transaction holds counts when its
// commit is reached: its blocks replace older ones, then its revocations drop
// the blocks of all transactions so far.
type replay struct {
	*journal
	newest   map[uint64]patch
	at       uint32 // the next block of the journal
	left     uint32 // blocks until the whole ring was read
	sequence uint32 // of the transaction that is read
	damaged  string

	patches []patch
	revoked []uint64
	sum     uint32 // of the transaction so far, where commits have one
}

// next reads the next block of the ring.
func (r *replay) next(ctx context.Context) ([]byte, uint64, error) {
	if r.left == 0 {
		return nil, 0, errLogEnds
	}
	r.left--
	p, number, err := r.block(ctx, r.at)
	if r.at++; r.at == r.end {
		r.at = r.first
	}
	return p, number, err
}

// transaction reads one transaction and reports whether it was committed.
func (r *replay) transaction(ctx context.Context) (bool, error) {
	r.patches, r.revoked, r.sum = r.patches[:0], r.revoked[:0], ^uint32(0)
	be := binary.BigEndian
	for {
		p, number, err := r.next(ctx)
		if err == errLogEnds {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if be.Uint32(p) != journalMagic || be.Uint32(p[8:]) != r.sequence {
			return false, nil
		}
		switch kind := be.Uint32(p[4:]); kind {
		case journalDescriptor:
			err = r.descriptor(ctx, p, number)
		case journalRevoke:
			err = r.revocations(p, number)
		case journalCommit:
			if !r.committed(p) {
				r.damaged = fmt.Sprintf("the commit of transaction %d has a wrong checksum", r.sequence)
				return false, nil
			}
			for _, b := range r.patches {
				r.newest[b.block] = b
			}
			for _, block := range r.revoked {
				delete(r.newest, block)
			}
			if len(r.newest) > maxPatches {
				return false, r.corrupt(r.off, "more than %d blocks are to be replayed", maxPatches)
			}
			r.sequence++
			return true, nil
		default:
			return false, nil
		}
		if err == errLogEnds {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
}

// whole reports whether a descriptor or a revocation has its checksum.
func (r *replay) whole(p []byte) bool {
	if !r.checksums() {
		return true
	}
	if binary.BigEndian.Uint32(p[r.headLen:]) == crc32cZeros(crc32c(r.seed, p[:r.headLen]), 4) {
		return true
	}
	r.damaged = fmt.Sprintf("transaction %d has a wrong checksum", r.sequence)
	return false
}

// committed reports whether the commit p belongs to what was read before it.
func (r *replay) committed(p []byte) bool {
	be := binary.BigEndian
	switch {
	case r.checksums():
		return be.Uint32(p[16:]) == crc32c(crc32cZeros(crc32c(r.seed, p[:16]), 4), p[20:])
	case r.oldSums != nil:
		kind, size, sum := p[12], p[13], be.Uint32(p[16:])
		return kind == 1 && size == 4 && sum == r.sum || kind == 0 && size == 0 && sum == 0
	}
	return true
}

// tagLen is how long a descriptor's tags are, without the identifier that may
// follow one. With checksums of version 2 they are two bytes longer than they
// would need to be.
func (j *journal) tagLen() int {
	if j.incompat&journalCsumV3 != 0 {
		return 16
	}
	n := 8
	if j.incompat&journalCsumV2 != 0 {
		n += 2
	}
	if j.incompat&journal64Bit != 0 {
		n += 4
	}
	return n
}

// descriptor reads the tags of a descriptor and skips the blocks behind it.
func (r *replay) descriptor(ctx context.Context, p []byte, number uint64) error {
	if !r.whole(p) {
		return errLogEnds
	}
	if r.oldSums != nil {
		r.sum = r.oldSums.update(r.sum, p)
	}
	be := binary.BigEndian
	tagLen := r.tagLen()
	for at := 12; at+tagLen <= r.headLen; {
		t := p[at : at+tagLen]
		block := uint64(be.Uint32(t))
		flags := uint32(be.Uint16(t[6:]))
		sum, mask := uint32(be.Uint16(t[4:])), uint32(0xFFFF)
		if r.incompat&journalCsumV3 != 0 {
			flags, sum, mask = be.Uint32(t[4:]), be.Uint32(t[12:]), ^uint32(0)
		}
		if r.incompat&journal64Bit != 0 {
			block |= uint64(be.Uint32(t[8:])) << 32
		}
		data, source, err := r.next(ctx)
		if err != nil {
			return err
		}
		if block >= r.fsys.super.blocks {
			return r.corrupt(r.fsys.super.blockOff(number)+int64(at), "it has data for block %d, which does not exist", block)
		}
		b := patch{block: block, source: source, escape: flags&tagEscape != 0}
		switch {
		case r.checksums():
			var n [4]byte
			be.PutUint32(n[:], r.sequence)
			b.bad = crc32c(crc32c(r.seed, n[:]), data)&mask != sum
		case r.oldSums != nil:
			r.sum = r.oldSums.update(r.sum, data)
		}
		if len(r.patches) >= maxPatches {
			return r.corrupt(r.off, "a transaction has more than %d blocks", maxPatches)
		}
		r.patches = append(r.patches, b)
		if flags&tagLast != 0 {
			break
		}
		at += tagLen
		if flags&tagSameUUID == 0 {
			at += 16
		}
	}
	return nil
}

// revocations reads the numbers of blocks whose older copies are void.
func (r *replay) revocations(p []byte, number uint64) error {
	if !r.whole(p) {
		return errLogEnds
	}
	be := binary.BigEndian
	used := int64(be.Uint32(p[12:]))
	if used < 16 || used > int64(r.headLen) {
		return r.corrupt(r.fsys.super.blockOff(number)+12, "a revocation uses %d bytes", used)
	}
	size := int64(4)
	if r.incompat&journal64Bit != 0 {
		size = 8
	}
	for at := int64(16); at+size <= used; at += size {
		block := uint64(be.Uint32(p[at:]))
		if size == 8 {
			block = be.Uint64(p[at:])
		}
		if len(r.revoked) >= 8*maxPatches {
			return r.corrupt(r.off, "a transaction revokes more than %d blocks", 8*maxPatches)
		}
		r.revoked = append(r.revoked, block)
	}
	return nil
}
