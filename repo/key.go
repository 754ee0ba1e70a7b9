package repo

import (
	"bytes"
	"context"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/crypto/argon2"
)

// KDF is the cost of argon2id; the zero value is the default of RFC 9106's
// second choice: 3 passes over 64 MiB with 4 lanes.
type KDF struct {
	Time    uint32 `json:"time"`
	Memory  uint32 `json:"memory"` // KiB
	Threads uint8  `json:"threads"`
}

// Bounds on what a key slot may ask for: a hostile one must not exhaust us.
const (
	maxKDFTime    = 16
	maxKDFMemory  = 1 << 20 // 1 GiB
	maxKDFThreads = 16
	maxKeySlots   = 64
)

func (k KDF) orDefault() KDF {
	if k == (KDF{}) {
		return KDF{Time: 3, Memory: 64 << 10, Threads: 4}
	}
	return k
}

func (k KDF) validate() error {
	if k.Time < 1 || k.Time > maxKDFTime || k.Memory < 8 || k.Memory > maxKDFMemory || k.Threads < 1 || k.Threads > maxKDFThreads {
		return fmt.Errorf("argon2id with %d passes, %d KiB, %d lanes is out of bounds", k.Time, k.Memory, k.Threads)
	}
	return nil
}

// KeySlot is what lies open of a key slot.
type KeySlot struct {
	ID      ID         `json:"id"`
	Kind    SecretKind `json:"kind"`
	Label   string     `json:"label,omitempty"`
	Created time.Time  `json:"created"`
	KDF     KDF        `json:"argon2id"`
}

// kek derives the key that wraps the master key in a slot.
func kek(s Secret, k KDF, salt []byte) (cipher.AEAD, error) {
	if err := k.validate(); err != nil {
		return nil, err
	}
	return newAEAD(cipherGCM, argon2.IDKey(s.bytes, salt, k.Time, k.Memory, k.Threads, 32))
}

// keyName is the object of a slot.
func keyName(id ID) string { return "keys/" + id.String() }

// sealKey makes the object of a key slot that s opens.
func sealKey(rand io.Reader, repo ID, slot KeySlot, s Secret, master []byte) ([]byte, error) {
	h := objectHead{Type: typeKey, Cipher: cipherGCM}
	if _, err := io.ReadFull(rand, h.Salt[:]); err != nil {
		return nil, fmt.Errorf("repo: random bytes: %w", err)
	}
	clear, err := json.Marshal(slot)
	if err != nil {
		return nil, err
	}
	a, err := kek(s, slot.KDF, h.Salt[:])
	if err != nil {
		return nil, fmt.Errorf("repo: key slot: %w", err)
	}
	return sealObject(a, repo, keyName(slot.ID), h, clear, master, false), nil
}

// parseKeySlot reads the open part of a slot.
func parseKeySlot(name string, b []byte) (KeySlot, error) {
	var h objectHead
	var slot KeySlot
	if err := h.unmarshal(b); err != nil {
		return slot, corrupt(name, err)
	}
	if h.Type != typeKey {
		return slot, corrupt(name, errors.New("not a key slot"))
	}
	if err := json.Unmarshal(b[objectHeadSize:objectHeadSize+int(h.Clear)], &slot); err != nil {
		return slot, corrupt(name, err)
	}
	if err := slot.KDF.validate(); err != nil {
		return slot, corrupt(name, err)
	}
	if keyName(slot.ID) != name {
		return slot, corrupt(name, fmt.Errorf("it says it is slot %s", slot.ID))
	}
	return slot, nil
}

// openKey gives the master key if s opens the slot.
func openKey(repo ID, name string, b []byte, s Secret) ([]byte, error) {
	slot, err := parseKeySlot(name, b)
	if err != nil {
		return nil, err
	}
	_, master, err := openObject(repo, name, b, typeKey, func(h objectHead, _ []byte) (cipher.AEAD, error) {
		if h.Cipher != cipherGCM {
			return nil, errSeal
		}
		return kek(s, slot.KDF, h.Salt[:])
	})
	if err == nil && len(master) != 32 {
		return nil, corrupt(name, errors.New("the master key has the wrong length"))
	}
	return master, err
}

// unlock tries the slots of the secret's kind, each from its first copy and
// then from its second.
func unlock(ctx context.Context, s Store, repo ID, secret Secret, recovered func(string)) ([]byte, error) {
	tried := map[string]bool{}
	var damage error
	for _, prefix := range []string{"keys/", copyName("keys/")} {
		for info, err := range s.List(ctx, prefix) {
			if err != nil {
				return nil, fmt.Errorf("repo: list %s: %w", prefix, err)
			}
			name := strings.TrimPrefix(info.Name, "copies/")
			if len(tried) >= 2*maxKeySlots {
				break
			}
			b, err := readRange(ctx, s, info.Name, 0, 64<<10)
			if err != nil {
				damage = err
				continue
			}
			slot, err := parseKeySlot(name, b)
			if err != nil {
				damage = err
				continue
			}
			key := string(b)
			if slot.Kind != secret.Kind || tried[key] {
				continue
			}
			tried[key] = true
			master, err := openKey(repo, name, b, secret)
			if err != nil {
				continue
			}
			if info.Name != name {
				recovered(fmt.Sprintf("%s is damaged or missing; its second copy was used", name))
			}
			return master, nil
		}
	}
	if len(tried) == 0 && damage != nil {
		return nil, fmt.Errorf("%w: %w", ErrWrongPassword, damage)
	}
	return nil, ErrWrongPassword
}

// Keys lists the key slots.
func (r *Repo) Keys(ctx context.Context) ([]KeySlot, error) {
	var slots []KeySlot
	seen := map[ID]bool{}
	for _, prefix := range []string{"keys/", copyName("keys/")} {
		for info, err := range r.store.List(ctx, prefix) {
			if err != nil {
				return nil, fmt.Errorf("repo: list %s: %w", prefix, err)
			}
			b, err := readRange(ctx, r.store, info.Name, 0, 64<<10)
			if err != nil {
				return nil, err
			}
			slot, err := parseKeySlot(strings.TrimPrefix(info.Name, "copies/"), b)
			if err != nil || seen[slot.ID] {
				continue // check names a damaged slot; its copy is listed instead
			}
			seen[slot.ID] = true
			slots = append(slots, slot)
		}
	}
	return slots, nil
}

// AddKey makes a key slot that secret opens.
func (r *Repo) AddKey(ctx context.Context, secret Secret, label string, k KDF) (KeySlot, error) {
	if r.keys.cipher == cipherNone {
		return KeySlot{}, errors.New("repo: a repository without encryption has no keys")
	}
	slots, err := r.Keys(ctx)
	if err != nil {
		return KeySlot{}, err
	}
	if len(slots) >= maxKeySlots {
		return KeySlot{}, fmt.Errorf("repo: there are %d key slots already", len(slots))
	}
	slot := KeySlot{Kind: secret.Kind, Label: label, Created: r.clock().UTC().Truncate(time.Second), KDF: k.orDefault()}
	if _, err := io.ReadFull(r.rand, slot.ID[:]); err != nil {
		return KeySlot{}, fmt.Errorf("repo: random bytes: %w", err)
	}
	b, err := sealKey(r.rand, r.keys.repo, slot, secret, r.keys.master)
	if err != nil {
		return KeySlot{}, err
	}
	return slot, putTwice(ctx, r.store, keyName(slot.ID), b)
}

// RemoveKey removes a key slot; the last one stays.
func (r *Repo) RemoveKey(ctx context.Context, id ID) error {
	slots, err := r.Keys(ctx)
	if err != nil {
		return err
	}
	found := false
	for _, s := range slots {
		found = found || s.ID == id
	}
	switch {
	case !found:
		return fmt.Errorf("repo: no key slot %s", id)
	case len(slots) == 1:
		return errors.New("repo: the last key slot stays, or the repository could never be opened again")
	}
	for _, name := range []string{copyName(keyName(id)), keyName(id)} {
		if err := r.store.Delete(ctx, name); err != nil {
			return fmt.Errorf("repo: delete %s: %w", name, err)
		}
	}
	return nil
}

// putTwice stores a small, vital object and its second copy.
func putTwice(ctx context.Context, s Store, name string, b []byte) error {
	for _, n := range []string{copyName(name), name} {
		if err := putBack(ctx, s, n, b); err != nil {
			return err
		}
	}
	return nil
}

// putBack stores an object without which nothing can be read, and reads it
// back: a store that lost or cut it must be found out now.
func putBack(ctx context.Context, s Store, name string, b []byte) error {
	if err := s.Put(ctx, name, b); err != nil {
		return fmt.Errorf("repo: put %s: %w", name, err)
	}
	got, err := readObject(ctx, s, name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, b) {
		return fmt.Errorf("repo: put %s: the store gives back other bytes", name)
	}
	return nil
}

// NewRecoveryKey makes a recovery key: 160 random bits and a checksum, in
// groups of four letters and digits.
func NewRecoveryKey(rand io.Reader) (Secret, string, error) {
	b := make([]byte, 20)
	if _, err := io.ReadFull(rand, b); err != nil {
		return Secret{}, "", fmt.Errorf("repo: random bytes: %w", err)
	}
	sum := sha256.Sum256(b)
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(b, sum[0], sum[1]))
	var groups []string
	for len(text) > 0 {
		n := min(4, len(text))
		groups = append(groups, text[:n])
		text = text[n:]
	}
	return NewSecret(RecoveryKey, b), strings.Join(groups, "-"), nil
}

// ParseRecoveryKey reads what NewRecoveryKey wrote, as people type it: lower
// case, spaces, and the digits that look like letters.
func ParseRecoveryKey(text string) (Secret, error) {
	clean := strings.NewReplacer("-", "", " ", "", "\n", "", "\r", "", "\t", "", "0", "O", "1", "I", "8", "B").Replace(strings.ToUpper(text))
	b, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(clean)
	if err != nil || len(b) != 22 {
		return Secret{}, errors.New("repo: this is not a recovery key: it has nine groups of letters and digits")
	}
	if sum := sha256.Sum256(b[:20]); sum[0] != b[20] || sum[1] != b[21] {
		return Secret{}, errors.New("repo: the recovery key has a typing error: its checksum is wrong")
	}
	return NewSecret(RecoveryKey, b[:20]), nil
}
