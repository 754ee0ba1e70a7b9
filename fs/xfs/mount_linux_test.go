package xfs_test

import (
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// withMount mounts an image with the kernel for the time of fn.
func withMount(t testing.TB, image, options string, fn func(dir string)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting an image with the kernel needs root")
	}
	need(t, "mount", "umount")
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "xfs", "-o", "loop,nouuid"+options, image, dir).CombinedOutput(); err != nil {
		t.Skipf("this kernel cannot mount the image: %v %s", err, out)
	}
	mounted := true
	defer func() {
		if mounted {
			exec.Command("umount", dir).Run()
		}
	}()
	fn(dir)
	run(t, "umount", dir)
	mounted = false
}

// kernels lists a mounted folder.
func kernels(t testing.TB, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := filepath.WalkDir(dir, func(full string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, full)
		st := i.Sys().(*syscall.Stat_t)
		all[name] = facts(name, i, st.Uid, st.Gid, uint64(st.Nlink),
			func() ([]byte, error) { return os.ReadFile(full) },
			func() (string, error) { return os.Readlink(full) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
