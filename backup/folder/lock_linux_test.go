package folder_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"vitrine/fs/disk/disktest"
)

func TestLockedDisksAreInUse(t *testing.T) {
	for name, lock := range map[string]unix.Flock_t{
		"for writing":         {Type: unix.F_WRLCK, Start: 0, Len: 1},
		"as QEMU, to write":   {Type: unix.F_RDLCK, Start: 101, Len: 1},
		"as QEMU, to read":    {Type: unix.F_RDLCK, Start: 100, Len: 1},
		"for reading, nobody": {Type: unix.F_RDLCK, Start: 0, Len: 1},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "a.vhdx")
			writeVHDX(t, file, disktest.Sparse(9, 2*mib, 2), 7, 1, nil, nil)
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
				t.Skipf("this file system has no locks: %v", err)
			}
			want := ""
			if lock.Type == unix.F_WRLCK || lock.Start == 101 {
				want = "disk-in-use"
			}
			if _, vm := one(t, dir); codes(vm.Problems) != want {
				t.Errorf("got %v, want %q", vm.Problems, want)
			}
		})
	}
}
