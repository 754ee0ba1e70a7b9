package mount

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const maxStale = 16 // stale mounts on top of each other that are cleaned up

// prepare checks a mount point and returns it absolute and without links. A
// stale mount there is unmounted first.
func prepare(ctx context.Context, dir string, o Options) (string, error) {
	if strings.HasPrefix(dir, "/dev/fd/") {
		return "", &PointError{dir, "a mount made by another process cannot be served", "mount without drop_privileges"}
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	for range maxStale {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if !stale(abs) {
			break
		}
		at := standing(abs)
		if !ours(at) {
			return "", &PointError{dir, "another program left a dead mount there", "umount --lazy " + dir}
		}
		if err := unmountDir(at, true); err != nil {
			return "", fmt.Errorf("mount: %s: the mount that was left there: %w", at, err)
		}
	}
	if err := checkExists(abs); err != nil {
		return "", err
	}
	real, err := resolve(abs)
	if err != nil {
		return "", err
	}
	if real == "/" {
		return "", &PointError{dir, "the root of the system", "give an empty folder"}
	}
	if err := checkOverlap(real, o.KeepOut); err != nil {
		return "", err
	}
	if ours(real) {
		return "", &PointError{dir, "already a vitrine mount", "vitrine umount " + dir}
	}
	return real, checkEmpty(real, o.NonEmpty)
}

func checkExists(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return checkEmpty(dir, true)
	}
	return nil
}

// standing is where a mount point lies, its last element left alone: links on
// the way are followed without asking a mount that may be dead.
func standing(abs string) string {
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return abs
	}
	return filepath.Join(parent, filepath.Base(abs))
}

// stale reports whether a mount's server has died.
func stale(dir string) bool {
	_, err := os.Stat(dir)
	return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ECONNABORTED)
}

// mountEntry is a mount of this process's namespace.
type mountEntry struct {
	dir, device, kind string
}

// mountsAt lists what is mounted at dir, the uppermost last. It asks the
// kernel's table and never the mount.
func mountsAt(dir string) ([]mountEntry, error) {
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	var list []mountEntry
	for _, m := range parseMountinfo(string(table)) {
		if m.dir == dir {
			list = append(list, m)
		}
	}
	return list, nil
}

// parseMountinfo decodes proc_pid_mountinfo(5).
func parseMountinfo(table string) []mountEntry {
	var list []mountEntry
	for line := range strings.Lines(table) {
		before, after, ok := strings.Cut(line, " - ")
		fields, rest := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 6 || len(rest) < 1 {
			continue
		}
		list = append(list, mountEntry{dir: unescape(fields[4]), device: fields[2], kind: rest[0]})
	}
	return list
}

// unescape decodes the octal escapes of a kernel table: space, tab, newline
// and backslash.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// ours reports whether the uppermost mount at dir is a vitrine mount.
func ours(dir string) bool {
	mounts, err := mountsAt(dir)
	return err == nil && len(mounts) > 0 && isOurs(mounts[len(mounts)-1].kind)
}

func isOurs(kind string) bool { return kind == "fuse.vitrine" }

// UnmountOptions of Unmount.
type UnmountOptions struct {
	Lazy bool // detach it if it is busy
}

// Unmount ends the mount at dir, of whichever process. A stale one is cleaned
// up. The errors are ErrNotMounted and *BusyError.
func Unmount(dir string, o UnmountOptions) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	if !ours(abs) {
		// Only now: following links would ask a stale mount.
		if abs, err = resolve(abs); err != nil {
			return err
		}
	}
	if !ours(abs) {
		return fmt.Errorf("mount: unmount %s: %w", dir, ErrNotMounted)
	}
	err = unmountDir(abs, false)
	if busy := (*BusyError)(nil); errors.As(err, &busy) && (o.Lazy || stale(abs)) {
		err = unmountDir(abs, true)
	}
	return err
}

// unmountDir unmounts or detaches what is mounted at dir, as root directly,
// else by fusermount3.
func unmountDir(dir string, lazy bool) error {
	flags, arg := unix.UMOUNT_NOFOLLOW, "-u"
	if lazy {
		flags, arg = flags|unix.MNT_DETACH, "-uz"
	}
	err := unix.Unmount(dir, flags)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EBUSY):
		return &BusyError{dir, users(dir)}
	case !errors.Is(err, unix.EPERM):
		return fmt.Errorf("mount: unmount %s: %w", dir, err)
	}
	helper, err := fusermount()
	if err != nil {
		return err
	}
	text, err := exec.Command(helper, arg, dir).CombinedOutput()
	switch {
	case err == nil:
		return nil
	case strings.Contains(string(text), "busy"):
		return &BusyError{dir, users(dir)}
	}
	return fmt.Errorf("mount: unmount %s: %s: %w", dir, strings.TrimSpace(string(text)), err)
}

// fusermount finds the program that mounts for those who are not root.
func fusermount() (string, error) {
	for _, name := range []string{"fusermount3", "fusermount", "/bin/fusermount3", "/bin/fusermount"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", &SystemError{"mount: fusermount3 is not installed", nil, "apt-get install fuse3, or dnf install fuse3"}
}

// canMount tells what is missing before something fails for want of it.
func canMount(o Options) error {
	if _, err := os.Stat("/dev/fuse"); err != nil {
		return &SystemError{"no /dev/fuse", err, "modprobe fuse; in a container: --device /dev/fuse --cap-add SYS_ADMIN"}
	}
	if os.Geteuid() == 0 {
		return nil
	}
	if _, err := fusermount(); err != nil {
		return err
	}
	if conf, _ := os.ReadFile("/etc/fuse.conf"); o.AllowOther && !allowsOther(string(conf)) {
		return &SystemError{"--allow-other is not permitted to this user", nil, "root must put the line user_allow_other into /etc/fuse.conf"}
	}
	return nil
}

func allowsOther(conf string) bool {
	for line := range strings.Lines(conf) {
		if strings.TrimSpace(line) == "user_allow_other" {
			return true
		}
	}
	return false
}

// explain adds to an error of mounting what may be done about it.
func explain(err error) error {
	if errors.Is(err, unix.EPERM) || strings.Contains(err.Error(), "fusermount exited") {
		return &SystemError{"mounting was refused", err, "run as root, or see that fusermount3 is set-uid root and that this user owns the mount point and may open /dev/fuse"}
	}
	return err
}

// owner is whom everything belongs to.
func owner(o Options) (uid, gid uint32) {
	uid, gid = uint32(os.Geteuid()), uint32(os.Getegid())
	if o.UID != nil {
		uid = uint32(*o.UID)
	}
	if o.GID != nil {
		gid = uint32(*o.GID)
	}
	return uid, gid
}

// checkEmpty refuses what is not an empty folder.
func checkEmpty(dir string, nonEmpty bool) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &PointError{dir, "no such folder", "make it first: mkdir " + dir}
	case err != nil:
		return fmt.Errorf("mount: %w", err)
	case !st.IsDir():
		return &PointError{dir, "not a folder", "give an empty folder"}
	case nonEmpty:
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	defer d.Close()
	switch _, err = d.Readdirnames(1); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return fmt.Errorf("mount: %w", err)
	}
	return &PointError{dir, "not empty", "give an empty folder, or -o nonempty to cover what is in it"}
}
