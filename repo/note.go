package repo

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Note is something learned of a restore point after it was written. Notes
// are only ever added.
type Note struct {
	Point   PointID         `json:"point"`
	Machine MachineID       `json:"machine"`
	Name    string          `json:"name"` // of the machine
	Kind    string          `json:"kind"` // committed | forgotten | verified | booted | protected | trace | quarantine
	Time    time.Time       `json:"time"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// The kinds that the repository itself writes or reads.
const (
	NoteCommitted  = "committed"  // written right after the point: a point that vanishes is missed
	NoteForgotten  = "forgotten"  // written before a point is dropped on purpose
	NoteQuarantine = "quarantine" // the point is never a base
)

// AddNote writes a note.
func (r *Repo) AddNote(ctx context.Context, n Note) error {
	if n.Time.IsZero() {
		n.Time = r.clock().UTC().Truncate(time.Second)
	}
	var id ID
	if _, err := io.ReadFull(r.rand, id[:]); err != nil {
		return fmt.Errorf("repo: random bytes: %w", err)
	}
	b, err := json.Marshal(n)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("notes/%s/%s-%s", n.Point, n.Time.Format(timeFormat), id)
	_, err = r.putObject(ctx, typeNote, name, nil, b, false)
	return err
}

// Notes reads the notes of a restore point, oldest first. A zero point means
// the notes of all points.
func (r *Repo) Notes(ctx context.Context, point PointID) ([]Note, error) {
	prefix := "notes/"
	if !point.IsZero() {
		prefix += point.String() + "/"
	}
	var notes []Note
	for info, err := range r.store.List(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("repo: list %s: %w", prefix, err)
		}
		n, err := r.openNote(ctx, info.Name)
		if err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}

func (r *Repo) openNote(ctx context.Context, name string) (Note, error) {
	var n Note
	_, b, err := r.getObject(ctx, typeNote, name)
	if err != nil {
		return n, err
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return n, corrupt(name, err)
	}
	if parts := strings.Split(name, "/"); len(parts) != 3 || parts[1] != n.Point.String() {
		return n, corrupt(name, fmt.Errorf("it is a note on %s", n.Point))
	}
	return n, nil
}
