package repo

import (
	"encoding/json"
	"time"
)

// description is what a restore point tells of itself, without what only the
// repository needs: restore-point.json in the mounted tree and of a restore.
type description struct {
	ID          PointID         `json:"id"`
	Machine     MachineID       `json:"vmId"`
	Name        string          `json:"vm"`
	Time        time.Time       `json:"time"`
	Previous    PointID         `json:"previous,omitzero"`
	Number      uint64          `json:"number"`
	Software    string          `json:"software"`
	Host        string          `json:"host,omitempty"`
	Source      string          `json:"source,omitempty"`
	Level       string          `json:"level"`
	Method      string          `json:"method"`
	Consistency string          `json:"consistency"`
	Read        string          `json:"read"`
	Started     time.Time       `json:"started"`
	Finished    time.Time       `json:"finished"`
	Tags        []string        `json:"tags"`
	Disks       []diskDoc       `json:"disks"`
	Files       []fileDoc       `json:"files"`
	Checkpoints []checkpointDoc `json:"checkpoints"`
	LeftOut     []LeftOut       `json:"leftOut"`
	Kept        []LeftOut       `json:"kept"`
	Warnings    []Warning       `json:"warnings"`
	Events      []Event         `json:"events"`
	Stats       Stats           `json:"stats"`
}

type diskDoc struct {
	Name           string `json:"name"`
	ID             string `json:"id"`
	Source         string `json:"source,omitempty"`
	Format         string `json:"format"`
	Size           int64  `json:"size"`
	Data           int64  `json:"data"`
	LeftOut        int64  `json:"leftOut"`
	DiskID         string `json:"diskId"`
	BlockSize      int64  `json:"blockSize"`
	LogicalSector  int    `json:"logicalSector"`
	PhysicalSector int    `json:"physicalSector"`
	Tracking       string `json:"tracking,omitempty"`
}

type fileDoc struct {
	Name string    `json:"name"`
	Time time.Time `json:"time"`
	Size int64     `json:"size"`
}

type checkpointDoc struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	Parent string    `json:"parent,omitempty"`
	Time   time.Time `json:"time,omitzero"`
	Disks  []diskDoc `json:"disks"`
}

// Describe writes what the restore point tells of itself as JSON for people
// and programs, always the same way. It fails for values that JSON cannot
// hold, such as a time in the year 10000.
func (p *RestorePoint) Describe() ([]byte, error) {
	d := description{
		ID: p.ID, Machine: p.Machine, Name: p.Name, Time: p.Time, Previous: p.Previous, Number: p.Number,
		Software: p.Software, Host: p.Host, Source: p.Source, Level: p.Level, Method: p.Method,
		Consistency: p.Consistency, Read: p.Read, Started: p.Started, Finished: p.Finished,
		Tags: append([]string{}, p.Tags...), Disks: diskDocs(p.Disks), Files: []fileDoc{}, Checkpoints: []checkpointDoc{},
		LeftOut: append([]LeftOut{}, p.LeftOut...), Kept: append([]LeftOut{}, p.Kept...),
		Warnings: append([]Warning{}, p.Warnings...), Events: append([]Event{}, p.Events...), Stats: p.Stats,
	}
	for _, f := range p.Files {
		d.Files = append(d.Files, fileDoc{f.Name, f.Time, f.Image.Size})
	}
	for _, c := range p.Checkpoints {
		d.Checkpoints = append(d.Checkpoints, checkpointDoc{c.ID, c.Name, c.Parent, c.Time, diskDocs(c.Disks)})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

func diskDocs(disks []Disk) []diskDoc {
	docs := make([]diskDoc, 0, len(disks))
	for _, d := range disks {
		docs = append(docs, diskDoc{
			d.Name, d.ID, d.Source, d.Format, d.Image.Size, d.Image.Data, d.Image.Left,
			d.DiskID, d.BlockSize, d.LogicalSector, d.PhysicalSector, d.Tracking,
		})
	}
	return docs
}
