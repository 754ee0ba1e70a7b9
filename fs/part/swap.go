package part

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"vitrine/fs/disk"
)

// SwapHeader is the first page of a Linux swap area: what a guest needs to
// find again of it.
type SwapHeader struct {
	PageSize int64
	// Hibernated is true where the area holds the memory of a machine that
	// sleeps, which must not be lost.
	Hibernated bool
	// Size is the length the header gives the area, in bytes; 0 where an old
	// header (SWAP-SPACE) has none.
	Size  int64
	Label string
	UUID  string
}

// ReadSwap returns the header of a Linux swap area of size bytes, nil where r
// holds none. Linux writes its signature at the end of the first page, whose
// size is the processor's.
func ReadSwap(r io.ReaderAt, size int64) (*SwapHeader, error) {
	b := make([]byte, min(64<<10, max(size, 0)))
	if err := readAt(r, b, 0); err != nil {
		return nil, fmt.Errorf("part: read swap header: %w", err)
	}
	for _, page := range []int{4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10} {
		if page > len(b) {
			break
		}
		h := &SwapHeader{PageSize: int64(page)}
		switch sign := string(b[page-10 : page]); {
		case sign == "SWAPSPACE2":
		case sign == "SWAP-SPACE":
			return h, nil
		case asleep(sign):
			h.Hibernated = true
		default:
			continue
		}
		var order binary.ByteOrder = binary.LittleEndian
		if order.Uint32(b[1024:]) != 1 {
			order = binary.BigEndian
		}
		if order.Uint32(b[1024:]) != 1 && !h.Hibernated {
			continue
		}
		h.Size = (int64(order.Uint32(b[1028:])) + 1) * int64(page)
		if id := b[1036:1052]; disk.GUID(id) != (disk.GUID{}) {
			h.UUID = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:16])
		}
		h.Label = cString(b[1052:1068])
		return h, nil
	}
	return nil, nil
}

// asleep reports whether a signature is one of those that hibernating puts in
// the place of that of swap: the kernel's two, uswsusp's, the newer kernel's,
// TuxOnIce's.
func asleep(sign string) bool {
	for _, s := range []string{"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c"} {
		if strings.HasPrefix(sign, s) {
			return true
		}
	}
	return false
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}
