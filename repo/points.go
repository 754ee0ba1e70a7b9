package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"time"
)

// timeFormat is how times stand in names: UTC, to the second, no colons.
const timeFormat = "2006-01-02T15-04-05Z"

// PointInfo is what the listing tells of a restore point without opening it.
type PointInfo struct {
	Machine MachineID
	Time    time.Time
	ID      PointID
	Object  string // its name in the store
	Size    int64
}

func pointName(m MachineID, t time.Time, id PointID) string {
	return fmt.Sprintf("points/%s/%s-%s", m, t.UTC().Format(timeFormat), id)
}

// parsePointName reads a name that pointName wrote.
func parsePointName(info Info) (PointInfo, error) {
	p := PointInfo{Object: info.Name, Size: info.Size}
	bad := fmt.Errorf("repo: %s is not the name of a restore point", info.Name)
	parts := strings.Split(info.Name, "/")
	if len(parts) != 3 || len(parts[2]) != len(timeFormat)+1+32 {
		return p, bad
	}
	m, err := ParseMachineID(parts[1])
	if err != nil || string(m) != parts[1] {
		return p, bad
	}
	t, err := time.Parse(timeFormat, parts[2][:len(timeFormat)])
	if err != nil || parts[2][len(timeFormat)] != '-' {
		return p, bad
	}
	id, err := ParseID(parts[2][len(timeFormat)+1:])
	if err != nil {
		return p, bad
	}
	p.Machine, p.Time, p.ID = m, t, id
	return p, nil
}

// Points lists the restore points by machine, then time, without opening
// them. A point that cannot be opened later is listed all the same.
func (r *Repo) Points(ctx context.Context) iter.Seq2[PointInfo, error] {
	return r.points(ctx, "points/")
}

// PointsOf lists the restore points of one machine by time.
func (r *Repo) PointsOf(ctx context.Context, m MachineID) iter.Seq2[PointInfo, error] {
	return r.points(ctx, "points/"+string(m)+"/")
}

func (r *Repo) points(ctx context.Context, prefix string) iter.Seq2[PointInfo, error] {
	return func(yield func(PointInfo, error) bool) {
		for info, err := range r.store.List(ctx, prefix) {
			if err != nil {
				yield(PointInfo{}, fmt.Errorf("repo: list %s: %w", prefix, err))
				return
			}
			p, err := parsePointName(info)
			if err != nil {
				continue // a stray: check names it
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// OpenPoint reads one restore point.
func (r *Repo) OpenPoint(ctx context.Context, p PointInfo) (*RestorePoint, error) {
	_, b, err := r.getObject(ctx, typePoint, p.Object)
	if err != nil {
		return nil, err
	}
	var rp RestorePoint
	if err := json.Unmarshal(b, &rp); err != nil {
		return nil, corrupt(p.Object, err)
	}
	if rp.ID != p.ID || rp.Machine != p.Machine || !rp.Time.Equal(p.Time) {
		return nil, corrupt(p.Object, fmt.Errorf("it is the point %s of %s at %s", rp.ID, rp.Machine, rp.Time))
	}
	for ref := range rp.images {
		if err := ref.validate(); err != nil {
			return nil, corrupt(p.Object, err)
		}
	}
	return &rp, nil
}

// images visits every image of the point with what it is called.
func (p *RestorePoint) images(yield func(*ImageRef, string) bool) {
	visit := func(prefix string, disks []Disk, files []File) bool {
		for i := range disks {
			if !yield(&disks[i].Image, prefix+disks[i].Name) {
				return false
			}
		}
		for i := range files {
			if !yield(&files[i].Image, prefix+"config/"+files[i].Name) {
				return false
			}
		}
		return true
	}
	if !visit("", p.Disks, p.Files) {
		return
	}
	for i := range p.Checkpoints {
		c := &p.Checkpoints[i]
		if !visit("checkpoints/"+c.Name+"/", c.Disks, c.Files) {
			return
		}
	}
}

// Images visits every image of the point with its path in the mounted tree.
func (p *RestorePoint) Images() iter.Seq2[*ImageRef, string] { return p.images }

// validate checks a reference that came from a store.
func (f *ImageRef) validate() error {
	if f.Size < 0 || f.Size > 1<<50 {
		return fmt.Errorf("an image of %d bytes", f.Size)
	}
	if want := int((f.Size + tableSize - 1) / tableSize); len(f.Tables) > want {
		return fmt.Errorf("%d tables for an image of %d bytes", len(f.Tables), f.Size)
	}
	if f.Block < unitSize || f.Block > segmentSize || f.Block&(f.Block-1) != 0 {
		return fmt.Errorf("blocks of %d bytes", f.Block)
	}
	if f.Allocated < 0 || f.Allocated > (f.Size+f.Block-1)/f.Block {
		return fmt.Errorf("%d allocated blocks of %d bytes in %d", f.Allocated, f.Block, f.Size)
	}
	before := int64(0)
	for _, t := range f.Tables {
		if t.Before < before || t.Before > f.Allocated || t.Address.Slot >= maxSlots {
			return fmt.Errorf("a table behind %d blocks", t.Before)
		}
		before = t.Before
	}
	return nil
}
