package folder

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"vitrine/backup"
)

// mark is what shows that a file was changed. Times alone would not do: they
// have gaps and can be set back.
type mark struct {
	size     int64
	modified int64
	changed  int64    // time of the last change of the file's record, where the system has one
	ends     [32]byte // hash of the parts that every writer of a disk changes
}

// tick is longer than the steps in which any common file system counts time.
const tick = 20 * time.Millisecond

// settle waits until a write after now would give the file another time.
func settle(ctx context.Context, info os.FileInfo) error {
	age := time.Since(info.ModTime())
	if age < 0 || age >= tick {
		return nil
	}
	select {
	case <-time.After(tick - age):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func takeMark(f *os.File) (mark, error) {
	info, err := f.Stat()
	if err != nil {
		return mark{}, err
	}
	m := mark{size: info.Size(), modified: info.ModTime().UnixNano(), changed: changeTime(info)}
	h := sha256.New()
	// The beginning, both headers of a VHDX with their sequence numbers and
	// write ids, and the footer of a VHD.
	for _, off := range []int64{0, 64 << 10, 128 << 10, max(0, info.Size()-4096)} {
		if _, err := io.Copy(h, io.NewSectionReader(f, off, 4096)); err != nil {
			return mark{}, err
		}
	}
	h.Sum(m.ends[:0])
	return m, nil
}

// marked is a file whose mark was taken.
type marked struct {
	name string // in the folder
	info os.FileInfo
	mark mark
}

// markFile takes the mark of an open file.
func markFile(ctx context.Context, name string, f *os.File) (marked, error) {
	info, err := f.Stat()
	if err != nil {
		return marked{}, err
	}
	if err := settle(ctx, info); err != nil {
		return marked{}, err
	}
	m, err := takeMark(f)
	return marked{name, info, m}, err
}

// verify fails with backup.ErrSourceChanged when the file of that name is
// another one by now, or has changed.
func (m marked) verify(root *os.Root) (err error) {
	f, err := root.Open(m.name)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("folder: %s: %w: it is gone", m.name, backup.ErrSourceChanged)
	}
	if err != nil {
		return fmt.Errorf("folder: %s: %w", m.name, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("folder: %s: %w", m.name, err)
	}
	now, err := takeMark(f)
	if err != nil {
		return fmt.Errorf("folder: %s: %w", m.name, err)
	}
	switch {
	case !os.SameFile(info, m.info):
		return fmt.Errorf("folder: %s: %w: another file took its place", m.name, backup.ErrSourceChanged)
	case now != m.mark:
		return fmt.Errorf("folder: %s: %w", m.name, backup.ErrSourceChanged)
	}
	return nil
}
