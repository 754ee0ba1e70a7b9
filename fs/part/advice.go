package part

// The contents that are named but not opened.
const (
	kindBitLocker = "BitLocker"
	kindLUKS      = "LUKS"
	kindLDM       = "LDM dynamic disk"
	kindSpaces    = "Storage Spaces"
	kindReFS      = "ReFS"
	kindZFS       = "ZFS"
	kindBtrfs     = "btrfs"
	kindMD        = "Linux RAID"
	kindMirror    = "Linux RAID 1"
	kindHFS       = "HFS+"
	kindAPFS      = "APFS"
	kindBcache    = "bcache"
	kindVDO       = "VDO"
	kindCeph      = "Ceph BlueStore"
	kindLVM       = "LVM"
	kindSwap      = "swap"
)

const attach = "attach the disk from the backup to "

// advice says what a content is and what to do to reach its files.
func advice(kind string, class Class) string {
	switch kind {
	case kindBitLocker:
		return "This volume is encrypted with BitLocker: " + attach + "Windows and unlock it there with its password or recovery key."
	case kindLUKS:
		return "This volume is encrypted with LUKS: " + attach + "a Linux machine and open it there with cryptsetup and its passphrase."
	case kindLDM:
		return "This is part of a dynamic disk (LDM), whose volumes may span disks: " + attach + "Windows, with the other disks of the machine, and import the foreign disks in Disk Management."
	case kindSpaces:
		return "This is part of a storage pool of Storage Spaces, which spreads its volumes over disks: " + attach + "Windows, with the other disks of the pool."
	case kindReFS:
		return "This volume holds ReFS, whose format is not public: " + attach + "a Windows of the same or a later version."
	case kindZFS:
		return "This is part of a ZFS pool: " + attach + "a machine with ZFS, with the other disks of the pool, and import it there read-only (zpool import -o readonly=on)."
	case kindBtrfs:
		return "This volume holds btrfs, which is not read here: " + attach + "a Linux machine and mount it there read-only."
	case kindMD:
		return "This is a member of a Linux software RAID, which spreads its data over disks: " + attach + "a Linux machine, with the other members, and assemble it there (mdadm --assemble --readonly --scan)."
	case kindMirror:
		return "This is one half of a Linux software mirror (RAID 1)."
	case kindHFS, kindAPFS:
		return "This volume holds " + kind + ", which is not read here: " + attach + "a Mac, or to a Linux machine with a driver for it."
	case kindBcache:
		return "This volume is cached by bcache, and a part of its data may lie on the cache disk: " + attach + "a Linux machine, with the cache disk."
	case kindVDO:
		return "This volume is deduplicated and compressed by VDO: " + attach + "a Linux machine with VDO."
	case kindCeph:
		return "This is a disk of a Ceph cluster, which only the cluster can read: start the machine from its backup."
	}
	if class == NotOpened {
		return "This volume holds " + kind + ", which is not read here: " + attach + "a machine that knows it."
	}
	return ""
}

// Advice says, for partitions that belong to something spanning partitions or
// disks, what that is and what to do; "" for others.
func (t Type) Advice() string {
	k, _ := find(t)
	if k.role != Foreign {
		return ""
	}
	return advice(k.kind, NotOpened)
}

// Foreign names what a partition of role Foreign belongs to.
func (t Type) Foreign() string {
	k, _ := find(t)
	return k.kind
}
