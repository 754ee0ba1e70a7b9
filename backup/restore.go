package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"vitrine/fs/raw"
	"vitrine/repo"
)

// RestoreOptions of a restore; the zero value but for To writes the whole
// machine.
type RestoreOptions struct {
	To     string   // the folder in which the machine's folder is made
	As     string   // the name of the machine's folder; "" is the machine's
	Format Format   // of the disks; "" is vhd for those that were, vhdx for others
	Disks  []string // nothing but these disks of the machine; none is everything

	Progress Progress
}

// Format is the kind of file that a disk is restored to.
type Format string

// The formats.
const (
	FormatVHDX  Format = "vhdx"
	FormatVHD   Format = "vhd"
	FormatRaw   Format = "raw"
	FormatQCOW2 Format = "qcow2"
)

// Restored says what a restore wrote.
type Restored struct {
	Dir     string   // the machine's folder
	Files   []string // below Dir, slash-separated
	Written int64    // bytes that are not holes
}

// Restore writes a restore point as files. A Hyper-V machine is laid out as an
// export of it: Virtual Machines/, Virtual Hard Disks/ and Snapshots/, each disk
// under the name that the configuration has for it, whole, also where that is
// the name of a differencing disk. Anything else, and a machine whose disks
// would share a name, is laid out as the mounted tree shows it: the disks,
// config/ and checkpoints/NAME/. restore-point.json is in both. The folder must
// not exist yet; it gets its name when all of it is on the disk, so that
// a restore that was broken off never looks like a machine.
func Restore(ctx context.Context, r *repo.Repo, p *repo.RestorePoint, o RestoreOptions) (_ *Restored, err error) {
	o.Progress = orSilent(o.Progress)
	name := o.As
	if name == "" {
		name = p.Name
	}
	plan, err := planRestore(p, o)
	if err != nil {
		return nil, err
	}
	final := filepath.Join(o.To, fileName(name))
	if _, err := os.Lstat(final); err == nil {
		return nil, &ExistsError{Path: final}
	} else if !errors.Is(err, iofs.ErrNotExist) {
		return nil, fmt.Errorf("backup: restore: %w", err)
	}
	if err := os.MkdirAll(o.To, 0o755); err != nil {
		return nil, fmt.Errorf("backup: restore: %w", err)
	}
	if err := plan.checkSpace(o.To); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp(o.To, unfinishedPrefix)
	if err != nil {
		return nil, fmt.Errorf("backup: restore: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(temp))
		}
	}()
	done, err := plan.write(ctx, r, temp, o)
	if err != nil {
		return nil, fmt.Errorf("backup: restore %s: %w", p.Name, err)
	}
	if _, err := os.Lstat(final); err == nil {
		return nil, &ExistsError{Path: final}
	}
	if err := os.Rename(temp, final); err != nil {
		return nil, fmt.Errorf("backup: restore: %w", err)
	}
	done.Dir = final
	return done, syncDir(o.To)
}

// unfinishedPrefix begins the name of the folder of a restore that is under
// way, or was killed.
const unfinishedPrefix = ".vitrine-restore-"

// ExistsError says that a restore would write over something.
type ExistsError struct{ Path string }

func (e *ExistsError) Error() string { return fmt.Sprintf("%s exists already", e.Path) }

// Is makes it the io/fs error of its kind.
func (e *ExistsError) Is(target error) bool { return target == iofs.ErrExist }

// Hint says what to do.
func (e *ExistsError) Hint() string {
	return "nothing is ever overwritten: choose another folder or another name"
}

// SpaceError says that a restore does not fit.
type SpaceError struct {
	Dir        string
	Need, Free int64
}

func (e *SpaceError) Error() string {
	return fmt.Sprintf("the restore needs %d MiB and %s has %d MiB left", (e.Need+1<<20-1)>>20, e.Dir, e.Free>>20)
}

// write makes all files below dir and brings them safely onto the disk.
func (r *restorePlan) write(ctx context.Context, rp *repo.Repo, dir string, o RestoreOptions) (_ *Restored, err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	dirs := map[string]bool{".": true}
	for name := range r.paths() {
		for d := path.Dir(name); !dirs[d]; d = path.Dir(d) {
			dirs[d] = true
		}
		if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o700); err != nil {
			return nil, err
		}
	}
	done := &Restored{}
	for name := range r.paths() {
		done.Files = append(done.Files, name)
	}
	for _, t := range r.texts {
		f, err := createIn(root, t.path)
		if err != nil {
			return nil, err
		}
		_, err = f.Write(t.data)
		if err == nil {
			err = f.Sync()
		}
		if err := finish(f, int64(len(t.data)), err); err != nil {
			return nil, fmt.Errorf("%s: %w", t.path, err)
		}
		done.Written += int64(len(t.data))
	}
	for _, c := range r.files {
		n, err := writeConfig(ctx, rp, root, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.path, err)
		}
		done.Written += n
	}
	for _, d := range r.disks {
		n, err := writeDisk(ctx, rp, root, d, o)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.path, err)
		}
		done.Written += n
	}
	for d := range dirs {
		if err := syncDir(filepath.Join(dir, filepath.FromSlash(d))); err != nil {
			return nil, err
		}
	}
	return done, nil
}

func writeConfig(ctx context.Context, rp *repo.Repo, root *os.Root, c plannedFile) (int64, error) {
	img, err := rp.OpenImage(ctx, c.file.Image)
	if err != nil {
		return 0, err
	}
	f, err := createIn(root, c.path)
	if err != nil {
		return 0, err
	}
	n, err := raw.Write(ctx, f, img, raw.WriteOptions{})
	if err := finish(f, img.Size(), err); err != nil {
		return n, err
	}
	return n, root.Chtimes(filepath.FromSlash(c.path), c.file.Time, c.file.Time)
}

func writeDisk(ctx context.Context, rp *repo.Repo, root *os.Root, d plannedDisk, o RestoreOptions) (int64, error) {
	img, err := rp.OpenImage(ctx, d.disk.Image)
	if err != nil {
		return 0, err
	}
	src, err := present(img, d.disk, d.format)
	if err != nil {
		return 0, err
	}
	f, err := createIn(root, d.path)
	if err != nil {
		return 0, err
	}
	meter := o.Progress.Begin("restore", d.path, src.Size())
	n, err := raw.Write(ctx, Target(f), src, raw.WriteOptions{Progress: meter.Add})
	err = finish(f, src.Size(), err)
	meter.End(err)
	return n, err
}

// Target is f as what a disk is written to. Hyper-V refuses VHDX and VHD files
// that are marked as sparse: on Windows their holes are written.
func Target(f *os.File) raw.Target {
	switch strings.ToLower(filepath.Ext(f.Name())) {
	case ".vhdx", ".avhdx", ".vhd", ".avhd":
		if runtime.GOOS == "windows" {
			return struct{ *os.File }{f}
		}
	}
	return f
}

func createIn(root *os.Root, name string) (*os.File, error) {
	return root.OpenFile(filepath.FromSlash(name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
}

// finish closes a file that was written and synced, unless that failed, and
// makes sure that all of it is there.
func finish(f *os.File, size int64, err error) error {
	if err == nil {
		var info os.FileInfo
		if info, err = f.Stat(); err == nil && info.Size() != size {
			err = io.ErrShortWrite
		}
	}
	return errors.Join(err, f.Close())
}

// FormatError says that disks cannot be written in a format.
type FormatError struct{ Format Format }

func (e *FormatError) Error() string {
	return fmt.Sprintf("disks cannot be restored as %q", e.Format)
}

// Hint says what can be done instead.
func (e *FormatError) Hint() string {
	if e.Format == FormatQCOW2 {
		return "restore as vhdx, then: qemu-img convert -O qcow2 DISK.vhdx DISK.qcow2"
	}
	return "the formats are vhdx, vhd and raw"
}

// NoDiskError says that a restore point has no disk of a name.
type NoDiskError struct {
	Name  string
	Point *repo.RestorePoint
}

func (e *NoDiskError) Error() string {
	return fmt.Sprintf("%s has no disk %q", e.Point.Name, e.Name)
}

// Hint names the disks that there are.
func (e *NoDiskError) Hint() string {
	var known []string
	for _, d := range e.Point.Disks {
		known = append(known, d.Name)
	}
	return "its disks are " + strings.Join(known, ", ")
}
