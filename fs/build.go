package fs

import (
	"slices"
	"strings"
	"time"

	"vitrine/repo"
)

const (
	vhdxExt      = ".vhdx"
	rawExt       = ".raw"
	maxDepth     = 16 // folders below config/; what lies deeper is shown at that depth
	pointFile    = "restore-point.json"
	rawDir       = "raw"
	configDir    = "config"
	checkpoints  = "checkpoints"
	guestDirName = "guest"
	vmFile       = "vm.json"
	emptyJSONDoc = "null"
)

// builder makes the folders of one restore point. The names in it come from
// the machine and are made safe; the same restore point gives the same names.
type builder struct {
	t     *Tree
	rp    *repo.RestorePoint
	scope string // of inode numbers
}

func buildPoint(t *Tree, rp *repo.RestorePoint, salt string) *folder {
	b := builder{t, rp, salt + rp.ID.String()}
	root := newFolder(inode(b.scope, ""), rp.Time)
	root.names.keep(rawDir, configDir, checkpoints, guestDirName, pointFile, errorName)
	b.disks(root, "", rp.Disks)
	b.guest(root, "", rp.Disks, rp.Time)
	b.config(root, "", rp.Files, rp.VM, rp.Time)
	if len(rp.Checkpoints) > 0 {
		b.checkpoints(root)
	}
	ino := inode(b.scope, pointFile)
	root.put(pointFile, ino, fileMode, newText(ino, rp.Time, func() []byte { return describe(rp) }))
	return root
}

// dir adds a folder under a name that is already taken.
func (b builder) dir(in *folder, path, name string, when time.Time) (*folder, string) {
	path += name
	f := newFolder(inode(b.scope, path), when)
	in.put(name, f.info.Ino, dirMode, f)
	return f, path + "/"
}

// disks adds the disks to a folder and, below raw/, their flat images.
func (b builder) disks(in *folder, path string, disks []repo.Disk) {
	if len(disks) == 0 {
		return
	}
	raw, rawPath := b.dir(in, path, rawDir, in.info.Time)
	for i := range disks {
		d := &disks[i]
		name := in.names.take(stemOf(d.Name) + vhdxExt)
		b.image(in, path, name, d.Image, d, in.info.Time)
		b.image(raw, rawPath, raw.names.take(strings.TrimSuffix(name, vhdxExt)+rawExt), d.Image, nil, in.info.Time)
	}
}

// guest adds the files on the disks.
func (b builder) guest(in *folder, path string, disks []repo.Disk, when time.Time) {
	if len(disks) == 0 {
		return
	}
	path += guestDirName
	f := &guestFolder{
		t: b.t, key: b.rp.ID.String() + "/" + path, scope: b.scope, path: path + "/",
		place: b.rp.Name + "/" + timeName(b.rp.Time) + "/" + path, disks: disks, when: when,
	}
	in.put(guestDirName, inode(b.scope, path), dirMode, f)
}

// stemOf is a disk's name without .vhdx.
func stemOf(name string) string {
	if strings.HasSuffix(strings.ToLower(name), vhdxExt) {
		return name[:len(name)-len(vhdxExt)]
	}
	return name
}

func (b builder) image(in *folder, path, name string, ref repo.ImageRef, d *repo.Disk, when time.Time) {
	ino := inode(b.scope, path+name)
	in.put(name, ino, fileMode, &imageFile{
		t: b.t, ino: ino, ref: ref, disk: d, time: when,
		place: timeName(b.rp.Time) + "/" + path + name, machine: b.rp.Name,
	})
}

// config adds the machine's own files and its decoded description.
func (b builder) config(in *folder, path string, files []repo.File, vm []byte, when time.Time) {
	if len(files) == 0 && len(vm) == 0 {
		return
	}
	config, path := b.dir(in, path, configDir, when)
	if len(vm) > 0 && string(vm) != emptyJSONDoc {
		config.names.keep(vmFile)
		ino := inode(b.scope, path+vmFile)
		config.put(vmFile, ino, fileMode, newText(ino, when, func() []byte { return indented(vm) }))
	}
	for _, f := range files {
		parts := strings.FieldsFunc(f.Name, func(r rune) bool { return r == '/' || r == '\\' })
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "." })
		if len(parts) == 0 {
			parts = []string{""}
		}
		if len(parts) > maxDepth {
			parts = append(parts[:maxDepth-1], parts[len(parts)-1])
		}
		dir, dirPath := config, path
		for _, p := range parts[:len(parts)-1] {
			dir, dirPath = b.enter(dir, dirPath, p, when)
		}
		t := f.Time
		if t.IsZero() {
			t = when
		}
		b.image(dir, dirPath, dir.names.take(parts[len(parts)-1]), f.Image, nil, t)
	}
}

// enter returns the folder of a name, made if there is none.
func (b builder) enter(in *folder, path, name string, when time.Time) (*folder, string) {
	safe := safeName(name)
	if f, ok := in.nodes[safe].(*folder); ok {
		return f, path + safe + "/"
	}
	return b.dir(in, path, in.names.take(name), when)
}

// checkpoints adds the machine's own checkpoints, each with whole disks.
func (b builder) checkpoints(root *folder) {
	all, path := b.dir(root, "", checkpoints, b.rp.Time)
	for _, c := range b.rp.Checkpoints {
		when := c.Time
		if when.IsZero() {
			when = b.rp.Time
		}
		dir, dirPath := b.dir(all, path, all.names.take(c.Name), when)
		dir.names.keep(rawDir, configDir, guestDirName)
		b.disks(dir, dirPath, c.Disks)
		b.guest(dir, dirPath, c.Disks, when)
		b.config(dir, dirPath, c.Files, c.VM, when)
	}
}
