package fs

import (
	"bytes"
	"encoding/json"
	"time"

	"vitrine/repo"
)

// description is restore-point.json: what a restore point tells of itself,
// without what only the repository needs.
type description struct {
	ID          repo.PointID    `json:"id"`
	Machine     repo.MachineID  `json:"vmId"`
	Name        string          `json:"vm"`
	Time        time.Time       `json:"time"`
	Previous    repo.PointID    `json:"previous,omitzero"`
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
	Warnings    []repo.Warning  `json:"warnings"`
	Events      []repo.Event    `json:"events"`
	Stats       repo.Stats      `json:"stats"`
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

func describe(p *repo.RestorePoint) []byte {
	d := description{
		ID: p.ID, Machine: p.Machine, Name: p.Name, Time: p.Time, Previous: p.Previous, Number: p.Number,
		Software: p.Software, Host: p.Host, Source: p.Source, Level: p.Level, Method: p.Method,
		Consistency: p.Consistency, Read: p.Read, Started: p.Started, Finished: p.Finished,
		Tags: some(p.Tags), Disks: diskDocs(p.Disks), Files: []fileDoc{}, Checkpoints: []checkpointDoc{},
		Warnings: some(p.Warnings), Events: some(p.Events), Stats: p.Stats,
	}
	for _, f := range p.Files {
		d.Files = append(d.Files, fileDoc{f.Name, f.Time, f.Image.Size})
	}
	for _, c := range p.Checkpoints {
		d.Checkpoints = append(d.Checkpoints, checkpointDoc{c.ID, c.Name, c.Parent, c.Time, diskDocs(c.Disks)})
	}
	return document(d)
}

func diskDocs(disks []repo.Disk) []diskDoc {
	docs := make([]diskDoc, 0, len(disks))
	for _, d := range disks {
		docs = append(docs, diskDoc{
			d.Name, d.ID, d.Source, d.Format, d.Image.Size, d.Image.Data, d.Image.Left,
			d.DiskID, d.BlockSize, d.LogicalSector, d.PhysicalSector, d.Tracking,
		})
	}
	return docs
}

// some makes an absent list an empty one.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// document writes v for people. A value that JSON cannot hold (a time in the
// year 10000) is told instead.
func document(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text, _ = json.Marshal(map[string]string{"error": err.Error()})
	}
	return append(text, '\n')
}

// indented writes a JSON text for people, and anything else as it is.
func indented(text []byte) []byte {
	var b bytes.Buffer
	if json.Indent(&b, text, "", "  ") != nil {
		return text
	}
	b.WriteByte('\n')
	return b.Bytes()
}
