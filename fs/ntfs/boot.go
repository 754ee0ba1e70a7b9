package ntfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"context"

	"vitrine/fs/disk"
)

var le = binary.LittleEndian

// geometry is what the boot sector says of a volume.
type geometry struct {
	sector   int64
	cluster  int64 // bytes
	clusters int64
	mft      int64 // LCN of $MFT
	mirror   int64 // LCN of $MFTMirr
	record   int64 // bytes of an MFT record
	serial   uint64
}

const (
	maxCluster = 2 << 20
	maxBlock   = 64 << 10 // of a record or an index block
)

// parseBoot decodes a boot sector.
func parseBoot(b []byte) (geometry, error) {
	var g geometry
	if len(b) < 512 || string(b[3:11]) != "NTFS    " || b[510] != 0x55 || b[511] != 0xAA {
		return g, errors.New("no NTFS boot sector")
	}
	g.sector = int64(le.Uint16(b[11:]))
	if g.sector < 256 || g.sector > 4096 || g.sector&(g.sector-1) != 0 {
		return g, fmt.Errorf("sectors of %d bytes", g.sector)
	}
	// Up to 128 sectors are counted, more are given as a negative power of two.
	per := int64(b[13])
	if per > 128 {
		per = 1 << min(256-per, 62)
	}
	if per == 0 || per&(per-1) != 0 || per > maxCluster/g.sector {
		return g, fmt.Errorf("clusters of %d sectors", per)
	}
	g.cluster = per * g.sector
	total := le.Uint64(b[40:])
	if total == 0 || total > uint64(1<<62/g.sector) {
		return g, fmt.Errorf("%d sectors", total)
	}
	g.clusters = int64(total) / per
	g.mft = int64(le.Uint64(b[48:]))
	g.mirror = int64(le.Uint64(b[56:]))
	if g.mft <= 0 || g.mft >= g.clusters {
		return g, fmt.Errorf("$MFT at cluster %d of %d", g.mft, g.clusters)
	}
	if g.record = blockSize(int8(b[64]), g.cluster); g.record < 512 || g.record > maxBlock {
		return g, fmt.Errorf("MFT records of %d bytes", g.record)
	}
	if index := blockSize(int8(b[68]), g.cluster); index < 512 || index > maxCluster {
		return g, fmt.Errorf("index blocks of %d bytes", index)
	}
	g.serial = le.Uint64(b[72:])
	return g, nil
}

// blockSize decodes a size given in clusters or as a negative power of two.
func blockSize(v int8, cluster int64) int64 {
	if v >= 0 {
		n := int64(v) * cluster
		if bits.OnesCount64(uint64(n)) != 1 {
			return 0
		}
		return n
	}
	if v < -31 {
		return 0
	}
	return 1 << -int(v)
}

// readBoot reads the boot sector, or its copy at the volume's end when that
// is the one that makes sense.
func readBoot(r io.ReaderAt, size int64) (g geometry, fromCopy bool, err error) {
	var b [512]byte
	if err := disk.ReadFull(context.Background(), r, b[:], 0); err != nil {
		return g, false, err
	}
	g, err = parseBoot(b[:])
	if err == nil || size < 1024 {
		return g, false, err
	}
	if disk.ReadFull(context.Background(), r, b[:], size-512) == nil {
		if c, cerr := parseBoot(b[:]); cerr == nil {
			return c, true, nil
		}
	}
	return g, false, err
}
