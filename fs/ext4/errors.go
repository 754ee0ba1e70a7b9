package ext4

import (
	"errors"
	"fmt"
	"strings"
)

// CorruptError is damage in a volume.
type CorruptError struct {
	Object string // what is damaged: "superblock", "inode 12", "folder 2"
	Off    int64  // where on the volume the damage lies, in bytes
	Reason string // what is wrong
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("ext4: %s damaged at byte %d: %s", e.Object, e.Off, e.Reason)
}

// Hint says what can be done.
func (e *CorruptError) Hint() string {
	return "the rest of the volume can be read; attach the disk writable and run e2fsck to repair it"
}

// UnsupportedError is a volume that is well but uses what this package does
// not understand.
type UnsupportedError struct {
	Features []string
}

func (e *UnsupportedError) Error() string {
	return "ext4: open volume: uses " + strings.Join(e.Features, ", ") + ", which is not understood"
}

// Hint says what can be done.
func (e *UnsupportedError) Hint() string {
	return "attach the disk to a Linux machine that can mount the volume"
}

// UnreadableError is a file whose content the volume has only in a form that
// nobody without a key can read.
type UnreadableError struct {
	Notice string
}

func (e *UnreadableError) Error() string { return "ext4: " + e.Notice }

const encryptedNotice = "encrypted inside the guest (fscrypt): only the guest has the key"

var (
	errLoop       = errors.New("too many levels of symbolic links")
	errNotDir     = errors.New("not a directory")
	errIsDir      = errors.New("is a directory")
	errSpecial    = errors.New("not a regular file")
	errNotLink    = errors.New("not a symbolic link")
	errTooMany    = errors.New("more extents than any whole file has")
	errInvalidOff = errors.New("invalid offset")
)

func corrupt(object string, off int64, format string, args ...any) error {
	return &CorruptError{object, off, fmt.Sprintf(format, args...)}
}

func isDamage(err error) bool {
	var damage *CorruptError
	return errors.As(err, &damage)
}
