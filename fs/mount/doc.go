// Package mount shows a tree of restore points (package fs) as a file system:
// through go-fuse on Linux, through WinFsp on Windows. Both adapters only
// translate; with the build tag cgofuse the one for Windows serves Linux too,
// through libfuse, so that it can be tested where there is no Windows.
//
//	mount point  the folder (on Windows also a drive) where the tree appears
//	stale        a mount whose server died: everything below it fails until
//	             it is unmounted
//	busy         a mount that somebody uses: it cannot be unmounted, only
//	             detached, which ends it when the last user has gone
package mount
