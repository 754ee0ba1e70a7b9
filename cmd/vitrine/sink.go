package main

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"vitrine/backup"
	"vitrine/fs"
	"vitrine/fs/raw"
)

// sink is where copied nodes go. Names are slash-separated paths whose parts
// the sink's fit made.
type sink interface {
	// fit makes a name that the sink takes out of one that it may not.
	fit(name string) string
	// dir makes a folder; io/fs's ErrExist where the name is taken.
	dir(name string) error
	// done is told when all is in a folder.
	done(name string, i fs.Info) error
	// file writes a file; io/fs's ErrExist where the name is taken.
	file(ctx context.Context, name string, i fs.Info, h fs.Handle, progress func(int64)) error
	// link makes a symbolic link, whose target was judged before.
	link(name, target string) error
}

var (
	_ sink = (*folderSink)(nil)
	_ sink = (*zipSink)(nil)
)

// folderSink writes below a folder, and whatever is done to that folder
// meanwhile never outside of it.
type folderSink struct{ root *os.Root }

// maxName is the longest name that file systems take, in bytes.
const maxName = 255

func (s *folderSink) fit(name string) string {
	if runtime.GOOS == "windows" || len(name) > maxName || strings.ContainsAny(name, "/\x00") || name == "." || name == ".." || name == "" {
		return fs.SafeName(name)
	}
	return name
}

func (s *folderSink) dir(name string) error {
	if name == "." {
		return nil
	}
	return s.exists(name, s.root.Mkdir(filepath.FromSlash(name), 0o700))
}

// exists says more of a name that is taken.
func (s *folderSink) exists(name string, err error) error {
	if errors.Is(err, iofs.ErrExist) {
		return &backup.ExistsError{Path: filepath.Join(s.root.Name(), filepath.FromSlash(name))}
	}
	return err
}

func (s *folderSink) done(name string, i fs.Info) error {
	if name == "." || !i.Guest {
		return nil
	}
	local := filepath.FromSlash(name)
	return errors.Join(s.root.Chmod(local, i.Mode.Perm()|0o700), s.root.Chtimes(local, i.Time, i.Time))
}

func (s *folderSink) file(ctx context.Context, name string, i fs.Info, h fs.Handle, progress func(int64)) error {
	local := filepath.FromSlash(name)
	f, err := s.root.OpenFile(local, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return s.exists(name, err)
	}
	_, err = raw.Write(ctx, backup.Target(f), handleDisk{h, i.Size}, raw.WriteOptions{Progress: progress})
	if err == nil && i.Guest {
		err = f.Chmod(i.Mode.Perm() | 0o200)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, s.root.Remove(local))
	}
	return s.root.Chtimes(local, i.Time, i.Time)
}

func (s *folderSink) link(name, target string) error {
	return s.exists(name, s.root.Symlink(filepath.FromSlash(target), filepath.FromSlash(name)))
}

// zipSink writes an archive. Its names are such that any system can unpack it.
type zipSink struct {
	w     *zip.Writer
	taken map[string]bool
}

func newZipSink(w io.Writer) *zipSink {
	return &zipSink{zip.NewWriter(w), make(map[string]bool)}
}

func (s *zipSink) fit(name string) string { return fs.SafeName(name) }

// take keeps names apart also where case does not count.
func (s *zipSink) take(name string) error {
	key := strings.ToLower(strings.ToUpper(name))
	if s.taken[key] {
		return &iofs.PathError{Op: "create", Path: name, Err: iofs.ErrExist}
	}
	s.taken[key] = true
	return nil
}

func (s *zipSink) dir(name string) error {
	if name == "." {
		return nil
	}
	return s.take(name)
}

// done writes the folder's own entry, for its mode and time.
func (s *zipSink) done(name string, i fs.Info) error {
	if name == "." {
		return nil
	}
	h := &zip.FileHeader{Name: name + "/", Modified: i.Time}
	h.SetMode(iofs.ModeDir | i.Mode.Perm() | 0o700)
	_, err := s.w.CreateHeader(h)
	return err
}

func (s *zipSink) file(ctx context.Context, name string, i fs.Info, h fs.Handle, progress func(int64)) error {
	// A file whose beginning cannot be read is not begun.
	var first [1]byte
	if _, err := h.ReadAt(ctx, first[:], 0); i.Size > 0 && err != nil && err != io.EOF {
		return err
	}
	if err := s.take(name); err != nil {
		return err
	}
	head := &zip.FileHeader{Name: name, Modified: i.Time, Method: zip.Deflate}
	head.SetMode(i.Mode.Perm() | 0o200)
	w, err := s.w.CreateHeader(head)
	if err != nil {
		return err
	}
	r := io.NewSectionReader(readUnder{ctx, h}, 0, i.Size)
	n, err := io.CopyBuffer(counting{w, progress}, r, make([]byte, 1<<20))
	if err == nil && n < i.Size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		err = fmt.Errorf("the archive has only the first %d bytes: %w", n, err)
	}
	return err
}

func (s *zipSink) link(name, target string) error {
	if err := s.take(name); err != nil {
		return err
	}
	h := &zip.FileHeader{Name: name}
	h.SetMode(iofs.ModeSymlink | 0o777)
	w, err := s.w.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, target)
	return err
}

// readUnder reads a handle under a context.
type readUnder struct {
	ctx context.Context
	h   fs.Handle
}

func (r readUnder) ReadAt(p []byte, off int64) (int, error) { return r.h.ReadAt(r.ctx, p, off) }

// counting tells of what is written.
type counting struct {
	io.Writer
	progress func(int64)
}

func (c counting) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.progress(int64(n))
	return n, err
}
