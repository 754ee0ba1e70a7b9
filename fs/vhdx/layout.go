package vhdx

// Where a presented file of Layout1 has its parts. Blocks follow the BAT.
const (
	layoutLogOff      = 1 * mib
	layoutMetadataOff = 2 * mib
	layoutBATOff      = 3 * mib
	layoutPartBytes   = 1 * mib // of log and metadata
)

// layout is the arithmetic of a presented file. The allocated blocks of the
// disk have the slots 0, 1, 2, … in their order.
type layout struct {
	geometry
	allocated int64
}

// batBytes is the length of the BAT region.
func (l layout) batBytes() int64 {
	return roundUp(l.entries(false)*batEntryBytes, mib)
}

// dataOff is where slot 0 begins.
func (l layout) dataOff() int64 {
	return layoutBATOff + l.batBytes()
}

// fileSize is the length of the file.
func (l layout) fileSize() int64 {
	return l.slotOff(l.allocated)
}

// slotOff is where a slot begins in the file.
func (l layout) slotOff(slot int64) int64 {
	return l.dataOff() + slot*l.block
}

// slotAt returns the slot at an offset behind dataOff, and the offset within it.
func (l layout) slotAt(off int64) (slot, within int64) {
	return (off - l.dataOff()) / l.block, (off - l.dataOff()) % l.block
}

// batEntryOff is where the BAT entry of a block lies in the file.
func (l layout) batEntryOff(block int64) int64 {
	return layoutBATOff + l.entryOf(block)*batEntryBytes
}

// batBlocks returns the blocks from first to before end whose BAT entries have
// bytes in the n bytes of the file at off, which lie in the BAT region.
func (l layout) batBlocks(off, n int64) (first, end int64) {
	from := (off - layoutBATOff) / batEntryBytes
	to := (off - layoutBATOff + n + batEntryBytes - 1) / batEntryBytes
	return min(l.firstBlockFrom(from), l.blocks()), min(l.firstBlockFrom(to), l.blocks())
}
