package ext4

import (
	"encoding/binary"
)

const (
	xattrMagic  = 0xEA020000
	xattrSystem = 7 // the name index of "system."
)

// inlineData returns the content of a file or folder that is stored in its
// inode: the first part in place of the block map, the rest in the extended
// attribute system.data.
func (n *inode) inlineData() ([]byte, error) {
	rest, err := n.inlineRest()
	if err != nil {
		return nil, err
	}
	if n.size > int64(inlineSize+len(rest)) {
		return nil, n.corrupt(n.off, "%d bytes are inline, of %d", inlineSize+len(rest), n.size)
	}
	data := make([]byte, 0, inlineSize+len(rest))
	data = append(data, n.blockMap()...)
	return append(data, rest...)[:n.size], nil
}

// inlineRest finds the value of system.data behind the inode's fields.
func (n *inode) inlineRest() ([]byte, error) {
	le := binary.LittleEndian
	if len(n.raw) <= 132 {
		return nil, nil
	}
	start := 128 + int(le.Uint16(n.raw[128:])) // checked when the inode was read
	if start+4 > len(n.raw) || le.Uint32(n.raw[start:]) != xattrMagic {
		return nil, nil
	}
	area := n.raw[start+4:] // offsets of values count from here
	for at := 0; at+4 <= len(area) && le.Uint32(area[at:]) != 0; {
		if at+16 > len(area) {
			return nil, n.corrupt(n.off+int64(start), "an extended attribute is cut off")
		}
		e := area[at:]
		nameLen := int(e[0])
		if 16+nameLen > len(e) {
			return nil, n.corrupt(n.off+int64(start), "the name of an extended attribute is cut off")
		}
		if e[1] == xattrSystem && string(e[16:16+nameLen]) == "data" {
			from, size := int(le.Uint16(e[2:])), le.Uint32(e[8:])
			if le.Uint32(e[4:]) != 0 || from > len(area) || size > uint32(len(area)-from) {
				return nil, n.corrupt(n.off+int64(start), "inline data lie outside of the inode")
			}
			return area[from : from+int(size)], nil
		}
		at += (16 + nameLen + 3) &^ 3
	}
	return nil, nil
}
