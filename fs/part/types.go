package part

// known is a type of partition.
type known struct {
	id   string // GUID
	mbr  byte
	name string
	role Role
	kind string // of foreign content, see advice
}

// knownTypes lists the types that guests of Hyper-V have.
func knownTypes() []known {
	return []known{
		{"c12a7328-f81f-11d2-ba4b-00a0c93ec93b", 0xef, "EFI system", Files, ""},
		{"e3c9e316-0b5c-4db8-817d-f92df00215ae", 0, "Microsoft reserved", Boot, ""},
		{"ebd0a0a2-b9e5-4433-87c0-68b6b72699c7", 0, "Windows data", Files, ""},
		{"de94bba4-06d1-4d40-a16a-bfd50179d6ac", 0x27, "Windows recovery", Files, ""},
		{"5808c8aa-7e8f-42e0-85d2-e1e90434cfb3", 0, "LDM metadata", Foreign, kindLDM},
		{"af9b60a0-1431-4f62-bc68-3311714a69ad", 0x42, "LDM data", Foreign, kindLDM},
		{"e75caf8f-f680-4cee-afa3-b001e56efc2d", 0, "Storage Spaces", Foreign, kindSpaces},
		{"0fc63daf-8483-4772-8e79-3d69d8477de4", 0x83, "Linux", Files, ""},
		{"44479540-f297-41b2-9af7-d131d5f0458a", 0, "Linux root (x86)", Files, ""},
		{"4f68bce3-e8cd-4db1-96e7-fbcaf984b709", 0, "Linux root (x86-64)", Files, ""},
		{"b921b045-1df0-41c3-af44-4c6f280d3fae", 0, "Linux root (ARM64)", Files, ""},
		{"933ac7e1-2eb4-4f13-b844-0e14e2aef915", 0, "Linux home", Files, ""},
		{"3b8f8425-20e0-4f3b-907f-1a25a76f98e8", 0, "Linux server data", Files, ""},
		{"4d21b016-b534-45c2-a9fb-5c16e091fd2d", 0, "Linux variable data", Files, ""},
		{"bc13c2ff-59e6-4262-a352-b275fd6f7172", 0xea, "Linux boot", Files, ""},
		{"0657fd6d-a4ab-43c4-84e5-0933c84b4f4f", 0x82, "Linux swap", Swap, ""},
		{"e6d6d379-f507-44c2-a23c-238f2a3df928", 0x8e, "Linux LVM", LVM, ""},
		{"a19d880f-05fc-4d3b-a006-743f0f84911e", 0xfd, "Linux RAID", Files, ""},
		{"ca7d7ccb-63ed-4c53-861c-1742536059cc", 0xe8, "LUKS", Files, ""},
		{"21686148-6449-6e6f-744e-656564454649", 0, "BIOS boot", Boot, ""},
		{"9e1a2d38-c612-4316-aa26-8b49521e5a8b", 0x41, "PReP boot", Boot, ""},
		{"48465300-0000-11aa-aa11-00306543ecac", 0xaf, "Apple HFS+", Files, ""},
		{"7c3457ef-0000-11aa-aa11-00306543ecac", 0, "Apple APFS", Files, ""},
		{"6a898cc3-1dd2-11b2-99a6-080020736631", 0xbf, "ZFS", Files, ""},
		{"516e7cba-6ecf-11d6-8ff8-00022d09712b", 0, "FreeBSD ZFS", Files, ""},
		{"516e7cb6-6ecf-11d6-8ff8-00022d09712b", 0xa5, "FreeBSD UFS", Files, ""},
		{"516e7cb5-6ecf-11d6-8ff8-00022d09712b", 0, "FreeBSD swap", Boot, ""},
		{"83bd6b9d-7f41-11dc-be0b-001560b84f0f", 0, "FreeBSD boot", Boot, ""},
		{"aa31e02a-400f-11db-9590-000c2911d1b8", 0xfb, "VMware VMFS", Files, ""},
		{"", 0x01, "FAT12", Files, ""},
		{"", 0x04, "FAT16", Files, ""},
		{"", 0x06, "FAT16", Files, ""},
		{"", 0x07, "NTFS or exFAT", Files, ""},
		{"", 0x0b, "FAT32", Files, ""},
		{"", 0x0c, "FAT32", Files, ""},
		{"", 0x0e, "FAT16", Files, ""},
	}
}

func find(t Type) (known, bool) {
	guid := ""
	if !t.GUID.IsZero() {
		guid = t.GUID.String()
	}
	for _, k := range knownTypes() {
		if guid != "" && k.id == guid || guid == "" && t.MBR != 0 && k.mbr == t.MBR {
			return k, true
		}
	}
	return known{}, false
}

func typeName(t Type) (string, bool) {
	k, ok := find(t)
	return k.name, ok
}

// Role says what is done with partitions of this type.
func (t Type) Role() Role {
	k, _ := find(t)
	return k.role
}

// EFI reports whether this is the partition that firmware starts from.
func (t Type) EFI() bool {
	k, _ := find(t)
	return k.name == "EFI system"
}
