package ntfs

// LZNT1, XPress and LZX are the decoders, for their tests.
var (
	LZNT1  = lznt1
	XPress = xpress
	LZX    = lzx
)
