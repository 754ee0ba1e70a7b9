package fs

import (
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxName is the longest name, in bytes of UTF-8 and in units of UTF-16, that
// both Linux and Windows take.
const maxName = 255

// timeName is the name of a restore point's folder: no colons, which neither
// Windows nor Samba takes.
func timeName(t time.Time) string { return t.UTC().Format("2006-01-02T15-04-05Z") }

// safeName makes a name out of s that Linux and Windows both take: no
// separators, no characters or device names that Windows keeps for itself, no
// control or direction-changing characters, no dot or space at the end, at
// most maxName long. Different names may become equal: see names.
func safeName(s string) string { return safeNameRoom(s, 0) }

// safeNameRoom is safeName that leaves room bytes for a suffix.
func safeNameRoom(s string, room int) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune(`<>:"/\|?*`, r), unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == 0x2028, r == 0x2029:
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	s = trimEnd(s)
	if reserved(s) {
		first, _, _ := strings.Cut(s, ".")
		s = first + "_" + s[len(first):]
	}
	base, ext := splitExt(s)
	if len(ext) > 32 {
		base, ext = base+ext, ""
	}
	return trimEnd(cut(base, maxName-room-len(ext)) + ext)
}

// SafeName makes a name out of s, whatever it is, that Linux and Windows both
// take as the name of a file in a folder. Different names may become equal.
func SafeName(s string) string { return safeName(s) }

// trimEnd replaces what Windows would drop from the end of a name, and names
// that mean a directory or nothing.
func trimEnd(s string) string {
	t := strings.TrimRight(s, " .")
	if t == s && s != "" {
		return s
	}
	if t == "" {
		return "_"
	}
	return t + "_"
}

// splitExt cuts a name before its last dot; a dot in front begins no extension.
func splitExt(s string) (base, ext string) {
	if i := strings.LastIndexByte(s, '.'); i > 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

// cut shortens s to n bytes of UTF-8 and n units of UTF-16, between runes.
// UTF-8 is never shorter than UTF-16, so that bytes decide.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// reserved reports whether Windows keeps the name for a device, whatever
// follows its first dot.
func reserved(name string) bool {
	name, _, _ = strings.Cut(name, ".")
	name = strings.ToUpper(strings.TrimRight(name, " "))
	switch name {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(name, "COM")
	if !ok {
		port, ok = strings.CutPrefix(name, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.Contains("0123456789¹²³", port)
}

// fold gives the form in which names are compared where case does not count.
func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// names hands out the names of one folder. No two of them are equal on a
// system that ignores case.
type names map[string]bool

// keep takes names that the folder needs for itself.
func (n names) keep(list ...string) {
	for _, s := range list {
		n[fold(s)] = true
	}
}

// take returns a safe form of s that nobody has: "disk.vhdx", then
// "disk (2).vhdx".
func (n names) take(s string) string {
	name := safeName(s)
	for i := 2; n[fold(name)]; i++ {
		suffix := " (" + strconv.Itoa(i) + ")"
		base, ext := splitExt(safeNameRoom(s, len(suffix)))
		name = base + suffix + ext
	}
	n[fold(name)] = true
	return name
}
