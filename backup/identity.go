package backup

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"sync"

	"vitrine/repo"
)

// layout is the version of the presented VHDX's layout that new disks get.
const layout = 1

// identity is what the presented file of a disk is made of, but for its image:
// its own GUIDs are random, so that every restore point has other ones and
// keeps them for ever.
func identity(info DiskInfo, rand io.Reader, mu *sync.Mutex) (repo.Disk, error) {
	mu.Lock()
	defer mu.Unlock()
	d := repo.Disk{
		Name: info.Name, ID: info.ID, Source: info.Source, Format: info.Format,
		Layout: layout, DiskID: strings.ToLower(info.DiskID),
		BlockSize: blockSize(info.BlockSize), LogicalSector: info.LogicalSector, PhysicalSector: info.PhysicalSector,
		Tracking: info.Tracking,
	}
	if d.DiskID == "" {
		d.DiskID = nameGUID("disk", info.ID)
	}
	if d.LogicalSector != 4096 {
		d.LogicalSector = 512
	}
	if d.PhysicalSector != 4096 {
		d.PhysicalSector = d.LogicalSector
	}
	var err error
	if d.FileID, err = randomGUID(rand); err != nil {
		return d, err
	}
	d.DataID, err = randomGUID(rand)
	return d, err
}

// blockSize is n where a VHDX can have it, else 2 MiB.
func blockSize(n int64) int64 {
	if n >= 1<<20 && n <= 256<<20 && n&(n-1) == 0 {
		return n
	}
	return 2 << 20
}

// randomGUID makes a version 4 GUID.
func randomGUID(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", fmt.Errorf("random numbers: %w", err)
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return guidText(b), nil
}

// nameGUID makes the GUID that belongs to a name: the same for ever.
func nameGUID(kind, name string) string {
	sum := sha256.Sum256([]byte("vitrine " + kind + "\x00" + strings.ToLower(name)))
	b := [16]byte(sum[:16])
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return guidText(b)
}

func guidText(b [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
