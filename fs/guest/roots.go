package guest

import (
	"bufio"
	"bytes"
	"io"
	iofs "io/fs"
	"path"
	"strings"
)

// root is a Linux installation: the volume that holds it and what it mounts.
type root struct {
	volume *Volume
	mounts []mount
}

// mount is a line of etc/fstab.
type mount struct {
	device, at, kind string
}

const (
	maxFstab  = 64 << 10
	maxMounts = 256
)

// hasWindows reports whether a Windows is installed on the volume.
func hasWindows(v *Volume) bool {
	if v.fs == nil || v.Type != "NTFS" {
		return false
	}
	info, err := v.fs.Stat("Windows/System32/config")
	return err == nil && info.IsDir()
}

// findRoots returns the Linux installations among the volumes.
func findRoots(list []*Volume) []*root {
	var roots []*root
	for _, v := range list {
		if v.fs == nil {
			continue
		}
		if info, err := v.fs.Stat("etc"); err != nil || !info.IsDir() {
			continue
		}
		text, err := readSome(v.fs, "etc/fstab", maxFstab)
		if err != nil {
			if _, err := v.fs.Lstat("etc/os-release"); err != nil {
				continue
			}
		}
		roots = append(roots, &root{v, parseFstab(text)})
	}
	return roots
}

// readSome reads a regular file up to n bytes.
func readSome(fs FileSystem, name string, n int64) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, &iofs.PathError{Op: "read", Path: name, Err: iofs.ErrInvalid}
	}
	return io.ReadAll(io.LimitReader(f, n))
}

func parseFstab(text []byte) []mount {
	var list []mount
	for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan() && len(list) < maxMounts; {
		w := strings.Fields(s.Text())
		if len(w) < 3 || strings.HasPrefix(w[0], "#") {
			continue
		}
		list = append(list, mount{unescape(w[0]), path.Clean(unescape(w[1])), w[2]})
	}
	return list
}

// unescape resolves the octal escapes of fstab: \040 is a blank.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && octal(s[i+1]) && octal(s[i+2]) && octal(s[i+3]) {
			b.WriteByte((s[i+1]-'0')<<6 | (s[i+2]-'0')<<3 | (s[i+3] - '0'))
			i += 3
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func octal(c byte) bool { return c >= '0' && c <= '7' }

// names reports whether a line of fstab names the volume. Device names that
// the kernel gives out by order (/dev/sda1) name nothing here.
func (m mount) names(v *Volume) bool {
	tag, value, ok := strings.Cut(m.device, "=")
	if rest, dev := strings.CutPrefix(m.device, "/dev/disk/by-"); dev {
		if tag, value, ok = strings.Cut(rest, "/"); ok {
			tag = strings.ToUpper(tag)
		}
	}
	if !ok || strings.HasPrefix(tag, "/") {
		if v.Logical == "" {
			return false
		}
		double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
		return m.device == "/dev/"+v.Group+"/"+v.Logical || m.device == "/dev/mapper/"+double(v.Group)+"-"+double(v.Logical)
	}
	value = strings.Trim(value, `"'`)
	if value == "" {
		return false
	}
	switch tag {
	case "UUID":
		return strings.EqualFold(value, v.UUID)
	case "LABEL":
		return value == v.Label
	case "PARTUUID":
		return strings.EqualFold(value, v.from.partID)
	case "PARTLABEL":
		return value == v.from.partName
	}
	return false
}

// mountedAt returns the name of the place where a Linux of the machine mounts
// the volume: root, boot, var-lib; "" where none does.
func (v *Volumes) mountedAt(one *Volume) string {
	for _, r := range v.roots {
		if r.volume == one {
			return "root"
		}
	}
	if one.fs == nil {
		return ""
	}
	for _, r := range v.roots {
		for _, m := range r.mounts {
			if strings.HasPrefix(m.at, "/") && m.at != "/" && m.names(one) {
				return strings.ReplaceAll(strings.Trim(m.at, "/"), "/", "-")
			}
		}
	}
	return ""
}
