package xfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
)

// The flags of an operation in a log record.
const (
	opStart     = 0x01
	opCommit    = 0x02
	opContinue  = 0x04
	opContinued = 0x08
	opEnd       = 0x10
)

const (
	transMagic   = 0x5452414e // "TRAN"
	transHeader  = 16
	maxRegions   = 513
	maxInFlight  = 64 << 20 // bytes of transactions that have not ended
	maxOpenTrans = 4096
)

// item is one logged change: regions of bytes, of which the first tells what
// it is.
type item struct {
	regions [][]byte
	total   int
}

func (i *item) kind() uint16 { return binary.LittleEndian.Uint16(i.regions[0]) }

// transaction is a set of changes that are made together or not at all.
type transaction struct {
	lsn    uint64
	header int // bytes of the transaction header that were read
	items  []*item
	bytes  int
}

// each calls fn for every transaction that was committed between tail
// and head, in the order of their commits.
func (p *replay) each(ctx context.Context, fn func(*transaction) error) error {
	open := make(map[uint32]*transaction)
	inFlight := 0
	past := p.tail
	for at, left := int64(p.tail&0xffffffff), p.j.sectors; at != p.head; {
		r, err := p.j.header(ctx, at)
		if err != nil {
			return err
		}
		if r.lsn < past {
			return errLogDamaged
		}
		past = r.lsn
		if left -= r.sectors(); left < 0 {
			return errLogDamaged
		}
		b, err := p.j.data(ctx, r)
		if err != nil {
			return err
		}
		for range r.ops {
			if len(b) < opHeader {
				return errLogDamaged
			}
			id, n, flags := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), b[9]
			if b = b[opHeader:]; uint64(n) > uint64(len(b)) {
				return errLogDamaged
			}
			body := b[:n:n]
			b = b[n:]
			switch t := open[id]; {
			case flags&opStart != 0:
				if len(open) >= maxOpenTrans {
					return errors.New("too many transactions are open at once")
				}
				open[id] = &transaction{lsn: r.lsn}
			case t == nil: // began before the tail: already on the volume
			case flags&opCommit != 0:
				delete(open, id)
				inFlight -= t.bytes
				if err := t.whole(); err != nil {
					return err
				}
				if err := fn(t); err != nil {
					return err
				}
			case flags&flagUnmount != 0:
				delete(open, id)
				inFlight -= t.bytes
			default:
				if err := t.add(body, flags&opContinued != 0); err != nil {
					return err
				}
				t.bytes += int(n)
				if inFlight += int(n); inFlight > maxInFlight {
					return fmt.Errorf("its transactions take more than %d MiB", maxInFlight>>20)
				}
			}
		}
		at = (at + r.sectors()) % p.j.sectors
	}
	return nil
}

// add takes the next piece of a transaction.
func (t *transaction) add(b []byte, continued bool) error {
	if len(b) == 0 {
		return nil
	}
	if t.header < transHeader {
		if t.header == 0 && (len(b) < 4 || binary.LittleEndian.Uint32(b) != transMagic) || t.header+len(b) > transHeader {
			return errLogDamaged
		}
		t.header += len(b)
		return nil
	}
	k := len(t.items) - 1
	if continued {
		if k < 0 || len(t.items[k].regions) == 0 {
			return errLogDamaged
		}
		regions := t.items[k].regions
		regions[len(regions)-1] = append(regions[len(regions)-1], b...)
		return nil
	}
	if k < 0 || len(t.items[k].regions) == t.items[k].total {
		if len(b) < 4 {
			return errLogDamaged
		}
		total := int(binary.LittleEndian.Uint16(b[2:]))
		if total == 0 || total > maxRegions {
			return errLogDamaged
		}
		t.items = append(t.items, &item{total: total})
		k++
	}
	t.items[k].regions = append(t.items[k].regions, b)
	return nil
}

// whole checks that no item lacks a region.
func (t *transaction) whole() error {
	for _, i := range t.items {
		if len(i.regions) != i.total {
			return errLogDamaged
		}
	}
	return nil
}
