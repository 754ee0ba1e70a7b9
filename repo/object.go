package repo

import (
	"bytes"
	"context"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Every object but a pack is laid out alike: a head, a clear part that storage
// hosts may read, and a sealed part. FORMAT.md has the offsets.
const (
	objectMagic    = "VITR"
	objectHeadSize = 48
	maxObject      = 256 << 20
	maxClear       = 64 << 20

	flagZstd = 1
)

// objectHead is the first 48 bytes of an object.
type objectHead struct {
	Type   objectType
	Cipher byte
	Flags  byte
	Epoch  uint32
	Clear  uint32
	Salt   [32]byte
}

func (h *objectHead) marshal() []byte {
	b := make([]byte, objectHeadSize)
	copy(b, objectMagic)
	b[4] = formatVersion
	b[5] = byte(h.Type)
	b[6] = h.Cipher
	b[7] = h.Flags
	binary.LittleEndian.PutUint32(b[8:], h.Epoch)
	binary.LittleEndian.PutUint32(b[12:], h.Clear)
	copy(b[16:], h.Salt[:])
	return b
}

func (h *objectHead) unmarshal(b []byte) error {
	switch {
	case len(b) < objectHeadSize:
		return errors.New("too short for an object")
	case string(b[:4]) != objectMagic:
		return errors.New("not an object of a repository")
	case b[4] != formatVersion:
		return &FormatError{Version: int(b[4])}
	case b[7]&^flagZstd != 0:
		return fmt.Errorf("unknown flags %#x", b[7])
	}
	h.Type, h.Cipher, h.Flags = objectType(b[5]), b[6], b[7]
	h.Epoch = binary.LittleEndian.Uint32(b[8:])
	h.Clear = binary.LittleEndian.Uint32(b[12:])
	copy(h.Salt[:], b[16:48])
	if h.Clear > maxClear || int(h.Clear) > len(b)-objectHeadSize {
		return errors.New("the clear part is longer than the object")
	}
	return nil
}

// FormatError says that an object was written by a newer program.
type FormatError struct{ Version int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("repository format %d is not known to this program", e.Version)
}

// Hint tells what to do.
func (e *FormatError) Hint() string { return "use a newer vitrine for this repository" }

// CorruptError names a damaged object and, where it is known, the place in it.
type CorruptError struct {
	Object string
	Slot   int64 // -1: not a slot
	Err    error
}

func (e *CorruptError) Error() string {
	if e.Slot >= 0 {
		return fmt.Sprintf("repo: %s slot %d is damaged: %v", e.Object, e.Slot, e.Err)
	}
	return fmt.Sprintf("repo: %s is damaged: %v", e.Object, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

func corrupt(object string, err error) error {
	return &CorruptError{Object: object, Slot: -1, Err: err}
}

// objectData binds an object's seal to its repository, its name and the parts
// that lie open.
func objectData(repo ID, name string, open []byte) []byte {
	b := make([]byte, 0, 16+4+len(name)+len(open))
	b = append(b, repo[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = append(b, name...)
	return append(b, open...)
}

// sealObject lays out an object: h.Clear and h.Flags are filled in.
func sealObject(a cipher.AEAD, repo ID, name string, h objectHead, clear, payload []byte, compress bool) []byte {
	if compress {
		h.Flags |= flagZstd
		payload = objectEncoder().EncodeAll(payload, nil)
	}
	h.Clear = uint32(len(clear))
	open := append(h.marshal(), clear...)
	out := make([]byte, len(open), len(open)+len(payload)+tagSize)
	copy(out, open)
	return a.Seal(out, make([]byte, 12), payload, objectData(repo, name, open))
}

// openObject takes an object apart again. The AEAD is made by key from the
// head and the clear part, which are hostile until the seal is open.
func openObject(repo ID, name string, b []byte, want objectType, key func(objectHead, []byte) (cipher.AEAD, error)) (clear, payload []byte, err error) {
	var h objectHead
	if err := h.unmarshal(b); err != nil {
		return nil, nil, corrupt(name, err)
	}
	if h.Type != want {
		return nil, nil, corrupt(name, fmt.Errorf("it is an object of type %q", h.Type))
	}
	end := objectHeadSize + int(h.Clear)
	clear = b[objectHeadSize:end:end]
	a, err := key(h, clear)
	if err != nil {
		return nil, nil, corrupt(name, err)
	}
	payload, err = a.Open(nil, make([]byte, 12), b[end:], objectData(repo, name, b[:end]))
	if err != nil {
		return nil, nil, corrupt(name, errSeal)
	}
	if h.Flags&flagZstd != 0 {
		if payload, err = objectDecoder().DecodeAll(payload, nil); err != nil {
			return nil, nil, corrupt(name, err)
		}
	}
	return clear, payload, nil
}

var objectEncoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		panic(err) // the options are constants
	}
	return e
})

var objectDecoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxObject))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
})

// objectKind gives the type of the objects below a prefix and the purpose of
// their keys.
func purposeOf(t objectType, epoch uint32) string {
	return fmt.Sprintf("object %c epoch %d", t, epoch)
}

// putObject seals and stores one object.
func (r *Repo) putObject(ctx context.Context, t objectType, name string, clear, payload []byte, compress bool) ([]byte, error) {
	h := objectHead{Type: t, Cipher: r.keys.cipher, Epoch: r.epoch}
	if _, err := io.ReadFull(r.rand, h.Salt[:]); err != nil {
		return nil, fmt.Errorf("repo: random bytes: %w", err)
	}
	a, err := r.keys.aead(purposeOf(t, h.Epoch), h.Salt[:])
	if err != nil {
		return nil, err
	}
	b := sealObject(a, r.keys.repo, name, h, clear, payload, compress)
	if _, again, err := r.decodeObject(t, name, b); err != nil || !bytes.Equal(again, payload) {
		return nil, fmt.Errorf("repo: %s did not read back as it was sealed (memory fault?): %w", name, err)
	}
	if err := r.store.Put(ctx, name, b); err != nil {
		return nil, fmt.Errorf("repo: put %s: %w", name, err)
	}
	return b, nil
}

// decodeObject opens the bytes of an object with the repository's keys.
func (r *Repo) decodeObject(t objectType, name string, b []byte) (clear, payload []byte, err error) {
	return openObject(r.keys.repo, name, b, t, func(h objectHead, _ []byte) (cipher.AEAD, error) {
		if h.Cipher != r.keys.cipher {
			return nil, fmt.Errorf("cipher %d where the repository has %d", h.Cipher, r.keys.cipher)
		}
		return r.keys.aead(purposeOf(t, h.Epoch), h.Salt[:])
	})
}

// getObject reads and opens one object.
func (r *Repo) getObject(ctx context.Context, t objectType, name string) (clear, payload []byte, err error) {
	b, err := readObject(ctx, r.store, name)
	if err != nil {
		return nil, nil, err
	}
	return r.decodeObject(t, name, b)
}

// readObject reads a whole object, bounded.
func readObject(ctx context.Context, s Store, name string) ([]byte, error) {
	return readRange(ctx, s, name, 0, maxObject)
}

// readRange reads at most n bytes of an object from off; fewer when it ends.
func readRange(ctx context.Context, s Store, name string, off, n int64) ([]byte, error) {
	if n <= 4<<20 {
		b := make([]byte, n)
		k, err := readFull(ctx, s, name, off, b)
		return b[:k], err
	}
	rc, err := s.Get(ctx, name, off, n)
	if err != nil {
		return nil, fmt.Errorf("repo: get %s: %w", name, err)
	}
	defer rc.Close()
	b, err := io.ReadAll(io.LimitReader(rc, n))
	if err != nil {
		return nil, fmt.Errorf("repo: get %s: %w", name, err)
	}
	return b, nil
}

// readFull reads an object from off into b and returns how much of b it filled.
func readFull(ctx context.Context, s Store, name string, off int64, b []byte) (int, error) {
	rc, err := s.Get(ctx, name, off, int64(len(b)))
	if err != nil {
		return 0, fmt.Errorf("repo: get %s: %w", name, err)
	}
	defer rc.Close()
	n, err := io.ReadFull(rc, b)
	if err != nil && err != io.ErrUnexpectedEOF && err != io.EOF {
		return n, fmt.Errorf("repo: get %s: %w", name, err)
	}
	return n, nil
}

// copyName is where the second copy of a small, vital object lies.
func copyName(name string) string { return "copies/" + name }

// isNotExist reports whether the store has no such object.
func isNotExist(err error) bool { return errors.Is(err, iofs.ErrNotExist) }

// damaged reports whether an object was there but not whole, or missing.
func damaged(err error) bool {
	var d *CorruptError
	return errors.As(err, &d) || isNotExist(err)
}

// lastPart is what follows the last slash.
func lastPart(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }
