package local

import (
	"os"
	"time"
)

// SetSync replaces how files and folders are synced; nil leaves it.
func (s *Store) SetSync(file func(*os.File) error, dir func(string) error) {
	if file != nil {
		s.syncFile = file
	}
	if dir != nil {
		s.syncDir = dir
	}
}

// Reap removes temporary files as Open does at the time now.
func (s *Store) Reap(now time.Time) error { return s.reap(now) }
