package backup

import (
	"slices"
	"strings"
)

// fileName brings a machine's or checkpoint's name into a form that is one
// path element on every system.
func fileName(s string) string {
	clean := strings.Map(func(c rune) rune {
		if c < 0x20 || c == 0x7f || strings.ContainsRune(`<>:"/\|?*`, c) {
			return '_'
		}
		return c
	}, strings.ToValidUTF8(s, "_"))
	clean = strings.TrimRight(strings.TrimLeft(clean, " "), " .")
	stem, _, _ := strings.Cut(strings.ToUpper(clean), ".")
	reserved := slices.Contains([]string{"CON", "PRN", "AUX", "NUL"}, stem) ||
		len(stem) == 4 && (strings.HasPrefix(stem, "COM") || strings.HasPrefix(stem, "LPT")) && stem[3] >= '0' && stem[3] <= '9'
	if clean == "" || reserved {
		clean = "_" + clean
	}
	const most = 200
	for len(clean) > most {
		clean = strings.ToValidUTF8(clean[:most], "")
	}
	return clean
}
