package repo

import (
	"encoding/hex"
	"fmt"
	"strings"
)

// Hash is a keyed BLAKE3 of a chunk's content.
type Hash [32]byte

// ID names a repository, a lease or a restore point: 16 random bytes, written
// as 32 hex digits.
type ID [16]byte

// PointID names a restore point.
type PointID = ID

// LeaseID names a lease; the packs of a writer begin with its lease's id.
type LeaseID = ID

// PackID names a pack: the id of the lease under which it was written and 16
// random bytes.
type PackID struct{ Lease, Pack ID }

// Address is a chunk's place: its pack and its slot there.
type Address struct {
	Pack PackID `json:"pack"`
	Slot uint32 `json:"slot"`
}

// MachineID names a machine for ever: the GUID of a VM in lower case, or a
// GUID made from what else identifies it.
type MachineID string

// ParseMachineID checks that s is a GUID and brings it into its one form.
func ParseMachineID(s string) (MachineID, error) {
	t := strings.ToLower(strings.Trim(s, "{}"))
	ok := len(t) == 36
	for i := 0; ok && i < len(t); i++ {
		switch i {
		case 8, 13, 18, 23:
			ok = t[i] == '-'
		default:
			ok = strings.IndexByte("0123456789abcdef", t[i]) >= 0
		}
	}
	if !ok {
		return "", fmt.Errorf("repo: %q is not a GUID", s)
	}
	return MachineID(t), nil
}

// ParseID reads the 32 hex digits of an ID.
func ParseID(s string) (ID, error) {
	var id ID
	if err := decodeHex(id[:], s); err != nil {
		return ID{}, err
	}
	return id, nil
}

// ParsePackID reads the form that String writes.
func ParsePackID(s string) (PackID, error) {
	l, p, ok := strings.Cut(s, "/")
	if !ok {
		return PackID{}, fmt.Errorf("repo: %q is not a pack id", s)
	}
	var id PackID
	if err := decodeHex(id.Lease[:], l); err != nil {
		return PackID{}, err
	}
	if err := decodeHex(id.Pack[:], p); err != nil {
		return PackID{}, err
	}
	return id, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// String gives the pack's name below packs/.
func (p PackID) String() string { return p.Lease.String() + "/" + p.Pack.String() }

func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h is no hash.
func (h Hash) IsZero() bool { return h == Hash{} }

func (a Address) String() string { return fmt.Sprintf("%s:%d", a.Pack, a.Slot) }

// MarshalText and its kin give ids their one text form in JSON.
func (id ID) MarshalText() ([]byte, error)    { return []byte(id.String()), nil }
func (h Hash) MarshalText() ([]byte, error)   { return []byte(h.String()), nil }
func (p PackID) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
func (id *ID) UnmarshalText(b []byte) error   { return decodeHex(id[:], string(b)) }
func (h *Hash) UnmarshalText(b []byte) error  { return decodeHex(h[:], string(b)) }
func (p *PackID) UnmarshalText(b []byte) error {
	id, err := ParsePackID(string(b))
	if err == nil {
		*p = id
	}
	return err
}

func decodeHex(dst []byte, s string) error {
	if len(s) != 2*len(dst) || s != strings.ToLower(s) {
		return fmt.Errorf("repo: %q is not %d hex digits", s, 2*len(dst))
	}
	if _, err := hex.Decode(dst, []byte(s)); err != nil {
		return fmt.Errorf("repo: %q: %w", s, err)
	}
	return nil
}
