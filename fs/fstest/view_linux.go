package fstest

import (
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Mounted sees a tree through the kernel.
func Mounted(dir string) View { return mounted{dir} }

type mounted struct{ dir string }

func (m mounted) Lstat(path string) (Stat, error) {
	i, err := os.Lstat(filepath.Join(m.dir, path))
	if err != nil {
		return Stat{}, err
	}
	s := i.Sys().(*syscall.Stat_t)
	return Stat{Ino: s.Ino, Mode: i.Mode(), Size: i.Size(), Blocks: s.Blocks, Links: s.Nlink, Time: i.ModTime().UTC()}, nil
}

func (m mounted) ReadDir(path string) ([]Entry, error) {
	f, err := os.Open(filepath.Join(m.dir, path))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []Entry
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(int(f.Fd()), buf)
		if err != nil || n == 0 {
			return list, err
		}
		list = append(list, parseDirents(buf[:n])...)
	}
}

// parseDirents decodes struct linux_dirent64.
func parseDirents(b []byte) []Entry {
	var list []Entry
	for len(b) > 19 {
		length := int(b[16]) | int(b[17])<<8
		name := string(b[19:length])
		for i := range len(name) {
			if name[i] == 0 {
				name = name[:i]
				break
			}
		}
		var ino uint64
		for i := range 8 {
			ino |= uint64(b[i]) << (8 * i)
		}
		kind := map[byte]iofs.FileMode{unix.DT_DIR: iofs.ModeDir, unix.DT_LNK: iofs.ModeSymlink, unix.DT_REG: 0, unix.DT_UNKNOWN: iofs.ModeIrregular}[b[18]]
		if name != "." && name != ".." {
			list = append(list, Entry{name, ino, kind})
		}
		b = b[length:]
	}
	return list
}

func (m mounted) Readlink(path string) (string, error) {
	return os.Readlink(filepath.Join(m.dir, path))
}

func (m mounted) Open(path string) (Reader, error) {
	f, err := os.Open(filepath.Join(m.dir, path))
	if err != nil {
		return nil, err
	}
	return mountedReader{f}, nil
}

type mountedReader struct{ *os.File }

func (r mountedReader) Next(off int64, hole bool) (int64, error) {
	whence := unix.SEEK_DATA
	if hole {
		whence = unix.SEEK_HOLE
	}
	n, err := unix.Seek(int(r.Fd()), off, whence)
	if errors.Is(err, unix.ENXIO) {
		return 0, io.EOF
	}
	return n, err
}
