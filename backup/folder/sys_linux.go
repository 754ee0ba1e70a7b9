package folder

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// changeTime is the time at which the file's inode last changed: programs that
// set back the time of modification cannot set it.
func changeTime(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Ctim.Nano()
	}
	return 0
}

// qemuWriter is the byte that QEMU locks in an image it writes to.
const qemuWriter = 101

// inUse reports whether another program holds a lock that says it writes.
func inUse(f *os.File) bool {
	reading := unix.Flock_t{Type: unix.F_RDLCK}
	if unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &reading) == nil && reading.Type != unix.F_UNLCK {
		return true
	}
	writing := unix.Flock_t{Type: unix.F_WRLCK, Start: qemuWriter, Len: 1}
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_GETLK, &writing) == nil && writing.Type != unix.F_UNLCK
}

// refusedInUse reports whether err of opening a file says that another program
// does not share it.
func refusedInUse(error) bool { return false }
