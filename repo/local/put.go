package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Put writes a file. An error leaves no temporary file behind so far as the
// disk still obeys. An error while the folder is synced leaves the object
// named: whether it would survive a power cut is then unknown.
//
// fs.ErrExist means that the object is there and durable, whoever wrote it.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := s.put(ctx, name, data); err != nil {
		return fmt.Errorf("local: put %s: %w", name, err)
	}
	return nil
}

func (s *Store) put(ctx context.Context, name string, data []byte) error {
	if err := check(ctx, name); err != nil {
		return err
	}
	path := s.path(name)
	if !s.marked {
		return fmt.Errorf("%s was opened for reading only: %w", s.dir, iofs.ErrPermission)
	}
	if _, err := os.Lstat(path); err == nil {
		return s.exists(path)
	}
	tmp, err := s.write(ctx, data)
	if err != nil {
		return err
	}
	if err := s.place(tmp, path); err != nil {
		if rerr := removeFile(tmp); rerr != nil && !isMissing(rerr) {
			err = errors.Join(err, rerr)
		}
		if errors.Is(err, iofs.ErrExist) {
			return s.exists(path)
		}
		return err
	}
	return s.syncDir(filepath.Dir(path))
}

// exists is the answer for an object that another Put made, which may not
// have synced the folders yet, or may never do so.
func (s *Store) exists(path string) error {
	st, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !st.Mode().IsRegular() {
		return fmt.Errorf("%s is in the way and no file", path)
	}
	dir := filepath.Dir(path)
	if err := s.makeDurable(dir); err != nil {
		return err
	}
	if err := s.syncDir(dir); err != nil {
		return err
	}
	return iofs.ErrExist
}

// write makes a temporary file that holds data and is synced.
func (s *Store) write(ctx context.Context, data []byte) (path string, err error) {
	f, err := os.CreateTemp(s.tmp(), tmpPrefix+"*")
	if isMissing(err) {
		return "", &errGone{s.dir}
	}
	if err != nil {
		return "", err
	}
	path = f.Name()
	if err = s.fill(ctx, f, data); err == nil {
		err = f.Close()
	} else {
		f.Close() // err is the one to tell; the file goes
	}
	if err != nil {
		if rerr := removeFile(path); rerr != nil && !isMissing(rerr) {
			err = errors.Join(err, rerr)
		}
		return "", err
	}
	return path, nil
}

func (s *Store) fill(ctx context.Context, f *os.File, data []byte) error {
	for rest := data; len(rest) > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		p := rest[:min(piece, len(rest))]
		n, err := f.Write(p)
		if err == nil && n != len(p) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return err
		}
		rest = rest[n:]
	}
	if err := f.Chmod(fileMode); err != nil && !isUnsupported(err) {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// A sync that failed may have dropped the very pages it could not write,
	// and the next one would succeed: it is never tried again.
	if err := s.syncFile(f); err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if st.Size() != int64(len(data)) {
		return fmt.Errorf("%d of %d bytes arrived: %w", st.Size(), len(data), io.ErrShortWrite)
	}
	return nil
}

// place gives the temporary file its name, making the folders above it. A
// folder that somebody removed since it was made is made again, once.
func (s *Store) place(tmp, path string) error {
	dir := filepath.Dir(path)
	if err := s.makeDurable(dir); err != nil {
		return err
	}
	err := publish(tmp, path)
	if !errors.Is(err, iofs.ErrNotExist) {
		return err
	}
	s.forget()
	if err := s.makeDurable(dir); err != nil {
		return err
	}
	return publish(tmp, path)
}

// makeDurable makes dir and the folders above it up to the store's own, and
// syncs the parent of each: also of those that another process made, which
// may not have come to that yet. It does so once for each folder.
func (s *Store) makeDurable(dir string) error {
	if dir == s.dir || s.isSynced(dir) {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := s.makeDurable(parent); err != nil {
		return err
	}
	if err := s.there(); err != nil {
		return err
	}
	err := os.Mkdir(dir, dirMode)
	if errors.Is(err, iofs.ErrExist) {
		var st iofs.FileInfo
		st, err = os.Lstat(dir)
		if err == nil && !st.IsDir() {
			err = &iofs.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
	}
	if err != nil {
		return err
	}
	if err := s.syncDir(parent); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced[dir] = true
	return nil
}

func (s *Store) isSynced(dir string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced[dir]
}

func (s *Store) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.synced)
}
