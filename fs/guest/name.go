package guest

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"vitrine/fs/part"
)

// name gives every volume its folder.
func (v *Volumes) name(disks []Disk) {
	taken := map[string]bool{}
	windows := false
	for _, one := range v.List {
		base, detail := "", ""
		switch {
		case one.Logical != "":
			base, detail = one.Logical, one.Group+"-"+one.Logical
		case one.from.disk > 0:
			detail = one.Disk
		}
		isWindows := hasWindows(one)
		if isWindows {
			detail = strings.TrimSpace("Windows " + detail)
		}
		mounted := v.mountedAt(one)
		switch {
		case isWindows && !windows:
			base, windows = "C", true
		case mounted != "":
			base = mounted
		case base == "":
			base = one.plainName()
		}
		kind := one.Type
		if strings.HasPrefix(kind, "FAT") {
			kind = "FAT"
		}
		if kind == "" {
			kind = "unknown"
		}
		one.Folder = unique(taken, safe(base), "("+safe(strings.TrimSpace(kind+" "+detail))+")")
	}
}

// plainName is the name of a volume that only has its place: 1-EFI, 2-Data.
func (v *Volume) plainName() string {
	what := v.Label
	switch {
	case v.from.partType.EFI():
		what = "EFI"
	case what == "" && v.from.partType.Role() == part.Swap:
		what = "swap"
	case what == "" && v.from.partType.String() == "Windows recovery":
		what = "Recovery"
	case what == "" && v.from.partName != "" && !strings.EqualFold(v.from.partName, "Basic data partition"):
		what = v.from.partName
	}
	if v.Partition == 0 {
		if what == "" {
			what = v.Disk
		}
		return what
	}
	if what == "" {
		return strconv.Itoa(v.Partition)
	}
	return strconv.Itoa(v.Partition) + "-" + what
}

// maxBase is as much of a label as a folder shows.
const maxBase = 80

// safe makes a part of a name that Linux and Windows both take.
func safe(s string) string {
	s = strings.Map(func(r rune) rune {
		if strings.ContainsRune(`<>:"/\|?*`, r) || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == 0x2028 || r == 0x2029 {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	if len(s) > maxBase {
		n := maxBase
		for !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if s = strings.Trim(s, " "); s == "" || strings.Trim(s, ".") == "" {
		return "_"
	}
	return s
}

// unique returns a folder's name that no other has where case does not count.
// It ends in a bracket and has a blank in it, so that it never is a name that
// Windows keeps for a device, nor one that it cuts.
func unique(taken map[string]bool, base, bracket string) string {
	name := base + " " + bracket
	if device(base) {
		name = base + "_ " + bracket
	}
	for i := 2; taken[fold(name)]; i++ {
		name = fmt.Sprintf("%s %s (%d)", base, bracket, i)
	}
	taken[fold(name)] = true
	return name
}

func fold(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// device reports whether Windows takes what stands before the first dot for a
// device, whatever follows behind blanks.
func device(s string) bool {
	s, _, _ = strings.Cut(s, ".")
	s = strings.ToUpper(strings.TrimRight(s, " "))
	switch s {
	case "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$":
		return true
	}
	port, ok := strings.CutPrefix(s, "COM")
	if !ok {
		port, ok = strings.CutPrefix(s, "LPT")
	}
	return ok && utf8.RuneCountInString(port) == 1 && strings.Contains("0123456789¹²³", port)
}
