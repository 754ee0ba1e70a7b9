package mount

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/windows"
)

// prepare checks a mount point: a free drive letter ("V:"), or a folder that
// does not exist yet in one that does.
func prepare(ctx context.Context, dir string, o Options) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if d, ok := drive(dir); ok {
		used, err := windows.GetLogicalDrives()
		if err != nil {
			return "", fmt.Errorf("mount: list drives: %w", err)
		}
		if used&(1<<(d[0]-'A')) != 0 {
			return "", &PointError{dir, "the drive is in use", "give another letter"}
		}
		return d, nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	if strings.HasPrefix(abs, `\\`) {
		return "", &PointError{dir, "a share cannot be a mount point", "give a drive letter or a folder of a local disk"}
	}
	if _, err := os.Lstat(abs); err == nil {
		return "", &PointError{dir, "exists already", "give a folder that does not exist yet: WinFsp makes it and takes it away"}
	}
	parent, err := resolve(filepath.Dir(abs))
	if err != nil {
		return "", err
	}
	if st, err := os.Stat(parent); err != nil || !st.IsDir() {
		return "", &PointError{dir, "its parent is no folder", "make it first: mkdir " + parent}
	}
	real := filepath.Join(parent, filepath.Base(abs))
	return real, checkOverlap(real, o.KeepOut)
}

// drive reads "v:", "V:\" and `\\.\V:` as "V:".
func drive(dir string) (string, bool) {
	d := strings.ToUpper(strings.TrimRight(strings.TrimPrefix(dir, `\\.\`), `\/`))
	return d, isDrive(d)
}

func isDrive(d string) bool { return len(d) == 2 && d[1] == ':' && d[0] >= 'A' && d[0] <= 'Z' }

// root is the path of a mount's root folder.
func root(dir string) string {
	if isDrive(dir) {
		return dir + `\`
	}
	return dir
}

// eventName names the event that ends the mount at dir.
func eventName(dir string) (*uint16, error) {
	sum := sha256.Sum256([]byte(strings.ToLower(dir)))
	name, err := windows.UTF16PtrFromString(`Global\vitrine-unmount-` + hex.EncodeToString(sum[:16]))
	if err != nil {
		return nil, fmt.Errorf("mount: %w", err)
	}
	return name, nil
}

// UnmountOptions of Unmount.
type UnmountOptions struct {
	Lazy bool // detach it if it is busy; on Windows a mount always ends
}

// Unmount ends the mount at dir, of whichever process: ErrNotMounted.
func Unmount(dir string, _ UnmountOptions) error {
	d, ok := drive(dir)
	if !ok {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return fmt.Errorf("mount: %w", err)
		}
		parent, err := resolve(filepath.Dir(abs))
		if err != nil {
			return err
		}
		d = filepath.Join(parent, filepath.Base(abs))
	}
	name, err := eventName(d)
	if err != nil {
		return err
	}
	event, err := windows.OpenEvent(windows.EVENT_MODIFY_STATE, false, name)
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) {
		return fmt.Errorf("mount: unmount %s: %w", dir, ErrNotMounted)
	}
	if err != nil {
		return fmt.Errorf("mount: unmount %s: %w", dir, err)
	}
	defer windows.CloseHandle(event)
	if err := windows.SetEvent(event); err != nil {
		return fmt.Errorf("mount: unmount %s: %w", dir, err)
	}
	for end := time.Now().Add(startTime); visible(d); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			return &BusyError{Dir: dir}
		}
	}
	return nil
}
