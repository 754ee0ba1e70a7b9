// Package fat reads FAT12, FAT16, FAT32 and exFAT volumes and never writes
// them. A volume is an io/fs.FS whose names are found in any case, as on
// Windows.
//
//	cluster   what the volume allocates; the first one has the number 2
//	table     the file allocation table: the cluster behind each cluster
//	chain     the clusters of a file, in its order
//	node      what a directory says of a file: there is nothing else about it
//	set       the entries of an exFAT directory that make one node
//
// Times are those of the machine that wrote them. FAT does not keep its time
// zone, so they are given as if it was UTC; exFAT does keep it.
package fat
