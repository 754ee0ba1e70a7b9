package repo

import (
	"sync"

	"github.com/zeebo/blake3"
)

// chunkKind tells data from parts of a map. Each kind is hashed under a key
// of its own, so that a disk whose content is a map cannot pass for one.
type chunkKind byte

const (
	kindData    chunkKind = 0
	kindSegment chunkKind = 1
	kindTable   chunkKind = 2

	chunkKinds = 3
)

// checkSize is the length of a run's check.
const checkSize = 16

// hashers makes keyed hashes without allocating.
type hashers struct {
	kinds [chunkKinds]sync.Pool
	check sync.Pool
}

func (h *hashers) start(chunkKey [32]byte) {
	contexts := [chunkKinds]string{kindSegment: "vitrine 1 segment", kindTable: "vitrine 1 table"}
	for kind := range h.kinds {
		key := chunkKey
		if chunkKind(kind) != kindData {
			blake3.DeriveKey(contexts[kind], chunkKey[:], key[:])
		}
		h.kinds[kind].New = newHasher(key)
	}
	var key [32]byte
	blake3.DeriveKey("vitrine 1 run check", chunkKey[:], key[:])
	h.check.New = newHasher(key)
}

func newHasher(key [32]byte) func() any {
	return func() any {
		h, err := blake3.NewKeyed(key[:])
		if err != nil {
			panic(err) // only for a key that is not 32 bytes
		}
		return h
	}
}

// hash is the keyed hash of a chunk's content.
func (h *hashers) hash(kind chunkKind, b []byte) Hash {
	x := h.kinds[kind].Get().(*blake3.Hasher)
	x.Reset()
	x.Write(b)
	var out Hash
	x.Sum(out[:0])
	h.kinds[kind].Put(x)
	return out
}

// runCheck binds a run to the hashes of its chunks.
func (h *hashers) runCheck(hashes []Hash) [checkSize]byte {
	x := h.check.Get().(*blake3.Hasher)
	x.Reset()
	for i := range hashes {
		x.Write(hashes[i][:])
	}
	var out Hash
	x.Sum(out[:0])
	h.check.Put(x)
	return [checkSize]byte(out[:checkSize])
}
