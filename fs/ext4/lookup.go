package ext4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	iofs "io/fs"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// lookup finds a name in a folder; iofs.ErrNotExist when it is not there.
func (fsys *FS) lookup(ctx context.Context, dir *inode, name string) (entry, error) {
	if !dir.has(flagEncrypted) {
		return fsys.lookupPlain(ctx, dir, name)
	}
	hash, ok := opaqueHash(name)
	if !ok {
		return entry{}, iofs.ErrNotExist
	}
	return fsys.find(ctx, dir,
		func(version uint8) (uint32, bool) {
			return hash, version == fsys.super.hashDefault && !dir.has(flagCasefold)
		},
		func(e entry) bool { return fsys.opaqueName(dir, e.name) == name })
}

func (fsys *FS) lookupPlain(ctx context.Context, dir *inode, name string) (entry, error) {
	if len(name) > 255 {
		return entry{}, iofs.ErrNotExist
	}
	hashOf := func(hashed []byte) func(uint8) (uint32, bool) {
		return func(version uint8) (uint32, bool) {
			hash, _, ok := fsys.super.nameHash(version, hashed)
			return hash, ok
		}
	}
	exact := func(e entry) bool { return string(e.name) == name }
	if !dir.has(flagCasefold) {
		return fsys.find(ctx, dir, hashOf([]byte(name)), exact)
	}
	// The index has the hashes of folded names. Where Unicode changed its
	// mind since the volume was made, only searching all of the folder helps.
	folded := fold([]byte(name))
	same := func(e entry) bool { return exact(e) || bytes.Equal(fold(e.name), folded) }
	e, err := fsys.find(ctx, dir, hashOf(folded), same)
	if err == iofs.ErrNotExist && dir.has(flagIndex) && !ascii(name) {
		e, err = fsys.scanFor(ctx, dir, same)
	}
	return e, err
}

// find looks for a name with the index of the folder if it has one, else in
// all of it. That an index has no such name is believed only if it has
// checksums.
func (fsys *FS) find(ctx context.Context, dir *inode, hashOf func(uint8) (uint32, bool), match func(entry) bool) (entry, error) {
	if dir.has(flagIndex) && !dir.has(flagInlineData) && fsys.super.hasCompat(compatDirIndex) {
		e, found, err := fsys.search(ctx, dir, hashOf, match)
		switch {
		case err == nil && found:
			return e, nil
		case err == nil && fsys.super.checksums():
			return entry{}, iofs.ErrNotExist
		case err != nil && err != errNoIndex && !isDamage(err):
			return entry{}, err
		}
	}
	return fsys.scanFor(ctx, dir, match)
}

// scanFor looks at every entry of a folder. Damage matters only if the name is
// nowhere else.
func (fsys *FS) scanFor(ctx context.Context, dir *inode, match func(entry) bool) (entry, error) {
	s := fsys.newScan(dir)
	var list []entry
	var damage error
	for {
		var err error
		list, err = s.entries(ctx, list[:0])
		for _, e := range list {
			if match(e) {
				return e, nil
			}
		}
		switch {
		case err == io.EOF && damage != nil:
			return entry{}, damage
		case err == io.EOF:
			return entry{}, iofs.ErrNotExist
		case err != nil && !isDamage(err):
			return entry{}, err
		case err != nil && damage == nil:
			damage = err
		}
	}
}

// fold returns what names have in common that differ only in case or in how
// their accents are put together. Names that are not UTF-8 are left alone.
func fold(name []byte) []byte {
	if !utf8.Valid(name) {
		return name
	}
	return norm.NFD.Bytes(cases.Fold().Bytes(norm.NFD.Bytes(name)))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// The name that the kernel shows for an encrypted one when it has no key: the
// hashes of the index, then the name as stored, or its start and the SHA-256 of
// its rest, in base64.
const opaqueLen = 149 // bytes of the name that are shown as they are

func (fsys *FS) opaqueName(dir *inode, name []byte) string {
	le := binary.LittleEndian
	var hash, minor uint32
	if version, ok := fsys.hashVersion(dir); ok {
		hash, minor, _ = fsys.super.nameHash(version, name)
	}
	b := make([]byte, 8, 8+opaqueLen+sha256.Size)
	le.PutUint32(b, hash)
	le.PutUint32(b[4:], minor)
	b = append(b, name[:min(len(name), opaqueLen)]...)
	if len(name) > opaqueLen {
		sum := sha256.Sum256(name[opaqueLen:])
		b = append(b, sum[:]...)
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

// opaqueHash is the hash in a name that opaqueName made.
func opaqueHash(name string) (uint32, bool) {
	b, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil || len(b) <= 8 {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

// hashVersion is the hash function of an encrypted folder; ok is false when
// the kernel reads it without one.
func (fsys *FS) hashVersion(dir *inode) (version uint8, ok bool) {
	indexed := dir.has(flagIndex|flagInlineData) || fsys.blockCount(dir) == 1
	return fsys.super.hashDefault, indexed && fsys.super.hasCompat(compatDirIndex)
}
