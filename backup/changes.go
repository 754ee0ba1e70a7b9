package backup

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	"vitrine/fs/disk"
	"vitrine/repo"
)

// Changes is a change list made by somebody else's change tracker:
//
//	{"restorePoint": "8c1f02ab…", "disks": {"SQL01-os.vhdx": [[0, 4096], [1048576, 65536]]}}
//
// It says that since the moment of that restore point nothing but these
// extents, [first byte, number of bytes] in any order, was written to these
// disks, which go by their names in the restore point. A disk that is not
// listed is read in full; one listed with [] did not change.
type Changes struct {
	Point repo.PointID
	Disks map[string][]disk.Extent
}

// maxChanges bounds a change list: some ten million extents.
const maxChanges = 256 << 20

// ReadChanges decodes a change list. What can only be judged beside the disks
// is checked when it is used.
func ReadChanges(r io.Reader) (*Changes, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxChanges+1))
	if err != nil {
		return nil, fmt.Errorf("backup: read change list: %w", err)
	}
	if len(b) > maxChanges {
		return nil, fmt.Errorf("backup: change list is longer than %d bytes", maxChanges)
	}
	var file struct {
		Point *repo.PointID        `json:"restorePoint"`
		Disks map[string][][]int64 `json:"disks"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return nil, fmt.Errorf("backup: change list: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("backup: change list: something follows behind its end")
	}
	if file.Point == nil {
		return nil, errors.New("backup: change list has no restorePoint")
	}
	c := &Changes{Point: *file.Point, Disks: make(map[string][]disk.Extent, len(file.Disks))}
	for name, list := range file.Disks {
		extents := make([]disk.Extent, 0, len(list))
		for i, e := range list {
			if len(e) != 2 || e[0] < 0 || e[1] < 0 || e[0]+e[1] < 0 {
				return nil, fmt.Errorf("backup: change list: disk %s: entry %d is not [first byte, number of bytes]", name, i)
			}
			extents = append(extents, disk.Extent{Off: e[0], Len: e[1]})
		}
		c.Disks[name] = extents
	}
	return c, nil
}

// extents yields what the list says of a disk as [start,end), after checking
// that it lies inside of size bytes.
func (c *Changes) extents(name string, size int64) (iter.Seq2[int64, int64], error) {
	list := c.Disks[name]
	for i, e := range list {
		if e.End() > size {
			return nil, fmt.Errorf("backup: change list: disk %s: entry %d ends at %d, the disk at %d", name, i, e.End(), size)
		}
	}
	return func(yield func(int64, int64) bool) {
		for _, e := range list {
			if e.Len > 0 && !yield(e.Off, e.End()) {
				return
			}
		}
	}, nil
}
