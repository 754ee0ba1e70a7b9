//go:build linux

package mount_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"vitrine/fs/mount"
)

const nobody = 65534

// asNobody has the server run as somebody who is not root.
func asNobody(t *testing.T) (server string, who *syscall.SysProcAttr, dir string) {
	t.Helper()
	needFUSE(t)
	if os.Geteuid() != 0 {
		t.Skip("only root can start a process as another user")
	}
	if i, err := os.Stat("/bin/fusermount3"); err != nil || i.Mode()&os.ModeSetuid == 0 {
		t.Skip("fusermount3 is missing or not set-uid: install fuse3")
	}
	if i, err := os.Stat("/dev/fuse"); err != nil || i.Mode()&0o006 != 0o006 {
		t.Skip("only root may open /dev/fuse here: chmod 666 /dev/fuse, as udev does it")
	}
	base := t.TempDir()
	for p := base; p != "/"; p = filepath.Dir(p) {
		if i, err := os.Stat(p); err != nil || i.Mode()&0o001 == 0 {
			if err := os.Chmod(p, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	server = filepath.Join(base, "server")
	from, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.OpenFile(server, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(base, "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	return server, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}, dir
}

func TestMountOfAUserIsForThatUserOnly(t *testing.T) {
	server, who, dir := asNobody(t)
	s, err := tryLaunch(t, job{Setup: small, Dir: dir, server: server, who: who})
	if err != nil {
		t.Fatal(err)
	}
	// Not even root may look.
	if _, err := os.ReadDir(s.dir); !errors.Is(err, syscall.EACCES) {
		t.Errorf("another user lists it: %v", err)
	}
	s.cmd.Process.Signal(os.Interrupt)
	waitGone(t, s.dir)
}

func TestAllowOtherNeedsPermission(t *testing.T) {
	server, who, dir := asNobody(t)
	if conf, err := os.ReadFile("/etc/fuse.conf"); err == nil && mount.AllowsOther(string(conf)) {
		t.Skip("/etc/fuse.conf permits it: take user_allow_other out to have this tried")
	}
	_, err := tryLaunch(t, job{Setup: small, Dir: dir, server: server, who: who, Mount: options{AllowOther: true}})
	if err == nil || err.Error() != "error: mount: "+dir+": --allow-other is not permitted to this user" {
		t.Errorf("allow_other: %v", err)
	}
}
