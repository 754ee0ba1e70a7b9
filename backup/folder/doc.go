// Package folder is a backup.Host made of a folder: an exported machine, the
// data folder of a Hyper-V host with many, a copy of either, or bare disks.
//
//	configuration  a .vmcx or .xml file that describes a machine, or one of
//	               its checkpoints
//	home           the folder around `Virtual Machines` and `Snapshots`, or
//	               the one that a configuration lies in
//	layer          one disk file: a disk of its own, or a differencing disk
//	chain          a layer with its parents: what the guest sees as a disk
//	bare disk      a disk file that no configuration in the folder names, and
//	               that is no parent: it counts as a machine of its own, named
//	               after the file
//	mark           what tells that a file was not changed since
//
// Nothing outside of the folder is ever opened. Paths in configurations and in
// disks were written by a host, or by whoever wants to look like one: they are
// only compared with the files found in the folder. Links are followed as long
// as they stay inside, linked folders not at all. Files are opened for reading
// only.
//
// The format of a disk is what its extension says, and its signature has to
// agree: bytes that a guest can write never decide (CVE-2008-2004).
package folder
