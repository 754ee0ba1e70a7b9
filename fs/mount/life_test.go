//go:build linux

package mount_test

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vitrine/fs/fstest"
	"vitrine/fs/mount"
)

var small = fstest.Setup{Fixture: "small"}

// gone reports whether nothing is mounted at dir any more.
func gone(dir string) bool {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	return !strings.Contains(string(table), " "+dir+" ")
}

func waitGone(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !gone(dir); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is still mounted", dir)
		}
	}
}

func TestWritingIsRefused(t *testing.T) {
	s := launch(t, job{Setup: small})
	machine := filepath.Join(s.dir, "half")
	file := filepath.Join(machine, "2026-11-20T22-00-05Z", "half.vhdx")
	now := time.Now()
	for name, op := range map[string]func() error{
		"open to write":   func() error { f, err := os.OpenFile(file, os.O_WRONLY, 0); closeIf(f); return err },
		"open to append":  func() error { f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND, 0); closeIf(f); return err },
		"open to cut":     func() error { f, err := os.OpenFile(file, os.O_RDWR|os.O_TRUNC, 0); closeIf(f); return err },
		"create":          func() error { f, err := os.Create(filepath.Join(machine, "new")); closeIf(f); return err },
		"make a folder":   func() error { return os.Mkdir(filepath.Join(s.dir, "new"), 0o755) },
		"remove":          func() error { return os.Remove(file) },
		"remove a folder": func() error { return unix.Rmdir(machine) },
		"rename":          func() error { return os.Rename(file, file+"x") },
		"link":            func() error { return os.Link(file, filepath.Join(machine, "l")) },
		"link by name":    func() error { return os.Symlink(file, filepath.Join(machine, "s")) },
		"make a device":   func() error { return unix.Mknod(filepath.Join(machine, "d"), unix.S_IFIFO|0o600, 0) },
		"truncate":        func() error { return os.Truncate(file, 0) },
		"change mode":     func() error { return os.Chmod(file, 0o777) },
		"change owner":    func() error { return os.Chown(file, 1, 1) },
		"change times":    func() error { return os.Chtimes(file, now, now) },
		"ask for writing": func() error { return unix.Access(file, unix.W_OK) },
	} {
		if err := op(); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v, want a read-only file system", name, err)
		}
	}
	if err := unix.Setxattr(file, "user.x", []byte("1"), 0); !errors.Is(err, syscall.EROFS) && !errors.Is(err, syscall.ENOTSUP) {
		t.Errorf("set an attribute: %v", err)
	}
	if err := unix.Access(file, unix.R_OK); err != nil {
		t.Errorf("reading is refused: %v", err)
	}
}

func closeIf(f *os.File) {
	if f != nil {
		f.Close()
	}
}

func TestStatfsTellsASize(t *testing.T) {
	s := launch(t, job{Setup: small})
	if _, err := os.ReadDir(s.dir); err != nil {
		t.Fatal(err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.dir, &st); err != nil {
		t.Fatal(err)
	}
	if bytes := int64(st.Blocks) * st.Frsize; bytes < 30<<20 || st.Bavail != 0 || st.Namelen != 255 {
		t.Errorf("statfs: %d bytes, %d free, names of %d", bytes, st.Bavail, st.Namelen)
	}
}

func TestOwnerAndUmask(t *testing.T) {
	uid, gid := 1234, 4321
	s := launch(t, job{Setup: small, Mount: options{UID: &uid, GID: &gid, Umask: 0o077, AllowOther: true}})
	for path, want := range map[string]os.FileMode{"half": 0o500, "README.txt": 0o400} {
		i, err := os.Stat(filepath.Join(s.dir, path))
		if err != nil {
			t.Fatal(err)
		}
		st := i.Sys().(*syscall.Stat_t)
		if st.Uid != 1234 || st.Gid != 4321 || i.Mode().Perm() != want {
			t.Errorf("%s: owner %d:%d, mode %v", path, st.Uid, st.Gid, i.Mode())
		}
	}
}

func TestUnmountFromOutside(t *testing.T) {
	s := launch(t, job{Setup: small})
	if err := mount.Unmount(s.dir, mount.UnmountOptions{}); err != nil {
		t.Fatal(err)
	}
	if line, _ := s.line(); line != "ended" {
		t.Errorf("the server says %q", line)
	}
	if err := mount.Unmount(s.dir, mount.UnmountOptions{}); !errors.Is(err, mount.ErrNotMounted) {
		t.Errorf("a second time: %v", err)
	}
}

func TestSignalUnmounts(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		s := launch(t, job{Setup: small})
		s.cmd.Process.Signal(sig)
		waitGone(t, s.dir)
		if line, _ := s.line(); line != "ended" {
			t.Errorf("%v: the server says %q", sig, line)
		}
		if err := s.cmd.Wait(); err != nil {
			t.Errorf("%v: %v", sig, err)
		}
	}
}

func TestBusyMountSaysWhoAndIsDetached(t *testing.T) {
	s := launch(t, job{Setup: small, Mount: options{LazyAfter: 500 * time.Millisecond}})
	user := exec.Command("sleep", "60")
	user.Dir = filepath.Join(s.dir, "half")
	if err := user.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		user.Process.Kill()
		user.Wait()
	}()
	err := mount.Unmount(s.dir, mount.UnmountOptions{})
	var busy *mount.BusyError
	if !errors.As(err, &busy) || len(busy.Users) != 1 || busy.Users[0].PID != user.Process.Pid || busy.Users[0].Name != "sleep" {
		t.Fatalf("unmount: %v, want that sleep uses it", err)
	}
	if noHoles {
		return // libfuse takes a signal for itself and detaches at once
	}
	s.cmd.Process.Signal(os.Interrupt)
	if line, _ := s.line(); !strings.HasPrefix(line, "busy:") || !strings.Contains(line, "sleep") {
		t.Errorf("the server says %q", line)
	}
	waitGone(t, s.dir)
}

func TestBusyMountIsDetachedOnRequest(t *testing.T) {
	s := launch(t, job{Setup: small})
	f, err := os.Open(filepath.Join(s.dir, "README.txt"))
	if err != nil {
		t.Fatal(err)
	}
	if err := mount.Unmount(s.dir, mount.UnmountOptions{Lazy: true}); err != nil {
		t.Fatal(err)
	}
	if !gone(s.dir) {
		t.Error("it is still mounted")
	}
	if _, err := f.Read(make([]byte, 10)); err != nil {
		t.Errorf("who has a file open cannot read on: %v", err)
	}
	f.Close()
	if line, _ := s.line(); line != "ended" {
		t.Errorf("the server says %q", line)
	}
}

// kill ends the server as a crash would.
func (s *served) kill() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
}

func TestStaleMountIsCleanedUp(t *testing.T) {
	dead := launch(t, job{Setup: small})
	dead.kill()
	if _, err := os.Stat(dead.dir); !errors.Is(err, syscall.ENOTCONN) {
		t.Fatalf("a dead mount answers %v", err)
	}
	s := launch(t, job{Setup: small, Dir: dead.dir})
	if _, err := os.Stat(filepath.Join(s.dir, "half")); err != nil {
		t.Error(err)
	}
	s.kill()
	if err := mount.Unmount(s.dir, mount.UnmountOptions{}); err != nil {
		t.Errorf("unmount a dead mount: %v", err)
	}
	if _, err := os.Stat(s.dir); err != nil || !gone(s.dir) {
		t.Errorf("behind it: %v", err)
	}
}

func TestMountPointsThatAreRefused(t *testing.T) {
	base := t.TempDir()
	path := func(name string) string { return filepath.Join(base, name) }
	for _, dir := range []string{"repo/packs", "full", "outer/repo", "empty"} {
		if err := os.MkdirAll(path(dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"full/x", "file"} {
		if err := os.WriteFile(path(file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(path("repo"), path("link")); err != nil {
		t.Fatal(err)
	}
	tree, _ := fstest.Tree(t, small)
	for _, c := range []struct {
		dir     string
		keepOut string
		want    string
	}{
		{path("none"), "", "no such folder"},
		{path("file"), "", "not a folder"},
		{path("full"), "", "not empty"},
		{"/", "", "the root of the system"},
		{path("repo"), path("repo"), "lies in"},
		{path("repo/packs"), path("repo"), "lies in"},
		{path("link/packs"), path("repo"), "lies in"},
		{path("repo/packs"), path("link"), "lies in"},
		{path("outer"), path("outer/repo"), "holds"},
		{path("outer"), path("outer/repo/not-yet/there"), "holds"},
		{"/dev/fd/5", "", "another process"},
	} {
		_, err := mount.Mount(t.Context(), tree, c.dir, mount.Options{KeepOut: []string{"", c.keepOut}})
		var refused *mount.PointError
		if !errors.As(err, &refused) || !strings.Contains(refused.Reason, c.want) || refused.Hint() == "" {
			t.Errorf("%s away from %q: %v, want %q", c.dir, c.keepOut, err, c.want)
		}
	}
	var unknown *mount.OptionError
	if _, err := mount.Mount(t.Context(), tree, path("empty"), mount.Options{Forward: []string{"noexec", "wibble=1"}}); !errors.As(err, &unknown) || unknown.Option != "wibble=1" {
		t.Errorf("an unknown option: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := mount.Mount(ctx, tree, path("empty"), mount.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestMountPointInUseIsRefused(t *testing.T) {
	s := launch(t, job{Setup: small})
	if _, err := tryLaunch(t, job{Setup: small, Dir: s.dir}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a second mount at one place: %v", err)
	}
}

func TestOptionsThatWouldHangAreDropped(t *testing.T) {
	s := launch(t, job{Setup: small, Mount: options{Forward: []string{"auto_unmount", "noexec"}}})
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		if strings.Contains(line, " "+s.dir+" ") && (!strings.Contains(line, "noexec") || !strings.Contains(line, "fuse.vitrine")) {
			t.Errorf("mounted as %s", line)
		}
	}
}

func TestSystemdIsTold(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	s := launch(t, job{Setup: small})
	s.cmd.Process.Signal(os.Interrupt)
	buf := make([]byte, 1000)
	for _, want := range []string{"READY=1\n", "STOPPING=1\n"} {
		l.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := l.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("systemd is told %q (%v), want %q", buf[:n], err, want)
		}
	}
}
