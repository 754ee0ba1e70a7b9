package ntfs

import (
	"errors"

	iofs "io/fs"
)

const maxEA = 64 << 10

// linuxOwner is what WSL keeps of a file in its extended attributes.
type linuxOwner struct {
	uid, gid uint32
}

// readOwner takes owner and mode from the extended attributes of WSL.
func (n *node) readOwner() error {
	b, err := n.value(atEA, "", maxEA)
	if errors.Is(err, errNoAttribute) {
		return nil
	}
	if err != nil {
		return err
	}
	var o linuxOwner
	have := 0
	for len(b) > 0 {
		if len(b) < 8 {
			return damage(recordName(n.num), "extended attributes are cut off")
		}
		next, name, value := int(le.Uint32(b)), int(b[5]), int(le.Uint16(b[6:]))
		if 8+name+1+value > len(b) || next < 0 || next > len(b) {
			return damage(recordName(n.num), "extended attribute of %d and %d bytes", name, value)
		}
		if v := b[8+name+1:]; value == 4 {
			switch string(b[8 : 8+name]) {
			case "$LXUID":
				o.uid = le.Uint32(v)
				have |= 1
			case "$LXGID":
				o.gid = le.Uint32(v)
				have |= 2
			case "$LXMOD":
				n.mode = n.mode&iofs.ModeType | unixMode(le.Uint32(v))
			}
		}
		if next == 0 {
			break
		}
		if next < 9 {
			return damage(recordName(n.num), "extended attribute of %d bytes", next)
		}
		b = b[next:]
	}
	if have == 3 {
		n.owner = &o
	}
	return nil
}

// unixMode converts the permissions of a Unix mode.
func unixMode(m uint32) iofs.FileMode {
	mode := iofs.FileMode(m & 0o777)
	for _, bit := range []struct {
		unix uint32
		mode iofs.FileMode
	}{{0o4000, iofs.ModeSetuid}, {0o2000, iofs.ModeSetgid}, {0o1000, iofs.ModeSticky}} {
		if m&bit.unix != 0 {
			mode |= bit.mode
		}
	}
	return mode
}
