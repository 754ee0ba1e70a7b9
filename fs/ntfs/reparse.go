package ntfs

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
)

// reparse tags
const (
	tagMountPoint  = 0xA0000003
	tagSymlink     = 0xA000000C
	tagLxSymlink   = 0xA000001D
	tagAFUnix      = 0x80000023
	tagLxFIFO      = 0x80000024
	tagLxChar      = 0x80000025
	tagLxBlock     = 0x80000026
	tagWOF         = 0x80000017
	tagDedup       = 0x80000013
	tagSIS         = 0x80000007
	tagWIM         = 0x80000008
	tagHSM         = 0xC0000004
	tagHSM2        = 0x80000006
	tagAppExec     = 0x8000001B
	tagCloud       = 0x9000001A
	tagCloudMask   = 0xFFFF0FFF
	maxReparse     = 16 << 10
	maxInterixLink = 16 << 10
)

// link is where a symbolic link leads.
type link struct {
	target string // with slashes
	root   bool   // target begins at the volume's root
	drive  byte   // upper case; target begins at that drive's root
	unix   bool   // written by a Unix, which means it as it stands
}

// readReparse decodes the reparse point of a file: what it makes of it, and
// whether its content is elsewhere.
func (n *node) readReparse() error {
	b, err := n.value(atReparse, "", maxReparse)
	if errors.Is(err, errNoAttribute) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(b) < 8 || 8+int(le.Uint16(b[4:])) > len(b) {
		return damage(recordName(n.num), "reparse point of %d bytes", len(b))
	}
	tag, data := le.Uint32(b), b[8:8+int(le.Uint16(b[4:]))]
	switch tag {
	case tagSymlink, tagMountPoint, tagLxSymlink:
		l, err := parseLink(tag, data)
		if err != nil {
			return damage(recordName(n.num), "%v", err)
		}
		n.setLink(l)
		return nil
	case tagAFUnix:
		n.mode |= iofs.ModeSocket
	case tagLxFIFO:
		n.mode |= iofs.ModeNamedPipe
	case tagLxChar:
		n.mode |= iofs.ModeDevice | iofs.ModeCharDevice
	case tagLxBlock:
		n.mode |= iofs.ModeDevice
	case tagWOF:
		return n.readWOF(data)
	}
	if n.notice == "" && !n.isDir && n.mode.IsRegular() {
		n.notice, err = n.elsewhere(tag)
	}
	return err
}

func (n *node) setLink(l link) {
	n.link, n.isDir, n.notice = &l, false, ""
	n.mode, n.size = iofs.ModeSymlink|0o777, int64(len(l.target))
}

// elsewhere says why a regular file with a reparse point has no content to
// give, or "" when all of it lies in the file's own clusters.
func (n *node) elsewhere(tag uint32) (string, error) {
	switch tag {
	case tagDedup:
		return "deduplicated by Windows: its content is in the chunk store of the volume, which needs a Windows with that role", nil
	case tagSIS:
		return "kept by Single Instance Storage: its content is in the volume's common store", nil
	case tagWIM:
		return "kept in a WIM image outside of the volume", nil
	case tagHSM, tagHSM2:
		return "moved to remote storage: its content is not on the volume", nil
	}
	if n.size == 0 {
		return "", nil
	}
	cloud := tag&tagCloudMask == tagCloud
	if cloud && n.attrs&(attrOffline|attrRecall) == 0 || !cloud {
		s, err := n.stream(atData, "")
		if err != nil {
			return "", err
		}
		c := n.fs.geo.cluster
		if s.resident || s.init == s.size && (s.unit > 0 || !s.list.holes((s.size+c-1)/c)) {
			return "", nil
		}
	}
	if cloud {
		return "placeholder of a cloud file: its content is not on the volume, or not all of it", nil
	}
	return fmt.Sprintf("reparse point %#08x: its content is kept by a program of the guest", tag), nil
}

// parseLink decodes the target of a symbolic link or mount point.
func parseLink(tag uint32, b []byte) (link, error) {
	if tag == tagLxSymlink {
		if len(b) < 5 || le.Uint32(b) != 2 {
			return link{}, errors.New("link of WSL makes no sense")
		}
		t := strings.ToValidUTF8(string(b[4:]), "\uFFFD")
		if strings.ContainsRune(t, 0) {
			return link{}, errors.New("link of WSL with a zero")
		}
		return link{target: t, root: strings.HasPrefix(t, "/"), unix: true}, nil
	}
	head := 8
	if tag == tagSymlink {
		head = 12
	}
	if len(b) < head {
		return link{}, errors.New("link is cut off")
	}
	off, n := head+int(le.Uint16(b)), int(le.Uint16(b[2:]))
	if n%2 != 0 || off+n > len(b) {
		return link{}, fmt.Errorf("link of %d bytes at %d", n, off)
	}
	return windowsLink(string(appendText(nil, string(b[off:off+n]), false)))
}

// windowsLink understands a target as Windows writes it: `..\a`, `\a`,
// `\??\C:\a`, `\??\Volume{…}\a`, `\??\UNC\server\share`.
func windowsLink(t string) (link, error) {
	t = strings.ReplaceAll(t, `\`, "/")
	if t == "" || strings.ContainsRune(t, 0) {
		return link{}, fmt.Errorf("link to %q", t)
	}
	for _, prefix := range []string{"/??/", "//?/", "//./"} {
		if rest, ok := strings.CutPrefix(t, prefix); ok {
			return withDrive(rest), nil
		}
	}
	switch {
	case strings.HasPrefix(t, "//"):
		return link{target: "UNC" + t[1:]}, nil
	case t[0] == '/':
		return link{target: t, root: true}, nil
	}
	return withDrive(t), nil
}

// withDrive splits "C:/a"; anything else is left as a path that leads nowhere.
func withDrive(t string) link {
	if len(t) >= 2 && t[1] == ':' && (len(t) == 2 || t[2] == '/') {
		if d := t[0] &^ 0x20; d >= 'A' && d <= 'Z' {
			return link{target: string(d) + t[1:], drive: d}
		}
	}
	return link{target: strings.TrimLeft(t, "/")}
}

// readInterix recognizes the symbolic links that ntfs-3g and Windows' Services
// for Unix write: a system file that begins with a signature.
func (n *node) readInterix() error {
	const magic = "IntxLNK\x01"
	if n.attrs&attrSystem == 0 || n.link != nil || n.notice != "" || !n.mode.IsRegular() ||
		n.num < firstUser || n.size <= int64(len(magic)) || n.size > maxInterixLink || n.size%2 != 0 {
		return nil
	}
	s, err := n.stream(atData, "")
	if err != nil {
		return nil // it is found again when the file is read
	}
	b := make([]byte, n.size)
	if s.readFull(b, 0) != nil || string(b[:len(magic)]) != magic {
		return nil
	}
	target := string(appendText(nil, string(b[len(magic):]), false))
	if strings.ContainsRune(target, 0) {
		return nil
	}
	n.setLink(link{target: target, root: strings.HasPrefix(target, "/"), unix: true})
	return nil
}
