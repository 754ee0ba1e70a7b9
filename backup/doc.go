// Package backup makes restore points out of machines and machines out of
// restore points. It is where disks meet the repository; it knows no
// hypervisor: a provider below this package (backup/folder, backup/hyperv)
// implements Host.
//
//	host        has machines and can hold one still: a Hyper-V host, a folder
//	method      how a machine is held still: folder, offline, child-snapshot, …
//	preflight   which methods would work for a machine now, and why others not
//	session     one machine held still under our hand, until Close
//	base        the image that a new image starts from: of the machine's latest
//	            committed restore point, never from anything kept locally
//	full read   every extent of a disk that may hold data is read
//	incremental only what changed since the base is read; what is stored is
//	            complete either way
//
// A run goes: select machines, then for each: preflight, base, snapshot, store
// every disk and file, verify that the source stood still, commit the restore
// point, commit the session (the source may now forget the tracking of the
// older point), close it. The order of the two commits is what makes a failed
// or killed run harmless: the next one starts from the older point.
package backup
