// Package ext4 reads ext2, ext3 and ext4 volumes and never writes to them. A
// volume is an io/fs.FS; what the file system keeps beside names and bytes is
// behind FileInfo.Sys.
//
//	block       the unit of the volume: 1 to 64 KiB
//	cluster     the unit of allocation: one block, or several (bigalloc)
//	group       some consecutive blocks with a bitmap and a table of inodes
//	descriptor  where a group keeps its bitmaps and its inode table
//	inode       one file or folder: everything about it except its names
//	run         consecutive blocks of a file that lie together on the volume
//	leaf        all runs of a stretch of a file
//	index       the hash tree of a large folder ("htree")
//	journal     what was about to be written when the volume stood still
//	overlay     the blocks that the journal has newer than the volume
//
// A journal that was not written back is replayed into the overlay, in memory.
// Checksums are verified wherever the volume has them, and damage is an error
// for the object it lies in, not for its neighbours: a *CorruptError.
//
// Numbers are little-endian, except in the journal. The facts are those of the
// Linux kernel's documentation, "ext4 Data Structures and Algorithms", and of
// its sources where the two differ.
package ext4
