// Package repo keeps bytes: a deduplicated, encrypted repository in a store
// that may fail, lie and be read by others while it is written. It knows
// nothing of disks, guests or hosts; FORMAT.md beside this file gives every
// object byte by byte.
//
//	store          the place: whole objects by name, written once
//	page           4 KiB of an image
//	chunk          some pages, cut by content; the unit of deduplication
//	pack           an object that holds many chunks
//	slot           a chunk's place in its pack
//	address        pack and slot
//	run            neighbouring chunks of an image at neighbouring slots
//	map            the addresses of one image, as runs
//	segment        the map of exactly 1 GiB of an image
//	image          a stored sequence of bytes: size and map
//	base           the image that a new image starts from
//	hole           an aligned 64 KiB unit of zeros: costs nothing
//	left out       pages the source did not keep: read as zeros, not known to be
//	index          chunk hash -> address; the objects below index/ hold it, the
//	               bbolt file in the user's cache folder is a copy for writers
//	restore point  what one backup of one machine leaves; the only commit
//	lease          a live process's claim on what it uses
//
// A writer adds packs, then an index object, then the restore point: whatever
// happens before the last step leaves nothing but packs that the next run
// uses again. Readers need no index: a map holds addresses, a pack its own
// directory.
package repo
