package repo

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/zeebo/blake3"
)

// formatVersion is written into every object; a reader refuses any other.
const formatVersion = 1

// objectType says what an object is; it is bound by its seal, so that no
// object can pass for one of another type.
type objectType byte

const (
	typeConfig    objectType = 'C'
	typeKey       objectType = 'K'
	typePack      objectType = 'P'
	typeIndex     objectType = 'I'
	typePoint     objectType = 'R'
	typeNote      objectType = 'N'
	typeLease     objectType = 'L'
	typeCondemned objectType = 'D'
	typeMoved     objectType = 'M'
)

// Ciphers, as the header of an object names them.
const (
	cipherNone = 0 // no secrecy; a BLAKE3 under a key that everybody can derive
	cipherGCM  = 1 // AES-256-GCM
)

const tagSize = 16

// directoryNonce is the nonce of a pack's directory; slots use their number.
const directoryNonce = 1<<32 - 1

// keyring holds what is derived from the master key.
type keyring struct {
	repo     ID
	cipher   byte
	master   []byte   // 32 bytes; with cipherNone derived from the repository's id
	seed     uint64   // of the page hash that decides cuts; never rotated
	chunkKey [32]byte // of the chunk hash; never rotated
}

// derive gives the 32-byte key for a purpose.
func (k *keyring) derive(purpose string, salt []byte) ([]byte, error) {
	info := append([]byte("vitrine 1 "+purpose+"\x00"), k.repo[:]...)
	return hkdf.Key(sha256.New, k.master, salt, string(info), 32)
}

// aead gives the sealer of one object or pack.
func (k *keyring) aead(purpose string, salt []byte) (cipher.AEAD, error) {
	key, err := k.derive(purpose, salt)
	if err != nil {
		return nil, err
	}
	return newAEAD(k.cipher, key)
}

func newAEAD(kind byte, key []byte) (cipher.AEAD, error) {
	switch kind {
	case cipherGCM:
		b, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCM(b)
	case cipherNone:
		h, err := blake3.NewKeyed(key)
		if err != nil {
			return nil, err
		}
		return &openAEAD{h: h}, nil
	}
	return nil, fmt.Errorf("unknown cipher %d", kind)
}

// packAEAD seals the slots and the directory of one pack.
func (k *keyring) packAEAD(epoch uint32, id PackID) (cipher.AEAD, error) {
	return k.aead(fmt.Sprintf("pack epoch %d", epoch), append(id.Lease[:], id.Pack[:]...))
}

// slotNonce is unique in a pack, and every pack has its own key.
func slotNonce(slot uint32) []byte {
	n := make([]byte, 12)
	binary.BigEndian.PutUint32(n[8:], slot)
	return n
}

// slotData is the additional data of a slot: where it belongs.
func (k *keyring) slotData(id PackID, slot uint32) []byte {
	b := make([]byte, 0, 54)
	b = append(b, formatVersion, byte(typePack))
	b = append(b, k.repo[:]...)
	b = append(b, id.Lease[:]...)
	b = append(b, id.Pack[:]...)
	return binary.BigEndian.AppendUint32(b, slot)
}

var errSeal = errors.New("the seal is broken")

// openAEAD is the sealer of a repository without encryption: the bytes stay
// as they are, and a tag tells damage (but not tampering: anybody can make it).
type openAEAD struct{ h *blake3.Hasher }

func (a *openAEAD) NonceSize() int { return 12 }
func (a *openAEAD) Overhead() int  { return tagSize }

func (a *openAEAD) tag(nonce, text, data []byte) [tagSize]byte {
	h := a.h.Clone()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(data)))
	h.Write(nonce)
	h.Write(n[:])
	h.Write(data)
	h.Write(text)
	var t [32]byte
	h.Sum(t[:0])
	return [tagSize]byte(t[:tagSize])
}

func (a *openAEAD) Seal(dst, nonce, text, data []byte) []byte {
	t := a.tag(nonce, text, data)
	return append(append(dst, text...), t[:]...)
}

func (a *openAEAD) Open(dst, nonce, sealed, data []byte) ([]byte, error) {
	if len(sealed) < tagSize {
		return nil, errSeal
	}
	text := sealed[:len(sealed)-tagSize]
	t := a.tag(nonce, text, data)
	if subtle.ConstantTimeCompare(t[:], sealed[len(text):]) != 1 {
		return nil, errSeal
	}
	return append(dst, text...), nil
}
