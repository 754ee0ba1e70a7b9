package mount

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/windows"
)

// Links says that a mount on this system shows symbolic links. WinFsp would
// ask of every path whether it is one.
const Links = false

const (
	foldCase      = true
	attributeCode = 0
)

const (
	// access is who may read: the system, administrators, the owner, and
	// virtual machines, whose disks Hyper-V opens in their name.
	access = "D:P(A;;FA;;;SY)(A;;FA;;;BA)(A;;FA;;;S-1-5-83-0)(A;;0x1200a9;;;OW)"
	// accessOthers lets every user in, to read.
	accessOthers = "(A;;0x1200a9;;;AU)"
	threads      = 32 // requests served at a time: a store may be far away
)

// owner is whom everything belongs to: -1 is who mounts, to WinFsp.
func owner(o Options) (uid, gid uint32) {
	uid, gid = ^uint32(0), ^uint32(0)
	if o.UID != nil {
		uid = uint32(*o.UID)
	}
	if o.GID != nil {
		gid = uint32(*o.GID)
	}
	return uid, gid
}

// hostArgs are the arguments that WinFsp is given: a disk, not a network
// drive, named NTFS since programs ask for that; sectors of 512 bytes, so that
// disks can be attached; information kept for ever, which alone turns the
// system's cache on, but listings for a second.
func hostArgs(dir string, o Options) (string, []string, error) {
	list := access
	if o.AllowOther {
		list += accessOthers
	}
	uid, gid := "-1", "-1"
	if o.UID != nil {
		uid = strconv.Itoa(*o.UID)
	}
	if o.GID != nil {
		gid = strconv.Itoa(*o.GID)
	}
	args := []string{
		"--ExactFileSystemName=NTFS",
		"--FileSecurity=" + list,
		"-o", "volname=" + o.Name,
		"-o", "uid=" + uid, "-o", "gid=" + gid,
		"-o", "FileInfoTimeout=-1",
		"-o", "DirInfoTimeout=1000",
		"-o", "VolumeInfoTimeout=1000",
		"-o", "SectorSize=512",
		"-o", "SectorsPerAllocationUnit=8",
		"-o", "ThreadCount=" + strconv.Itoa(threads),
	}
	for _, f := range o.Forward {
		args = append(args, "-o", f)
	}
	// Only the mount manager makes a drive that services and other sessions
	// see too, and it listens to administrators only.
	if isDrive(dir) && windows.GetCurrentProcessToken().IsElevated() {
		dir = `\\.\` + dir
	}
	return dir, args, nil
}

func missing(err error) error {
	if strings.Contains(err.Error(), "cannot find winfsp") {
		return &SystemError{"WinFsp is not installed", nil, "install WinFsp 2.1 or later from https://winfsp.dev, then mount again"}
	}
	return err
}

// visible reports whether the mount is there.
func visible(dir string) bool {
	_, err := os.Stat(root(dir))
	return err == nil
}

// hostSystem is what Windows adds to a mount: an event by which another
// process can end it.
type hostSystem struct{ event windows.Handle }

func newHostSystem(s *hostServer, o Options) (*hostSystem, error) {
	name, err := eventName(s.dir)
	if err != nil {
		return nil, err
	}
	event, err := windows.CreateEvent(nil, 1, 0, name)
	if err != nil && !errors.Is(err, windows.ERROR_ALREADY_EXISTS) {
		return nil, fmt.Errorf("mount: make an event: %w", err)
	}
	h := &hostSystem{event}
	go func() {
		if _, err := windows.WaitForSingleObject(event, windows.INFINITE); err != nil {
			o.OnError(fmt.Errorf("mount: wait for an event: %w", err))
		}
		s.host.Unmount()
		<-s.ended
		if err := windows.CloseHandle(event); err != nil {
			o.OnError(fmt.Errorf("mount: close an event: %w", err))
		}
	}()
	return h, nil
}

// close ends the goroutine that waits for the event.
func (h *hostSystem) close() {
	// The only failure is a handle that is closed, which is what is wanted.
	_ = windows.SetEvent(h.event)
}

// unmount never finds the mount busy: WinFsp ends it for everybody.
func (*hostSystem) unmount(s *hostServer) error {
	if !s.host.Unmount() {
		return fmt.Errorf("mount: %s does not end", s.dir)
	}
	return nil
}

func (h *hostSystem) detach(s *hostServer) error { return h.unmount(s) }
