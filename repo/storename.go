package repo

import (
	"fmt"
	iofs "io/fs"
	"strings"
)

const maxStoreName = 1024 // bytes; the limit of S3 keys

// CheckStoreName tells whether a Store may hold an object of this name; what
// is refused wraps fs.ErrInvalid. Beyond the alphabet it refuses what some
// store could not hold or would mistake: elements that are empty or begin or
// end with a dot, the names of Windows devices, files that desktops leave in
// every folder, and the folder tmp, where stores on disk keep what is not yet
// whole.
func CheckStoreName(name string) error {
	if name == "" || len(name) > maxStoreName {
		return fmt.Errorf("repo: name of %d bytes: %w", len(name), iofs.ErrInvalid)
	}
	first := true
	for e := range strings.SplitSeq(name, "/") {
		if !validElement(e) || first && e == "tmp" {
			return fmt.Errorf("repo: name %q: %w", name, iofs.ErrInvalid)
		}
		first = false
	}
	return nil
}

func validElement(e string) bool {
	if e == "" || len(e) > 255 || e[0] == '.' || e[len(e)-1] == '.' {
		return false
	}
	for i := range len(e) {
		c := e[i]
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-' || c == 'T' || c == 'Z') {
			return false
		}
	}
	if e == "Thumbs.db" || e == "desktop.ini" {
		return false
	}
	stem, _, _ := strings.Cut(strings.ToLower(e), ".")
	switch stem {
	case "con", "prn", "aux", "nul":
		return false
	}
	if len(stem) == 4 && (stem[:3] == "com" || stem[:3] == "lpt") && '0' <= stem[3] && stem[3] <= '9' {
		return false
	}
	return true
}
