package fs

import (
	"crypto/sha256"
	"encoding/binary"
)

// rootIno is the root's inode number.
const rootIno = 1

// inode makes the inode number of a place: a hash of what the place is called
// for ever. A cryptographic hash, because a machine chooses its own GUID and
// the names of its files, and two places with one number would be one file.
func inode(scope, path string) uint64 {
	h := sha256.New()
	h.Write([]byte(scope))
	h.Write([]byte{0})
	h.Write([]byte(path))
	n := binary.LittleEndian.Uint64(h.Sum(nil))
	if n <= rootIno || n == ^uint64(0) {
		n = 0x9e3779b97f4a7c15
	}
	return n
}
