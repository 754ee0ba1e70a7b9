package backup

import (
	"encoding/json"
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"vitrine/repo"
)

// Where an export of Hyper-V keeps what.
const (
	machinesDir  = "Virtual Machines"
	disksDir     = "Virtual Hard Disks"
	snapshotsDir = "Snapshots"
)

// restorePlan is every file of a restore, by its slash-separated path.
type restorePlan struct {
	disks []plannedDisk
	files []plannedFile
	texts []plannedText
}

type plannedDisk struct {
	path   string
	disk   repo.Disk
	format Format
}

type plannedFile struct {
	path string
	file repo.File
}

type plannedText struct {
	path string
	data []byte
}

// planRestore lays a restore point out: as an export of Hyper-V where it is a
// Hyper-V machine, else as the mounted tree shows it.
func planRestore(p *repo.RestorePoint, o RestoreOptions) (*restorePlan, error) {
	switch o.Format {
	case "", FormatVHDX, FormatVHD, FormatRaw:
	default:
		return nil, &FormatError{o.Format}
	}
	plan := &restorePlan{}
	if len(o.Disks) > 0 {
		for _, want := range o.Disks {
			i := slices.IndexFunc(p.Disks, func(d repo.Disk) bool {
				return strings.EqualFold(d.Name, want) || strings.EqualFold(strings.TrimSuffix(d.Name, path.Ext(d.Name)), want)
			})
			if i < 0 {
				return nil, &NoDiskError{Name: want, Point: p}
			}
			plan.addDisks("", p.Disks[i:i+1], o.Format)
		}
		return plan, plan.check()
	}
	export, ok := planExport(p, o.Format)
	if !ok || export.check() != nil {
		plan.addTree(p, o.Format)
	} else {
		plan = export
	}
	text, err := p.Describe()
	if err != nil {
		return nil, fmt.Errorf("backup: restore: %w", err)
	}
	plan.texts = append(plan.texts, plannedText{"restore-point.json", text})
	return plan, plan.check()
}

// planExport lays a Hyper-V machine out as an export of it, which Hyper-V
// imports and backup/folder reads: configurations in their folders, and each
// disk under the name that its configuration calls it by. It reports false for
// what is no Hyper-V machine, and where those names would meet.
func planExport(p *repo.RestorePoint, f Format) (*restorePlan, bool) {
	plan := &restorePlan{}
	taken := map[string]repo.Disk{}
	if !plan.addExported(machinesDir, p.Files, p.Disks, taken, f) {
		return nil, false
	}
	plan.addVM("vm.json", p.VM)
	for _, c := range p.Checkpoints {
		if !plan.addExported(snapshotsDir, c.Files, c.Disks, taken, f) {
			return nil, false
		}
		plan.addVM(snapshotsDir+"/"+fileName(c.ID)+".json", c.VM)
	}
	return plan, true
}

func (r *restorePlan) addExported(dir string, files []repo.File, disks []repo.Disk, taken map[string]repo.Disk, f Format) bool {
	configured := false
	for _, file := range files {
		in, name := dir, file.Name
		if first, rest, ok := strings.Cut(name, "/"); ok {
			for _, known := range []string{machinesDir, snapshotsDir} {
				if strings.EqualFold(first, known) {
					in, name = known, rest
				}
			}
		}
		ext := strings.ToLower(path.Ext(name))
		configured = configured || in == dir && path.Dir(name) == "." && (ext == ".vmcx" || ext == ".xml")
		r.files = append(r.files, plannedFile{in + "/" + name, file})
	}
	if !configured {
		return false
	}
	for _, d := range disks {
		format := ownFormat(d, f)
		name := sourceName(d, format)
		key := strings.ToLower(name)
		other, ok := taken[key]
		switch {
		case !ok:
			taken[key] = d
			r.disks = append(r.disks, plannedDisk{disksDir + "/" + name, d, format})
		case other.Source == "" || other.Source != d.Source || other.Image.Size != d.Image.Size:
			return false
		}
		// Two states of the machine that have one file have the same disk.
	}
	return true
}

// ownFormat is the format that a disk is restored to: a machine whose disks are
// VHD files expects VHD files.
func ownFormat(d repo.Disk, asked Format) Format {
	switch {
	case asked != "":
		return asked
	case d.Format == string(FormatVHD):
		return FormatVHD
	}
	return FormatVHDX
}

// sourceName is the name that the disk's file has at its source, which its
// configuration knows, as far as that fits the format.
func sourceName(d repo.Disk, f Format) string {
	base := d.Source[strings.LastIndexAny(d.Source, `/\`)+1:]
	ext := path.Ext(base)
	stem := strings.TrimSuffix(base, ext)
	if stem == "" {
		return diskName(d, f)
	}
	if lower := strings.ToLower(ext); lower == "."+string(f) || lower == ".a"+string(f) {
		return base
	}
	return stem + "." + string(f)
}

// diskName is the name that the disk has in the tree, with the format's
// extension.
func diskName(d repo.Disk, f Format) string {
	return strings.TrimSuffix(d.Name, path.Ext(d.Name)) + "." + string(f)
}

// addTree adds everything as the mounted tree shows it.
func (r *restorePlan) addTree(p *repo.RestorePoint, f Format) {
	r.add("", p.Disks, p.Files, p.VM, f)
	taken := map[string]bool{}
	for _, c := range p.Checkpoints {
		dir := fileName(c.Name)
		for n := 2; taken[strings.ToLower(dir)]; n++ {
			dir = fileName(fmt.Sprintf("%s (%d)", c.Name, n))
		}
		taken[strings.ToLower(dir)] = true
		r.add("checkpoints/"+dir+"/", c.Disks, c.Files, c.VM, f)
	}
}

func (r *restorePlan) add(dir string, disks []repo.Disk, files []repo.File, vm json.RawMessage, f Format) {
	r.addDisks(dir, disks, f)
	own := false
	for _, file := range files {
		own = own || strings.EqualFold(file.Name, "vm.json")
		r.files = append(r.files, plannedFile{dir + "config/" + file.Name, file})
	}
	if !own {
		r.addVM(dir+"config/vm.json", vm)
	}
}

func (r *restorePlan) addDisks(dir string, disks []repo.Disk, f Format) {
	for _, d := range disks {
		format := ownFormat(d, f)
		r.disks = append(r.disks, plannedDisk{dir + diskName(d, format), d, format})
	}
}

func (r *restorePlan) addVM(name string, vm json.RawMessage) {
	if len(vm) > 0 {
		r.texts = append(r.texts, plannedText{name, vm})
	}
}

// check refuses paths that lead out of the folder or meet: a restore point may
// come from a hostile host.
func (r *restorePlan) check() error {
	seen := map[string]bool{}
	for name := range r.paths() {
		if local, err := filepath.Localize(name); err != nil || !filepath.IsLocal(local) {
			return fmt.Errorf("backup: restore: %q is no file name on this system", name)
		}
		key := strings.ToLower(name)
		if seen[key] {
			return fmt.Errorf("backup: restore: two files are called %s", name)
		}
		seen[key] = true
	}
	return nil
}

// checkSpace refuses to begin what cannot end. Holes take no space but in fixed
// disks on Windows, where they are written; small tables do.
func (r *restorePlan) checkSpace(dir string) error {
	var need int64
	for _, d := range r.disks {
		if d.format == FormatVHD && runtime.GOOS == "windows" {
			need += d.disk.Image.Size
		} else {
			need += d.disk.Image.Data
		}
		need += 1 << 20
	}
	for _, f := range r.files {
		need += f.file.Image.Size
	}
	free, err := freeSpace(dir)
	if err != nil {
		return fmt.Errorf("backup: restore: free space of %s: %w", dir, err)
	}
	if need > free {
		return &SpaceError{Dir: dir, Need: need, Free: free}
	}
	return nil
}

func (r *restorePlan) paths() func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, d := range r.disks {
			if !yield(d.path) {
				return
			}
		}
		for _, f := range r.files {
			if !yield(f.path) {
				return
			}
		}
		for _, t := range r.texts {
			if !yield(t.path) {
				return
			}
		}
	}
}
