package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
)

// Errors that a caller tells apart.
var (
	// ErrUnsupported is returned where this build has no way to mount.
	ErrUnsupported = errors.New("mount: not supported on this system")
	// ErrNotMounted is returned by Unmount for a folder that is no mount of ours.
	ErrNotMounted = errors.New("not a vitrine mount")
)

// BusyError is returned when a mount cannot end because it is used.
type BusyError struct {
	Dir   string
	Users []User // those that this process may see
}

// User is a process that uses a mount.
type User struct {
	PID  int
	Name string
	Path string // what it uses
}

func (e *BusyError) Error() string {
	if len(e.Users) == 0 {
		return fmt.Sprintf("mount: %s is in use", e.Dir)
	}
	var who []string
	for _, u := range e.Users {
		who = append(who, fmt.Sprintf("%s (%d) has %s", u.Name, u.PID, u.Path))
	}
	return fmt.Sprintf("mount: %s is in use: %s", e.Dir, strings.Join(who, ", "))
}

// Hint says what to do.
func (e *BusyError) Hint() string {
	return "end these programs or leave the folder, or detach the mount with --lazy"
}

// PointError is returned for a folder that cannot be a mount point.
type PointError struct {
	Dir, Reason string
	hint        string
}

func (e *PointError) Error() string { return fmt.Sprintf("mount: %s: %s", e.Dir, e.Reason) }

// Hint says what to do.
func (e *PointError) Hint() string { return e.hint }

// SystemError is returned when something is missing that mounting needs.
type SystemError struct {
	Reason string
	Err    error
	hint   string
}

func (e *SystemError) Error() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Unwrap gives the cause.
func (e *SystemError) Unwrap() error { return e.Err }

// Hint says what to do.
func (e *SystemError) Hint() string { return e.hint }

// reason is what an adapter may tell the kernel about an error.
type reason int

const (
	reasonNone reason = iota
	reasonIO
	reasonNotExist
	reasonInterrupted
	reasonTimeout
	reasonDenied
	reasonReadOnly
	reasonInvalid
	reasonNotDir
)

var (
	errNotDir   = errors.New("not a directory")
	errReadOnly = errors.New("read-only")
)

// why sorts an error. Given up for a signal must never look like damage: Go
// programs are sent signals all the time.
func why(err error) reason {
	switch {
	case err == nil, errors.Is(err, io.EOF):
		return reasonNone
	case errors.Is(err, context.Canceled):
		return reasonInterrupted
	case errors.Is(err, context.DeadlineExceeded):
		return reasonTimeout
	case errors.Is(err, iofs.ErrNotExist):
		return reasonNotExist
	case errors.Is(err, iofs.ErrPermission):
		return reasonDenied
	case errors.Is(err, errReadOnly):
		return reasonReadOnly
	case errors.Is(err, iofs.ErrInvalid):
		return reasonInvalid
	case errors.Is(err, errNotDir):
		return reasonNotDir
	}
	return reasonIO
}
