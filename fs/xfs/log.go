package xfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"

	"vitrine/fs/disk"
)

// The log is a ring of sectors. Each begins with the number of the round it
// was written in, its cycle; a record is a header, which keeps the bytes that
// the cycles replaced, and data.
const (
	logSector   = 512
	logMagic    = 0xfeedbabe
	cycleUnit   = 32 << 10 // bytes of a record whose first words one header sector keeps
	recordMax   = 256 << 10
	recordScan  = recordMax/logSector + recordMax/cycleUnit
	unsettled   = 8 * recordMax / logSector // sectors before the head that may have been in flight
	opHeader    = 12
	flagUnmount = 0x20
)

var (
	errLogUnused  = errors.New("it was never written")
	errLogDamaged = errors.New("it is damaged")
)

// journal is the log of a volume.
type journal struct {
	v       *FS
	off     int64
	sectors int64
}

// record is the header of a log record.
type record struct {
	at      int64 // sector
	cycle   uint32
	headers int64
	length  int
	ops     uint32
	lsn     uint64
	tail    uint64
	raw     []byte // all header sectors
}

// sectors is how much of the log the record takes.
func (r *record) sectors() int64 { return r.headers + int64(r.length+logSector-1)/logSector }

// read returns n sectors from sector at on, around the ring.
func (j *journal) read(ctx context.Context, at, n int64) ([]byte, error) {
	if at %= j.sectors; at < 0 {
		at += j.sectors
	}
	if n > j.sectors {
		return nil, errLogDamaged
	}
	b := make([]byte, n*logSector)
	first := min(n, j.sectors-at) * logSector
	if err := disk.ReadFull(ctx, j.v.r, b[:first], j.off+at*logSector); err != nil {
		return nil, err
	}
	if err := disk.ReadFull(ctx, j.v.r, b[first:], j.off); err != nil {
		return nil, err
	}
	return b, nil
}

func cycleOf(b []byte) uint32 {
	if c := binary.BigEndian.Uint32(b); c != logMagic {
		return c
	}
	return binary.BigEndian.Uint32(b[4:])
}

func (j *journal) cycle(ctx context.Context, at int64) (uint32, error) {
	b, err := j.read(ctx, at, 1)
	if err != nil {
		return 0, err
	}
	return cycleOf(b), nil
}

// findCycle returns the first sector of [at,at+n) whose cycle is want, or -1.
func (j *journal) findCycle(ctx context.Context, at, n int64, want uint32) (int64, error) {
	b, err := j.read(ctx, at, n)
	if err != nil {
		return -1, err
	}
	for i := range n {
		if cycleOf(b[i*logSector:]) == want {
			return at + i, nil
		}
	}
	return -1, nil
}

// head returns the sector behind the last one that was written in order.
func (j *journal) head(ctx context.Context) (int64, error) {
	first, err := j.cycle(ctx, 0)
	if err != nil {
		return 0, err
	}
	last, err := j.cycle(ctx, j.sectors-1)
	if err != nil {
		return 0, err
	}
	if first == 0 {
		return 0, errLogUnused
	}
	head, stop := j.sectors, last-1
	if first != last {
		stop = last
		lo, hi := int64(0), j.sectors-1 // cycle(lo) is not last, cycle(hi) is
		for hi-lo > 1 {
			mid := (lo + hi) / 2
			c, err := j.cycle(ctx, mid)
			if err != nil {
				return 0, err
			}
			if c == last {
				hi = mid
			} else {
				lo = mid
			}
		}
		head = hi
	}

	// Writes that were in flight may have left gaps before the head.
	scan := min(unsettled, j.sectors)
	if head < scan && stop != 0 {
		from := j.sectors - (scan - head)
		gap, err := j.findCycle(ctx, from, scan-head, stop-1)
		if err != nil {
			return 0, err
		}
		if gap >= 0 {
			return gap, nil
		}
	}
	from := max(head-scan, 0)
	gap, err := j.findCycle(ctx, from, head-from, stop)
	if err != nil {
		return 0, err
	}
	if gap >= 0 {
		head = gap
	}
	return head % j.sectors, nil
}

// last returns the last whole record before head, and where it ends.
func (j *journal) last(ctx context.Context, head int64) (*record, int64, error) {
	for range 2 { // the last record may have been cut off
		n := min(recordScan, j.sectors)
		b, err := j.read(ctx, head-n, n)
		if err != nil {
			return nil, 0, err
		}
		i := n - 1
		for ; i >= 0 && binary.BigEndian.Uint32(b[i*logSector:]) != logMagic; i-- {
		}
		if i < 0 {
			return nil, 0, errLogDamaged
		}
		at := (head - n + i + j.sectors) % j.sectors
		r, err := j.header(ctx, at)
		if err != nil {
			return nil, 0, err
		}
		if r.sectors() == n-i {
			return r, head, nil
		}
		head = at
	}
	return nil, 0, errLogDamaged
}

// header decodes the record header at sector at.
func (j *journal) header(ctx context.Context, at int64) (*record, error) {
	b, err := j.read(ctx, at, 1)
	if err != nil {
		return nil, err
	}
	u32, u64 := binary.BigEndian.Uint32, binary.BigEndian.Uint64
	r := &record{at: at, cycle: u32(b[4:]), length: int(u32(b[12:])), lsn: u64(b[16:]), tail: u64(b[24:]), ops: u32(b[40:]), headers: 1}
	version, size := u32(b[8:]), u32(b[320:])
	switch {
	case u32(b) != logMagic, version&^3 != 0, r.length == 0, r.length > recordMax,
		r.lsn != uint64(r.cycle)<<32|uint64(at):
		return nil, errLogDamaged
	case [16]byte(b[304:]) != j.v.sb.uuid:
		return nil, errors.New("it belongs to another volume")
	case u32(b[300:]) != 1 && u32(b[300:]) != 0:
		return nil, errors.New("it was written by a machine of another byte order")
	}
	if version&2 != 0 {
		if size > recordMax {
			return nil, errLogDamaged
		}
		r.headers = max(int64(size+cycleUnit-1)/cycleUnit, 1)
	}
	if int64(r.length) > r.headers*cycleUnit {
		return nil, errLogDamaged
	}
	r.raw, err = j.read(ctx, at, r.headers)
	return r, err
}

// data reads the data of a record, checks it and puts back the words that the
// cycles replaced.
func (j *journal) data(ctx context.Context, r *record) ([]byte, error) {
	b, err := j.read(ctx, r.at+r.headers, r.sectors()-r.headers)
	if err != nil {
		return nil, err
	}
	if j.v.sb.v5 && !r.checksumHolds(b[:r.length]) {
		return nil, errLogDamaged
	}
	for i := 0; i*logSector < len(b); i++ {
		cycle := r.cycle
		if r.at+r.headers+int64(i) >= j.sectors {
			cycle++
		}
		if cycle == logMagic {
			cycle++
		}
		if binary.BigEndian.Uint32(b[i*logSector:]) != cycle {
			return nil, errLogDamaged
		}
		kept := r.raw[44+4*i:]
		if k := i / 64; k > 0 {
			kept = r.raw[k*logSector+4+4*(i%64):]
		}
		copy(b[i*logSector:], kept[:4])
	}
	return b[:r.length], nil
}

// checksumHolds verifies the record's checksum; the header's size in it
// depends on the machine that wrote the log.
func (r *record) checksumHolds(data []byte) bool {
	table := crc32.MakeTable(crc32.Castagnoli)
	for _, size := range []int{328, 324} {
		crc := crc32.Update(0, table, r.raw[:32])
		crc = crc32.Update(crc, table, []byte{0, 0, 0, 0})
		crc = crc32.Update(crc, table, r.raw[36:size])
		for k := int64(1); k < r.headers; k++ {
			crc = crc32.Update(crc, table, r.raw[k*logSector:k*logSector+260])
		}
		if crc32.Update(crc, table, data) == binary.LittleEndian.Uint32(r.raw[32:]) {
			return true
		}
	}
	return false
}

// settle finds the head of the log and its last record, leaving off what was
// torn when the machine stopped.
func (j *journal) settle(ctx context.Context) (*record, int64, error) {
	head, err := j.head(ctx)
	if err != nil {
		return nil, 0, err
	}
	for range 8 {
		r, end, err := j.last(ctx, head)
		if err != nil {
			return nil, 0, err
		}
		if _, err := j.data(ctx, r); err == nil {
			return r, end, nil
		} else if !errors.Is(err, errLogDamaged) {
			return nil, 0, err
		}
		head = r.at
	}
	return nil, 0, errLogDamaged
}

// clean reports whether r, the last record, is what unmounting writes.
func (j *journal) clean(ctx context.Context, r *record) (bool, error) {
	if r.ops != 1 {
		return false, nil
	}
	b, err := j.data(ctx, r)
	return err == nil && len(b) >= opHeader && b[9]&flagUnmount != 0, err
}

// recover looks at the log and replays it in memory when it is dirty.
func (v *FS) recover(ctx context.Context) {
	if v.sb.logStart == 0 {
		v.question("the log is on another device")
		return
	}
	off, ok := v.sb.place(v.sb.logStart, uint64(v.sb.logBlocks))
	if !ok || v.sb.logBlocks < 8 {
		v.question("the log is outside the volume")
		return
	}
	j := &journal{v: v, off: off, sectors: int64(v.sb.logBlocks) << v.sb.blockLog / logSector}
	last, head, err := j.settle(ctx)
	if errors.Is(err, errLogUnused) {
		return
	}
	var clean bool
	if err == nil {
		clean, err = j.clean(ctx, last)
	}
	if err != nil {
		v.question(fmt.Sprintf("the log cannot be read, and is not replayed: %v", err))
		return
	}
	if clean {
		return
	}
	if v.sb.logUnknown != 0 {
		v.question(fmt.Sprintf("the log is dirty and has unknown features %s: it is not replayed, the newest changes may be missing", bitNames(v.sb.logUnknown)))
		return
	}
	p := &replay{j: j, tail: last.tail, head: head}
	if err := p.run(ctx); err != nil {
		v.question(fmt.Sprintf("the log is dirty and cannot be replayed, the newest changes may be missing: %v", err))
		return
	}
	v.pages.overlay = p.overlay
	v.pages.forget()
	v.unfinished = p.unfinished()
	if err := p.sameGeometry(ctx); err != nil {
		v.pages.overlay, v.unfinished = nil, nil
		v.pages.forget()
		v.question(fmt.Sprintf("the log is dirty and cannot be replayed, the newest changes may be missing: %v", err))
		return
	}
	v.question(fmt.Sprintf("the log was dirty: %d transactions were replayed in memory", p.transactions))
}

func bitNames(set uint32) string {
	s := ""
	for ; set != 0; set &= set - 1 {
		s += fmt.Sprintf(" %d", bits.TrailingZeros32(set))
	}
	return "(bits" + s + ")"
}

// overlapsLog reports whether an extent of the volume overlaps the log.
func (v *FS) overlapsLog(x disk.Extent) bool {
	off, ok := v.sb.place(v.sb.logStart, uint64(v.sb.logBlocks))
	return ok && v.sb.logStart != 0 && x.Off < off+int64(v.sb.logBlocks)<<v.sb.blockLog && off < x.End()
}
