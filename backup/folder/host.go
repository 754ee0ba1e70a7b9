package folder

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"vitrine/backup"
	"vitrine/repo"
)

// host is a folder with machines.
type host struct {
	name string // of this computer: a part of identities made from paths
	dir  string // the folder
	deep bool   // folders below count too
	only string // file or folder to keep to, slash-separated; "" is all
	bare bool   // only is the file of a bare disk

	mu   sync.Mutex
	last *scan // nil before the first
}

var _ backup.Host = (*host)(nil)

// Open makes a host of a folder, of the file of one disk, or of the
// configuration file of one machine. Nothing is read before the machines are
// asked for.
//
// A disk file is a machine of its own even when a configuration beside it
// names it.
func Open(name string) (backup.Host, error) {
	abs, err := filepath.Abs(name)
	if err != nil {
		return nil, fmt.Errorf("folder: open %s: %w", name, err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fmt.Errorf("folder: open %s: %w", name, err)
	}
	info, err := os.Stat(abs)
	if err != nil {
		return nil, fmt.Errorf("folder: open %s: %w", name, err)
	}
	computer, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("folder: name of this computer: %w", err)
	}
	h := &host{name: computer, dir: abs, deep: true}
	base := filepath.Base(abs)
	switch {
	case info.IsDir() && strings.EqualFold(base, "Virtual Machines"):
		// The disks lie beside it.
		h.dir, h.only = filepath.Dir(abs), base
	case info.IsDir():
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("folder: open %s: neither a folder nor a file", name)
	case formatOf(base) != "":
		h.dir, h.only, h.bare, h.deep = filepath.Dir(abs), base, true, false
	case isConfiguration(base):
		h.dir = filepath.FromSlash(homeOf(filepath.ToSlash(abs)))
		rel, err := filepath.Rel(h.dir, abs)
		if err != nil {
			return nil, fmt.Errorf("folder: open %s: %w", name, err)
		}
		h.only = filepath.ToSlash(rel)
	default:
		return nil, &FormatError{name}
	}
	return h, nil
}

// FormatError says that a file is nothing that a machine is made of.
type FormatError struct{ Name string }

func (e *FormatError) Error() string {
	return fmt.Sprintf("folder: %s is neither a disk nor a configuration", e.Name)
}

// Hint names what would be accepted.
func (e *FormatError) Hint() string {
	return "disks end in .vhdx, .avhdx, .vhd, .avhd, .raw or .img, configurations in .vmcx or .xml"
}

// VMs looks through the folder.
func (h *host) VMs(ctx context.Context) ([]backup.VM, error) {
	s, err := h.rescan(ctx)
	if err != nil {
		return nil, err
	}
	vms := make([]backup.VM, 0, len(s.machines))
	for _, m := range s.machines {
		vm, err := h.describe(m)
		if err != nil {
			return nil, err
		}
		vms = append(vms, vm)
	}
	return vms, nil
}

func (h *host) rescan(ctx context.Context) (*scan, error) {
	s, err := h.scan(ctx)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last = s
	return s, nil
}

func (h *host) path(name string) string { return filepath.Join(h.dir, filepath.FromSlash(name)) }

func (h *host) describe(m *machine) (backup.VM, error) {
	vm := backup.VM{
		ID: m.id, Name: m.name, Source: h.path(m.source()), State: backup.StateUnknown,
		Methods: []backup.Method{backup.MethodFolder}, Problems: m.problems,
	}
	for _, d := range m.summary {
		vm.Disks = append(vm.Disks, backup.DiskSummary{Name: d.name, Source: h.path(d.file), Format: d.format, Size: d.size})
	}
	if m.config == nil || m.config.vm == nil {
		return vm, nil
	}
	vm.Generation, vm.Version = m.config.vm.Generation, m.config.vm.Version
	var err error
	vm.Config, err = describe(m.config.vm)
	return vm, err
}

// find looks a machine up: by id and source, since ids can collide.
func (h *host) find(ctx context.Context, vm backup.VM, fresh bool) (*scan, *machine, error) {
	h.mu.Lock()
	s := h.last
	h.mu.Unlock()
	if s == nil || fresh {
		var err error
		if s, err = h.rescan(ctx); err != nil {
			return nil, nil, err
		}
	}
	for _, m := range s.machines {
		if m.id == vm.ID && (vm.Source == "" || vm.Source == h.path(m.source())) {
			return s, m, nil
		}
	}
	return s, nil, fmt.Errorf("folder: %s (%s) is not in %s", vm.Name, vm.ID, h.dir)
}

// Check accepts every machine of which anything can be read.
func (h *host) Check(ctx context.Context, vm backup.VM, method backup.Method) error {
	if method != backup.MethodFolder {
		return &backup.PreflightError{VM: vm.Name, Method: method, Unmet: []backup.Condition{{
			Code: "method", Text: "a folder holds files, there is no machine to hold still", Fix: "leave the method out, or ask the host itself with hyperv:",
		}}}
	}
	_, m, err := h.find(ctx, vm, false)
	if err != nil {
		return err
	}
	if len(m.summary) > 0 || m.config != nil && len(m.claims) == 0 && len(m.problems) == 0 {
		return nil
	}
	e := &backup.PreflightError{VM: m.name, Method: method}
	for _, p := range m.problems {
		e.Unmet = append(e.Unmet, backup.Condition{Code: p.Code, Text: p.Text, Fix: fix(p)})
	}
	return e
}

// fix is a remedy for what keeps a disk from being read.
func fix(p repo.Warning) string {
	switch p.Code {
	case "disk-absent", "parent-missing":
		return "name a folder that holds all disks of the machine"
	case "disk-in-use":
		return "stop the machine, or back up an export or a shadow copy"
	}
	return ""
}

// Snapshot opens all files of a machine and remembers how they are.
func (h *host) Snapshot(ctx context.Context, vm backup.VM, method backup.Method) (backup.Session, error) {
	if err := h.Check(ctx, vm, method); err != nil {
		return nil, err
	}
	s, m, err := h.find(ctx, vm, false)
	if err != nil {
		return nil, err
	}
	sess, err := h.open(ctx, s, m)
	if errors.Is(err, backup.ErrSourceChanged) {
		// The folder is not what it was when the machines were listed.
		if s, m, err = h.find(ctx, vm, true); err != nil {
			return nil, err
		}
		sess, err = h.open(ctx, s, m)
	}
	if err != nil {
		return nil, err
	}
	return sess, nil
}
