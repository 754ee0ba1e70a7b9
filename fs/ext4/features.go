package ext4

import "fmt"

// Features that a reader may ignore.
const (
	compatJournal     = 0x4
	compatDirIndex    = 0x20
	compatSparseSuper = 0x200 // sparse_super2
	compatFastCommit  = 0x400
)

// Features that a reader must understand.
const (
	incompatCompression = 0x1
	incompatFiletype    = 0x2
	incompatRecover     = 0x4
	incompatJournalDev  = 0x8
	incompatMetaBG      = 0x10
	incompatExtents     = 0x40
	incompat64Bit       = 0x80
	incompatMMP         = 0x100
	incompatFlexBG      = 0x200
	incompatEAInode     = 0x400
	incompatDirData     = 0x1000
	incompatCsumSeed    = 0x2000
	incompatLargeDir    = 0x4000
	incompatInlineData  = 0x8000
	incompatEncrypt     = 0x10000
	incompatCasefold    = 0x20000

	incompatKnown = incompatFiletype | incompatRecover | incompatMetaBG | incompatExtents | incompat64Bit |
		incompatMMP | incompatFlexBG | incompatEAInode | incompatCsumSeed | incompatLargeDir |
		incompatInlineData | incompatEncrypt | incompatCasefold
)

// Features that a writer must understand, and who trusts the bitmaps.
const (
	rocompatSparseSuper  = 0x1
	rocompatLargeFile    = 0x2
	rocompatBtreeDir     = 0x4
	rocompatHugeFile     = 0x8
	rocompatGDTCsum      = 0x10
	rocompatDirNlink     = 0x20
	rocompatExtraIsize   = 0x40
	rocompatQuota        = 0x100
	rocompatBigalloc     = 0x200
	rocompatMetadataCsum = 0x400
	rocompatReadonly     = 0x1000
	rocompatProject      = 0x2000
	rocompatVerity       = 0x8000
	rocompatOrphans      = 0x10000

	rocompatKnown = rocompatSparseSuper | rocompatLargeFile | rocompatBtreeDir | rocompatHugeFile |
		rocompatGDTCsum | rocompatDirNlink | rocompatExtraIsize | rocompatQuota | rocompatBigalloc |
		rocompatMetadataCsum | rocompatReadonly | rocompatProject | rocompatVerity | rocompatOrphans

	// ext3 knew no others.
	rocompatExt3 = rocompatSparseSuper | rocompatLargeFile | rocompatBtreeDir
)

// unsupported names the features among incompat that a reader would have to
// understand and this one does not.
func unsupported(incompat uint32) []string {
	var names []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if incompat&^incompatKnown&bit == 0 {
			continue
		}
		switch bit {
		case incompatCompression:
			names = append(names, "compression")
		case incompatJournalDev:
			names = append(names, "journal_dev (it is the journal of another volume)")
		case incompatDirData:
			names = append(names, "dirdata")
		default:
			names = append(names, fmt.Sprintf("the unknown feature 0x%x", bit))
		}
	}
	return names
}
