package lvm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"

	"vitrine/fs/disk"
)

// legState is what the metadata volume of a RAID leg says.
type legState struct {
	events    uint64
	failed    uint64 // a bit for each leg
	recovered uint64 // sectors that are whole; all bits set when all are
	position  uint32
	ok        bool
}

// readLegState reads the header that dm-raid keeps for a leg.
func readLegState(ctx context.Context, d disk.Disk) (legState, error) {
	b := make([]byte, 512)
	if err := disk.ReadFull(ctx, d, b, 0); err != nil {
		return legState{}, fmt.Errorf("lvm: read state of RAID leg: %w", err)
	}
	le := binary.LittleEndian
	s := legState{
		events: le.Uint64(b[16:]), failed: le.Uint64(b[24:]), recovered: le.Uint64(b[32:]), position: le.Uint32(b[12:]),
		ok: string(b[:4]) == "DmRd" && le.Uint32(b[48:]) == 1,
	}
	return s, nil
}

// raid1 opens a mirror through the first leg that all legs with the newest
// state call whole.
func (v *Volume) raid1(ctx context.Context, s segment, chain []*Volume) (disk.Disk, error) {
	list := s.n.values("raids")
	if len(list) == 0 || len(list)%2 != 0 || len(list) > 2*64 {
		return nil, damage("volume %s: a mirror of %d volumes", v.Name, len(list))
	}
	var cause error
	states := make([]legState, len(list)/2)
	data := make([]disk.Disk, len(states))
	newest := uint64(0)
	for i := range states {
		meta, image := v.g.all[list[2*i].text], v.g.all[list[2*i+1].text]
		if meta == nil || image == nil {
			continue
		}
		d, err := meta.open(ctx, chain)
		if err == nil {
			states[i], err = readLegState(ctx, d)
		}
		if err == nil {
			data[i], err = image.open(ctx, chain)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			cause, states[i].ok = err, false
			continue
		}
		if states[i].ok {
			newest = max(newest, states[i].events)
		}
	}
	failed := uint64(0)
	for _, st := range states {
		if st.ok && st.events == newest {
			failed |= st.failed
		}
	}
	for i, st := range states {
		if st.ok && st.events == newest && int(st.position) == i && failed>>i&1 == 0 && st.recovered == math.MaxUint64 && data[i].Size() >= v.size {
			return data[i], nil
		}
	}
	if cause != nil {
		return nil, cause
	}
	return nil, v.unsupported("This volume is mirrored (RAID 1), and no leg says of itself to be whole: " + attach)
}
