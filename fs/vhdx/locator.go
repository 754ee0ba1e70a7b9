package vhdx

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"vitrine/fs/disk"
)

// locatorType is the one type of parent locator that [MS-VHDX] 2.6.2.6 knows.
var locatorType = disk.GUID{0xb7, 0xef, 0x4a, 0xb0, 0x9e, 0xd1, 0x81, 0x4a, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13}

const (
	locatorHeadBytes  = 20
	locatorEntryBytes = 12
	maxLocatorKey     = 256 // bytes; the longest known key has 38
)

// Parent is what a differencing disk says of its parent. The paths are text
// from a disk, written for the host that made it: they are never to be opened
// as they are. BaseNames gives what is safe to look for.
type Parent struct {
	Linkage      disk.GUID // data write id of the parent
	Linkage2     disk.GUID // another one that is accepted, while Hyper-V merges; or zero
	RelativePath string
	VolumePath   string
	AbsolutePath string
}

// Accepts reports whether a disk with that data write id is the parent.
func (p Parent) Accepts(dataWriteID disk.GUID) bool {
	return dataWriteID == p.Linkage || !p.Linkage2.IsZero() && dataWriteID == p.Linkage2
}

// BaseNames returns the names that the parent's file may have, without any
// folder, drive, share or device, best first and each once. Names that no file
// can have on Windows are left out.
func (p Parent) BaseNames() []string {
	var names []string
	for _, path := range []string{p.RelativePath, p.VolumePath, p.AbsolutePath} {
		name := path[strings.LastIndexAny(path, `\/`)+1:]
		if !isFileName(name) {
			continue
		}
		known := false
		for _, n := range names {
			known = known || strings.EqualFold(n, name)
		}
		if !known {
			names = append(names, name)
		}
	}
	return names
}

// deviceNames are devices on Windows whatever folder and extension they are
// given, besides COM0 to COM9 and LPT0 to LPT9.
var deviceNames = []string{"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"}

func isFileName(name string) bool {
	if name == "" || len(name) > 765 || !utf8.ValidString(name) || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
		return false
	}
	stem, _, _ := strings.Cut(name, ".")
	stem = strings.ToUpper(strings.TrimRight(stem, " "))
	if slices.Contains(deviceNames, stem) {
		return false
	}
	if rest, found := strings.CutPrefix(strings.Replace(stem, "LPT", "COM", 1), "COM"); found && utf8.RuneCountInString(rest) == 1 && strings.ContainsAny(rest, "0123456789¹²³") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || r == unicode.ReplacementChar || strings.ContainsRune(`:*?"<>|`, r)
	})
}

// decodeLocator reads a parent locator. Unknown keys are left alone.
func decodeLocator(b []byte) (Parent, error) {
	if len(b) < locatorHeadBytes {
		return Parent{}, fmt.Errorf("%d bytes long", len(b))
	}
	if id := disk.GUID(b[:16]); id != locatorType {
		return Parent{}, fmt.Errorf("unknown type %s", id)
	}
	count := int(binary.LittleEndian.Uint16(b[18:]))
	if locatorHeadBytes+count*locatorEntryBytes > len(b) {
		return Parent{}, fmt.Errorf("%d keys in %d bytes", count, len(b))
	}

	var p Parent
	var linkage, linkage2 string
	known := map[string]*string{
		"parent_linkage":      &linkage,
		"parent_linkage2":     &linkage2,
		"relative_path":       &p.RelativePath,
		"volume_path":         &p.VolumePath,
		"absolute_win32_path": &p.AbsolutePath,
	}
	for i := range count {
		e := b[locatorHeadBytes+i*locatorEntryBytes:][:locatorEntryBytes]
		keyLength := binary.LittleEndian.Uint16(e[8:])
		key, err := locatorBytes(b, binary.LittleEndian.Uint32(e), keyLength)
		if err != nil {
			return Parent{}, fmt.Errorf("key %d: %w", i, err)
		}
		value, err := locatorBytes(b, binary.LittleEndian.Uint32(e[4:]), binary.LittleEndian.Uint16(e[10:]))
		if err != nil {
			return Parent{}, fmt.Errorf("value %d: %w", i, err)
		}
		if keyLength > maxLocatorKey {
			continue
		}
		name := decodeUTF16(key)
		field, ok := known[name]
		if !ok {
			continue
		}
		if field == nil {
			return Parent{}, fmt.Errorf("key %s is there twice", name)
		}
		*field = decodeUTF16(value)
		known[name] = nil
	}

	var err error
	if p.Linkage, err = disk.ParseGUID(linkage); err != nil {
		return Parent{}, fmt.Errorf("parent_linkage: %w", err)
	}
	if linkage2 != "" {
		if p.Linkage2, err = disk.ParseGUID(linkage2); err != nil {
			return Parent{}, fmt.Errorf("parent_linkage2: %w", err)
		}
	}
	return p, nil
}

// locatorBytes returns a string of the locator, still in UTF-16.
func locatorBytes(b []byte, off uint32, length uint16) ([]byte, error) {
	if uint64(off)+uint64(length) > uint64(len(b)) {
		return nil, fmt.Errorf("%d bytes at %d of %d", length, off, len(b))
	}
	if length%2 != 0 {
		return nil, fmt.Errorf("UTF-16 of odd length %d", length)
	}
	return b[off:][:length], nil
}

// decodeUTF16 drops zeros at the end, which some writers count in.
func decodeUTF16(b []byte) string {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return strings.TrimRight(string(utf16.Decode(units)), "\x00")
}
