// Package xfs reads XFS volumes, version 4 and 5, and never writes them. A
// volume is an io/fs.FS with symbolic links. All numbers on an XFS volume are
// big-endian, those in its log little-endian.
//
//	block     what the volume allocates, 512 bytes to 64 KiB
//	AG        allocation group: a part of the volume with its own free space
//	fsblock   number of a block: the AG above, the block inside the AG below
//	inode     what a file is: mode, owner, times, and its forks
//	fork      what an inode maps: bytes inside it, a list of extents, or a B-tree
//	log       journal of metadata; a dirty one holds what the volume lacks
//
// Version 5 volumes carry checksums, their own place and their owner in every
// metadata block; all are verified, and damage is an error for the object it
// hits. A dirty log is replayed in memory.
package xfs
