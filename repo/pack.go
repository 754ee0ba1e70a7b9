package repo

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A pack is a head of 64 bytes, the sealed directory, and the sealed slots.
const (
	packHeadSize = 64
	maxPack      = 32 << 20
	maxSlots     = 4096
	slotInfoSize = 40
)

func packName(id PackID) string { return "packs/" + id.String() }

// packHead is the first 64 bytes of a pack.
type packHead struct {
	ID        PackID
	Cipher    byte
	Epoch     uint32
	Slots     uint32
	Directory uint32 // length of the sealed directory
	Data      uint64 // length of all sealed slots
}

func (h *packHead) marshal() []byte {
	b := make([]byte, packHeadSize)
	copy(b, objectMagic)
	b[4] = formatVersion
	b[5] = byte(typePack)
	b[6] = h.Cipher
	binary.LittleEndian.PutUint32(b[8:], h.Epoch)
	binary.LittleEndian.PutUint32(b[12:], h.Slots)
	copy(b[16:], h.ID.Lease[:])
	copy(b[32:], h.ID.Pack[:])
	binary.LittleEndian.PutUint32(b[48:], h.Directory)
	binary.LittleEndian.PutUint64(b[56:], h.Data)
	return b
}

func (h *packHead) unmarshal(b []byte) error {
	switch {
	case len(b) < packHeadSize:
		return errors.New("too short for a pack")
	case string(b[:4]) != objectMagic || b[5] != byte(typePack):
		return errors.New("not a pack")
	case b[4] != formatVersion:
		return &FormatError{Version: int(b[4])}
	}
	h.Cipher = b[6]
	h.Epoch = binary.LittleEndian.Uint32(b[8:])
	h.Slots = binary.LittleEndian.Uint32(b[12:])
	copy(h.ID.Lease[:], b[16:])
	copy(h.ID.Pack[:], b[32:])
	h.Directory = binary.LittleEndian.Uint32(b[48:])
	h.Data = binary.LittleEndian.Uint64(b[56:])
	return h.validate()
}

func (h *packHead) validate() error {
	if h.Slots == 0 || h.Slots > maxSlots {
		return fmt.Errorf("%d slots", h.Slots)
	}
	if h.Directory != h.Slots*slotInfoSize+tagSize {
		return fmt.Errorf("a directory of %d bytes for %d slots", h.Directory, h.Slots)
	}
	if h.Data > maxPack+maxChunk {
		return fmt.Errorf("%d bytes of slots", h.Data)
	}
	return nil
}

// slotInfo is a directory's entry.
type slotInfo struct {
	Hash   Hash
	Stored uint32 // sealed length
	Raw    uint32 // length of the chunk
	Method method
	Kind   chunkKind
}

func appendSlotInfo(b []byte, s slotInfo) []byte {
	b = append(b, s.Hash[:]...)
	b = binary.LittleEndian.AppendUint32(b, s.Stored)
	return binary.LittleEndian.AppendUint32(b, s.Raw|uint32(s.Method)<<24|uint32(s.Kind)<<28)
}

// parseDirectory takes the opened directory of a pack apart; data is the
// length that its slots must add up to.
func parseDirectory(b []byte, data uint64) ([]slotInfo, error) {
	if len(b)%slotInfoSize != 0 || len(b) == 0 || len(b) > maxSlots*slotInfoSize {
		return nil, fmt.Errorf("a directory of %d bytes", len(b))
	}
	slots := make([]slotInfo, len(b)/slotInfoSize)
	var sum uint64
	for i := range slots {
		e := b[i*slotInfoSize:]
		s := &slots[i]
		copy(s.Hash[:], e)
		s.Stored = binary.LittleEndian.Uint32(e[32:])
		x := binary.LittleEndian.Uint32(e[36:])
		s.Raw, s.Method, s.Kind = x&maxChunk, method(x>>24&15), chunkKind(x>>28)
		if s.Stored < tagSize || s.Raw == 0 || s.Kind >= chunkKinds {
			return nil, fmt.Errorf("slot %d: %d bytes stored for %d, kind %d", i, s.Stored, s.Raw, s.Kind)
		}
		if s.Kind == kindData && (s.Raw%pageSize != 0 || s.Raw > maxChunkPages*pageSize) {
			return nil, fmt.Errorf("slot %d: a chunk of %d bytes", i, s.Raw)
		}
		sum += uint64(s.Stored)
	}
	if sum != data {
		return nil, fmt.Errorf("the slots add up to %d bytes, not %d", sum, data)
	}
	return slots, nil
}
