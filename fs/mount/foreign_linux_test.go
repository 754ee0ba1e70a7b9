package mount_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"vitrine/fs/fstest"
	"vitrine/fs/mount"
)

func TestADeadMountOfAnotherProgramIsLeftAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a mount that nobody serves")
	}
	base := t.TempDir()
	dir := filepath.Join(base, "real", "dir")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(base, "real"), filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	device, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Skip("needs /dev/fuse: modprobe fuse")
	}
	err = unix.Mount("other", dir, "fuse.other", 0, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", device.Fd()))
	if err := errors.Join(err, device.Close()); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	if _, err := os.Stat(dir); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("a dead mount answers %v", err)
	}
	tree, _ := fstest.Tree(t, small)
	for _, at := range []string{dir, filepath.Join(base, "link", "dir")} {
		var refused *mount.PointError
		if _, err := mount.Mount(t.Context(), tree, at, mount.Options{}); !errors.As(err, &refused) {
			t.Errorf("Mount at %s: %v", at, err)
		}
		if _, err := os.Stat(dir); !errors.Is(err, syscall.ENOTCONN) {
			t.Errorf("the dead mount is gone: %v", err)
		}
	}
}
