package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// applyList takes a list of options as mount(8) and fstab pass them behind -o:
// ours, those that the system understands, and those that are meant for
// others and say nothing to us.
func (o *mountOptions) applyList(f *repoFlags, list string) error {
	for _, opt := range splitList(list) {
		name, value, has := strings.Cut(opt, "=")
		name = strings.ReplaceAll(name, "_", "-")
		var err error
		switch {
		case opt == "" || ignored(name):
		case name == "allow-other" && !has:
			o.allowOther = true
		case name == "nonempty" && !has:
			o.nonEmpty = true
		case name == "background" && !has:
			o.background = true
		case name == "foreground" && !has:
			o.background = false
		case name == "sparse" && (value == "yes" || value == "no"):
			o.full = value == "no"
		case name == "uid":
			o.uid, err = number(value, 10)
		case name == "gid":
			o.gid, err = number(value, 10)
		case name == "umask":
			var n *int
			if n, err = number(value, 8); err == nil {
				o.umask = uint32(*n) & 0o777
			}
		case !has || value == "":
			o.forward = append(o.forward, opt)
		case name == "vm":
			o.machines = append(o.machines, value)
		case name == "password-file":
			f.secret.passwordFile = value
		case name == "password-command":
			f.secret.passwordCommand = value
		case name == "key-file":
			f.secret.keyFile = value
		case name == "recovery-key-file":
			f.secret.recoveryKeyFile = value
		case name == "cache-dir":
			f.cacheDir = value
		default:
			o.forward = append(o.forward, opt)
		}
		if err != nil {
			return &usageError{fmt.Errorf("-o %s: %w", opt, err), ""}
		}
	}
	return nil
}

// splitList cuts at commas; a comma behind a backslash is part of a value.
func splitList(s string) []string {
	var out []string
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ',' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		case s[i] == ',':
			out = append(out, b.String())
			b.Reset()
		default:
			b.WriteByte(s[i])
		}
	}
	return append(out, b.String())
}

// ignored tells options for mount(8), systemd and others. A mount is always
// read-only, without devices and without set-user-id programs.
func ignored(name string) bool {
	return strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-") || strings.HasPrefix(name, "comment") ||
		slices.Contains([]string{
			"rw", "ro", "dev", "nodev", "suid", "nosuid", "exec", "noexec", "auto", "noauto",
			"user", "nouser", "users", "owner", "group", "-netdev", "nofail", "defaults", "async", "noatime", "relatime",
		}, name)
}

func number(s string, base int) (*int, error) {
	n, err := strconv.ParseUint(s, base, 31)
	if err != nil {
		return nil, fmt.Errorf("%q is no number", s)
	}
	v := int(n)
	return &v, nil
}
