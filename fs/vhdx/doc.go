// Package vhdx reads VHDX files, the disks of Hyper-V, and presents any disk
// as the bytes of a VHDX file. It follows [MS-VHDX] and, where real files of
// Hyper-V and QEMU differ from it, those.
//
//	block      unit of allocation of a VHDX, 1 to 256 MiB, a power of two
//	sector     unit of writing of the guest, 512 or 4096 bytes
//	region     an extent of the file with one purpose: BAT, metadata
//	BAT        the table that says, block by block, where a block lies
//	payload    bytes of the virtual disk, as opposed to the file's own
//	bitmap     one bit for each sector of a differencing disk: set where the
//	           sector lies in this file, clear where it lies in the parent
//	log        a ring of writes to the file's own structures that a crash left
//	           unfinished; a file whose log holds entries is dirty
//	parent     the disk that a differencing disk was made from
//	slot       place of a block in a presented file
//
// Open reads; a dirty log is replayed in memory and the file is never
// written. Chain puts a differencing disk on its parents. NewFile presents.
// Validate checks a file more strictly than Open does.
package vhdx
