package ntfs

import (
	"errors"
	"fmt"
)

// DamageError says that a structure of the volume makes no sense, and where.
type DamageError struct {
	Object string // "MFT record 57", "index block 3 of MFT record 5"
	Off    int64  // byte of the volume, -1 when it has no one place
	What   string
}

// Error names the object, its place and the damage.
func (e *DamageError) Error() string {
	if e.Off < 0 {
		return fmt.Sprintf("ntfs: read %s: damaged: %s", e.Object, e.What)
	}
	return fmt.Sprintf("ntfs: read %s at byte %d: damaged: %s", e.Object, e.Off, e.What)
}

// NoticeError says why a file's content cannot be given although the volume is
// read right: it is encrypted, or kept elsewhere.
type NoticeError struct{ Reason string }

// Error is the reason.
func (e *NoticeError) Error() string { return "ntfs: read: " + e.Reason }

var (
	errLoop        = errors.New("ntfs: follow: too many levels of symbolic links")
	errNotDir      = errors.New("ntfs: not a directory")
	errIsDir       = errors.New("ntfs: is a directory")
	errNoAttribute = errors.New("ntfs: no such attribute")
	errNegative    = errors.New("ntfs: negative offset")
)

func damage(object, format string, args ...any) error {
	return &DamageError{Object: object, Off: -1, What: fmt.Sprintf(format, args...)}
}
