package folder

import (
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// winParts splits a path as Windows writes it into its components, without
// drive, share, device and dots. What cannot be a path of an ordinary file
// gives nothing.
func winParts(p string) []string {
	if len(p) > 32<<10 || !utf8.ValidString(p) {
		return nil
	}
	p = strings.ReplaceAll(p, "/", `\`)
	switch {
	case strings.HasPrefix(p, `\\?\UNC\`):
		p = afterParts(p[8:], 2)
	case strings.HasPrefix(p, `\\?\Volume{`):
		p = afterParts(p[4:], 1)
	case strings.HasPrefix(p, `\\?\`):
		p = p[4:]
	case strings.HasPrefix(p, `\\.\`):
		return nil
	case strings.HasPrefix(p, `\\`):
		p = afterParts(p[2:], 2)
	}
	if len(p) >= 2 && p[1] == ':' {
		p = p[2:]
	}
	var parts []string
	for part := range strings.SplitSeq(p, `\`) {
		switch {
		case part == "" || part == ".":
		case part == "..":
			return nil
		case strings.ContainsFunc(part, func(r rune) bool { return unicode.IsControl(r) || strings.ContainsRune(`:*?"<>|`, r) }):
			return nil
		default:
			parts = append(parts, part)
		}
	}
	return parts
}

// afterParts drops the first n components: server and share, or a volume.
func afterParts(p string, n int) string {
	for range n {
		_, p, _ = strings.Cut(p, `\`)
	}
	return p
}

// baseName is the last component of a Windows path; "" when it has none.
func baseName(p string) string {
	parts := winParts(p)
	if len(parts) == 0 {
		// A relative path that climbs still names a file.
		if i := strings.LastIndexAny(p, `\/`); i >= 0 && !strings.HasPrefix(p, `\\.\`) {
			return baseName(p[i+1:])
		}
		return ""
	}
	return parts[len(parts)-1]
}

// samePlace reports whether a file of the folder may be what a host knew as
// the path with these components: the folder was a part of that host's drive,
// or the drive lies somewhere in the folder. A name alone is not enough.
func samePlace(file string, want []string) bool {
	have := strings.Split(file, "/")
	n := min(len(have), len(want))
	if n < 2 {
		return false
	}
	return slices.EqualFunc(have[len(have)-n:], want[len(want)-n:], strings.EqualFold)
}

// formatOf is the format of a disk by its file's extension; "" for files that
// are no disks.
func formatOf(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".vhdx", ".avhdx":
		return formatVHDX
	case ".vhd", ".avhd":
		return formatVHD
	case ".raw", ".img":
		return formatRaw
	}
	return ""
}

const (
	formatVHDX = "vhdx"
	formatVHD  = "vhd"
	formatRaw  = "raw"
)

// isConfiguration and isState sort the files of a machine by extension. Change
// tracking (.rct, .mrt) is neither: beside another disk it would be wrong.
func isConfiguration(name string) bool {
	ext := strings.ToLower(path.Ext(name))
	return ext == ".vmcx" || ext == ".xml"
}

func isState(name string) bool {
	return slices.Contains([]string{".vmrs", ".vmgs", ".bin", ".vsv"}, strings.ToLower(path.Ext(name)))
}

func stem(name string) string { return strings.TrimSuffix(path.Base(name), path.Ext(name)) }

// rootStem is the name of a disk without what Hyper-V adds for checkpoints:
// "os_6A1B….avhdx" is "os".
func rootStem(name string) string {
	s := stem(name)
	if !strings.HasPrefix(strings.ToLower(path.Ext(name)), ".avhd") {
		return s
	}
	if i := len(s) - 37; i > 0 && s[i] == '_' && isGUID(s[i+1:]) {
		return s[:i]
	}
	return s
}

func isGUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, r := range strings.ToLower(s) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (r == '-') || !dash && !strings.ContainsRune("0123456789abcdef", r) {
			return false
		}
	}
	return true
}

// diskFileName makes the name of a disk in a restore point: one path element
// on every system, ending in .vhdx.
func diskFileName(s string) string {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || strings.ContainsRune(`<>:"/\|?*`, r) {
			return '_'
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
	clean = strings.Trim(clean, " ")
	for len(clean) > 180 {
		clean = strings.ToValidUTF8(clean[:180], "")
	}
	if clean == "" {
		clean = "disk"
	}
	device, _, _ := strings.Cut(strings.ToUpper(clean), ".")
	if slices.Contains([]string{"CON", "PRN", "AUX", "NUL"}, device) || len(device) == 4 && device[3] >= '0' && device[3] <= '9' &&
		(strings.HasPrefix(device, "COM") || strings.HasPrefix(device, "LPT")) {
		clean = "_" + clean
	}
	return clean + ".vhdx"
}

// uniqueName gives a disk a name that is not taken, letter case aside. place
// tells disks of one name apart in a way that lasts.
func uniqueName(taken map[string]bool, s, place string) string {
	name := diskFileName(s)
	if taken[strings.ToLower(name)] {
		name = diskFileName(s + " " + place)
	}
	for taken[strings.ToLower(name)] {
		place += "+"
		name = diskFileName(s + " " + place)
	}
	taken[strings.ToLower(name)] = true
	return name
}
