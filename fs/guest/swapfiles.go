package guest

import (
	"io"
	"slices"
	"strings"

	"vitrine/fs/part"
)

// leftFile is a file whose content is left out but for its first skip bytes;
// whole bytes of it must be on the disk.
type leftFile struct {
	name        string
	skip, whole int64
}

// minFile is the size below which a file is not worth a look.
const minFile = 1 << 20

// files returns the files of a volume that a guest makes anew: page and
// hibernation files of Windows, swap files of Linux.
func (l *planner) files(v *Volume) []leftFile {
	var list []leftFile
	if v.Type == "NTFS" {
		for _, f := range []leftFile{{name: "pagefile.sys"}, {name: "swapfile.sys"}, {name: "hiberfil.sys", skip: keptSwap}} {
			info, err := v.fs.Lstat(f.name)
			if err == nil && info.Mode().IsRegular() && info.Size() >= minFile {
				list = append(list, f)
			}
		}
	}
	for _, f := range l.all.swapFiles() {
		if f.volume != v {
			continue
		}
		if f.header.Size == 0 || f.header.Size > f.size {
			l.keep(v, f.name, "its header gives it no length, or one that is not the file's")
			continue
		}
		list = append(list, leftFile{f.name, f.header.PageSize, f.size})
	}
	return list
}

// swapFile is a swap file of Linux.
type swapFile struct {
	volume *Volume
	name   string
	size   int64
	header *part.SwapHeader
}

// swapFiles returns the swap files that the machine's Linux installations name
// in fstab, or have in the usual places.
func (v *Volumes) swapFiles() []swapFile {
	var list []swapFile
	for _, r := range v.roots {
		names := []string{"/swapfile", "/swap.img"}
		for _, m := range r.mounts {
			if m.kind == "swap" && strings.HasPrefix(m.device, "/") && !strings.HasPrefix(m.device, "/dev/") {
				names = append(names, m.device)
			}
		}
		for _, name := range names {
			volume, path := v.locate(r, name)
			if slices.ContainsFunc(list, func(f swapFile) bool { return f.volume == volume && f.name == path }) {
				continue
			}
			if size, h := readSwapFile(volume.fs, path); h != nil {
				list = append(list, swapFile{volume, path, size, h})
			}
		}
	}
	return list
}

// locate returns the volume on which a path of an installation lies, and the
// path there.
func (v *Volumes) locate(r *root, path string) (*Volume, string) {
	best, at := r.volume, "/"
	for _, m := range r.mounts {
		if len(m.at) <= len(at) || !strings.HasPrefix(path, m.at+"/") {
			continue
		}
		for _, one := range v.List {
			if one.fs != nil && m.names(one) {
				best, at = one, m.at
				break
			}
		}
	}
	return best, strings.TrimPrefix(strings.TrimPrefix(path, at), "/")
}

// readSwapFile returns the size and header of a swap file; nil where name is
// none.
func readSwapFile(fs FileSystem, name string) (int64, *part.SwapHeader) {
	// A swap file is no link: Lstat, and Extents, see the same file.
	info, err := fs.Lstat(name)
	if err != nil || !info.Mode().IsRegular() || info.Size() < minFile {
		return 0, nil
	}
	f, err := fs.Open(name)
	if err != nil {
		return 0, nil
	}
	defer f.Close()
	r, ok := f.(io.ReaderAt)
	if !ok {
		return 0, nil
	}
	h, err := part.ReadSwap(r, info.Size())
	if err != nil {
		return 0, nil
	}
	return info.Size(), h
}

// listedSwap reports whether an installation of the machine names the volume
// as swap.
func (v *Volumes) listedSwap(one *Volume) bool {
	for _, r := range v.roots {
		for _, m := range r.mounts {
			if m.kind == "swap" && m.names(one) {
				return true
			}
		}
	}
	return false
}
