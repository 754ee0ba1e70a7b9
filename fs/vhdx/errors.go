package vhdx

import (
	"errors"
	"fmt"
	"strings"

	"vitrine/fs/disk"
)

// ErrFormat is returned by Open for what is no VHDX file at all.
var ErrFormat = errors.New("vhdx: not a vhdx file")

// CorruptError reports a place of a VHDX file that breaks the format.
type CorruptError struct {
	Object  string // header, log, region table, metadata, parent locator, BAT, ...
	Off     int64  // offset in the file
	Problem string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("vhdx: damaged %s at offset %d: %s", e.Object, e.Off, e.Problem)
}

func corrupt(object string, off int64, format string, args ...any) error {
	return &CorruptError{Object: object, Off: off, Problem: fmt.Sprintf(format, args...)}
}

// UnsupportedError reports a VHDX file that asks for something that this
// package does not know, or is larger than it accepts.
type UnsupportedError struct {
	Feature string
}

func (e *UnsupportedError) Error() string {
	return "vhdx: unsupported " + e.Feature
}

// ParentError reports a differencing disk without its right parent.
type ParentError struct {
	Child   disk.GUID   // disk id of the child
	Want    []disk.GUID // data write ids that the child accepts as its parent
	Got     disk.GUID   // data write id of the disk that was given; zero: none was given
	Names   []string    // file names that the parent may have
	Problem string
}

func (e *ParentError) Error() string {
	return fmt.Sprintf("vhdx: differencing disk %s: %s", e.Child, e.Problem)
}

// Hint says which file to look for.
func (e *ParentError) Hint() string {
	var want []string
	for _, id := range e.Want {
		want = append(want, id.String())
	}
	name := "the parent disk"
	if len(e.Names) > 0 {
		name += " (" + strings.Join(e.Names, " or ") + ")"
	}
	return fmt.Sprintf("%s with data write id %s is needed beside the child, unchanged since the child was made", name, strings.Join(want, " or "))
}
