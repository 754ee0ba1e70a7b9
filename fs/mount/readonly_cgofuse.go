//go:build windows || cgofuse

package mount

import (
	"github.com/winfsp/cgofuse/fuse"
)

// WinFsp cannot be told that a volume is read-only, so every operation that
// would change something says so itself.

// Mknod is refused.
func (f *pathFS) Mknod(string, uint32, uint64) int { return -fuse.EROFS }

// Mkdir is refused.
func (f *pathFS) Mkdir(string, uint32) int { return -fuse.EROFS }

// Unlink is refused.
func (f *pathFS) Unlink(string) int { return -fuse.EROFS }

// Rmdir is refused.
func (f *pathFS) Rmdir(string) int { return -fuse.EROFS }

// Link is refused.
func (f *pathFS) Link(string, string) int { return -fuse.EROFS }

// Symlink is refused.
func (f *pathFS) Symlink(string, string) int { return -fuse.EROFS }

// Rename is refused.
func (f *pathFS) Rename(string, string) int { return -fuse.EROFS }

// Create is refused.
func (f *pathFS) Create(string, int, uint32) (int, uint64) { return -fuse.EROFS, ^uint64(0) }

// CreateEx is refused.
func (f *pathFS) CreateEx(string, uint32, *fuse.FileInfo_t) int { return -fuse.EROFS }

// Truncate is refused.
func (f *pathFS) Truncate(string, int64, uint64) int { return -fuse.EROFS }

// Write is refused.
func (f *pathFS) Write(string, []byte, int64, uint64) int { return -fuse.EROFS }

// Setxattr is refused.
func (f *pathFS) Setxattr(string, string, []byte, int) int { return -fuse.EROFS }

// Removexattr is refused.
func (f *pathFS) Removexattr(string, string) int { return -fuse.EROFS }

// Chmod, Chown and Utimens: Hyper-V changes the access list of a disk that it
// attaches, and gives up when it may not.

// Chmod changes nothing.
func (f *pathFS) Chmod(string, uint32) int { return attributeCode }

// Chown changes nothing.
func (f *pathFS) Chown(string, uint32, uint32) int { return attributeCode }

// Utimens changes nothing.
func (f *pathFS) Utimens(string, []fuse.Timespec) int { return attributeCode }

// Access allows all but writing.
func (f *pathFS) Access(_ string, mask uint32) int {
	const write = 2
	if mask&write != 0 {
		return -fuse.EROFS
	}
	return 0
}
