package backup

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"strings"

	"vitrine/fs/disk"
	"vitrine/fs/guest"
	"vitrine/repo"
)

// Keep says what is kept although no guest would miss it; the zero value
// leaves it all out.
type Keep struct {
	Swap bool // swap, page and hibernation files
	Free bool // clusters that no file uses
	// NotShadowCopies leaves free clusters out where the guest's own shadow
	// copies may still read them.
	NotShadowCopies bool
}

// leftOut asks the guest's file systems what the disks of a machine, or of one
// of its checkpoints, need not keep: a set for each disk. The bytes of a guest
// are hostile: whatever goes wrong with them keeps everything.
func (s *storing) leftOut(ctx context.Context, disks []SourceDisk, files iofs.FS, place string) (sets []*disk.Set, err error) {
	none := make([]*disk.Set, len(disks))
	if s.o.Keep.Swap && s.o.Keep.Free {
		return none, nil
	}
	defer func() {
		if r := recover(); r != nil {
			s.point.Kept = append(s.point.Kept, repo.LeftOut{Disk: place, What: "everything", Why: fmt.Sprintf("reading the file systems broke off: %v", r)})
			sets, err = none, nil
		}
	}()
	memory, err := keepsMemory(files)
	if err != nil {
		return nil, err
	}
	whole := make([]guest.Disk, len(disks))
	for i, d := range disks {
		info := d.Info()
		whole[i] = guest.Disk{Name: strings.TrimSuffix(info.Name, path.Ext(info.Name)), R: d, Sector: info.LogicalSector}
	}
	p, err := guest.LeftOut(ctx, whole, guest.Options{
		IncludeSwap: s.o.Keep.Swap, IncludeFree: s.o.Keep.Free, DropShadowCopies: s.o.Keep.NotShadowCopies, MemoryKept: memory,
	})
	if err != nil {
		return nil, fmt.Errorf("look into the guest: %w", err)
	}
	for _, one := range []struct {
		from []guest.Item
		to   *[]repo.LeftOut
	}{{p.Left, &s.point.LeftOut}, {p.Kept, &s.point.Kept}} {
		for _, i := range one.from {
			*one.to = append(*one.to, repo.LeftOut{Disk: path.Join(place, i.Disk), Volume: i.Volume, What: i.What, Bytes: i.Bytes, Why: i.Why})
		}
	}
	return p.Disks, nil
}

// smallState is the length up to which a runtime state file holds no memory.
const smallState = 1 << 20

// keepsMemory tells whether the memory of a machine lies beside its
// configuration: then it goes on where it was, and misses everything.
func keepsMemory(files iofs.FS) (bool, error) {
	if files == nil {
		return false, nil
	}
	memory := false
	err := iofs.WalkDir(files, ".", func(name string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		switch strings.ToLower(path.Ext(name)) {
		case ".bin", ".vsv":
			memory = true
		case ".vmrs":
			info, err := d.Info()
			if err != nil {
				return err
			}
			memory = memory || info.Size() > smallState
		}
		return nil
	})
	if err != nil && !errors.Is(err, iofs.ErrNotExist) {
		return false, fmt.Errorf("look for saved memory: %w", err)
	}
	return memory, nil
}
