// Package fs is the tree of all restore points of a repository: what
// `vitrine mount` shows, as nodes that know nothing of FUSE, WinFsp or any
// other way to show them (fs/mount has those).
//
//	README.txt
//	SQL01/                          a machine, by its identity
//	    latest -> 2026-11-22T22-00-05Z
//	    2026-11-22T22-00-05Z/       a restore point
//	        SQL01-os.vhdx           a disk, presented as a VHDX
//	        config/                 the machine's own files, and vm.json
//	        guest/                  the files on its disks, a folder for each volume
//	        raw/                    the same disks as flat images
//	        checkpoints/NAME/       the machine's own checkpoints
//	        restore-point.json      how the point was made
//	.vitrine/                       status of this mount
//
//	tree     everything above, over one repository
//	node     a directory, a file or a link of the tree
//	handle   an opened file
//	listing  the restore points that the repository had when last asked
//	roster   the machines of a listing by the names of their folders
//
// Everything is lazy. A new tree lists the restore points and opens none; the
// first look at the root opens one point per machine, for its name; a
// restore point is opened when its folder is entered, a disk's map when the
// disk is read. What cannot be opened stays visible with a file that says why.
package fs
