package folder

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"vitrine/backup/vmconfig"
	"vitrine/fs/disk"
	"vitrine/repo"
)

// config is a configuration file with what it says.
type config struct {
	name   string
	marked marked
	vm     *vmconfig.Config // nil when it cannot be read
	err    error
	place  place
}

// machine is what becomes a restore point: a configuration with its disks and
// checkpoints, or a bare disk.
type machine struct {
	id          repo.MachineID
	name        string
	config      *config // nil for a bare disk
	checkpoints []*config
	bare        string         // file of a bare disk
	claims      []string       // files that are its disks, without parents
	summary     []diskSummary  // as found by the scan
	problems    []repo.Warning // as found by the scan
}

type diskSummary struct {
	name, file, format string
	size               int64
}

// source is the file that the machine is known by.
func (m *machine) source() string {
	if m.config != nil {
		return m.config.name
	}
	return m.bare
}

// scan is what a folder held at one moment.
type scan struct {
	index    *index
	machines []*machine
}

// scan looks through the folder. Files are closed again before it returns.
func (h *host) scan(ctx context.Context) (_ *scan, err error) {
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x, err := readIndex(ctx, root, h.deep)
	if err != nil {
		return nil, err
	}
	s := &scan{index: x}
	used := make(map[string]bool) // files that belong to some machine
	if !h.bare {
		if err := h.addConfigured(ctx, root, s, used); err != nil {
			return nil, err
		}
	}
	if err := h.addBare(ctx, root, s, used); err != nil {
		return nil, err
	}
	s.reportCollisions()
	slices.SortStableFunc(s.machines, func(a, b *machine) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.name), strings.ToLower(b.name)), cmp.Compare(a.source(), b.source()))
	})
	return s, nil
}

// addConfigured finds machines by their configurations and gives each its
// checkpoints and disks.
func (h *host) addConfigured(ctx context.Context, root *os.Root, s *scan, used map[string]bool) error {
	configs, err := readConfigs(ctx, root, s.index)
	if err != nil {
		return err
	}
	s.machines = assemble(configs)
	if h.only != "" {
		s.machines = slices.DeleteFunc(s.machines, func(m *machine) bool { return !below(m.config.name, h.only) && m.config.name != h.only })
	}
	for _, m := range s.machines {
		o := newOpener(root, s.index)
		c, err := m.open(ctx, o)
		if err == nil {
			m.problems = append(m.problems, c.warnings...)
			for _, d := range c.disks {
				m.summary = append(m.summary, diskSummary{d.info.Name, d.chain.leaf().name, d.info.Format, d.chain.Size()})
			}
			m.claims = c.claims
			for f := range c.files {
				used[f] = true
			}
		}
		if err := errors.Join(err, o.close()); err != nil {
			return err
		}
	}
	return nil
}

const (
	maxConfigs = 10_000
	maxConfig  = 64 << 20 // bytes of one
)

func readConfigs(ctx context.Context, root *os.Root, x *index) ([]*config, error) {
	var configs []*config
	if len(x.configs) > maxConfigs {
		return nil, &TooLargeError{fmt.Sprintf("more than %d configurations", maxConfigs)}
	}
	for _, name := range x.configs {
		c := &config{name: name, place: place{dir: path.Dir(name), home: homeOf(name)}}
		c.vm, c.marked, c.err = readConfig(ctx, root, name)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if c.err != nil {
			// Of files that cannot be read only those count that a host has
			// named as it names configurations.
			if errors.Is(c.err, vmconfig.ErrNoMachine) || !isGUID(stem(name)) {
				continue
			}
		}
		configs = append(configs, c)
	}
	for _, c := range configs {
		c.place.own = !slices.ContainsFunc(configs, func(d *config) bool {
			return d != c && below(d.name, c.place.home) && !related(c, d)
		})
	}
	return configs, nil
}

// related reports whether two configurations are of one machine.
func related(a, b *config) bool {
	if a.vm == nil || b.vm == nil {
		return false
	}
	return a.place.home == b.place.home && (a.isCheckpoint() || b.isCheckpoint()) && a.vm.ID == b.vm.ID
}

func readConfig(ctx context.Context, root *os.Root, name string) (vm *vmconfig.Config, m marked, err error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if m, err = markFile(ctx, name, f); err != nil {
		return nil, m, err
	}
	if m.mark.size > maxConfig {
		return nil, m, fmt.Errorf("configuration of %d bytes", m.mark.size)
	}
	vm, err = vmconfig.Parse(f, m.mark.size)
	return vm, m, err
}

func (c *config) isCheckpoint() bool {
	if c.vm != nil {
		return c.vm.Type == vmconfig.TypeCheckpoint
	}
	return strings.EqualFold(path.Base(c.place.dir), "Snapshots")
}

// checkpointID is the GUID of a checkpoint: its file is called so.
func (c *config) checkpointID() string {
	if s := stem(c.name); isGUID(s) {
		return strings.ToLower(s)
	}
	if c.vm != nil && c.vm.Checkpoint != nil {
		return c.vm.Checkpoint.ID
	}
	return stem(c.name)
}

// assemble gives each machine its checkpoints.
func assemble(configs []*config) []*machine {
	var machines []*machine
	for _, c := range configs {
		if !c.isCheckpoint() {
			machines = append(machines, newMachine(c))
		}
	}
	of := len(machines)
	for _, c := range configs {
		if !c.isCheckpoint() {
			continue
		}
		if m := owner(machines[:of], c); m != nil {
			m.checkpoints = append(m.checkpoints, c)
			continue
		}
		m := newMachine(c)
		m.id = repo.MachineID(c.checkpointID())
		if !isGUID(string(m.id)) {
			m.id = hashID("checkpoint", c.name)
		}
		m.problem(path.Base(c.name), "checkpoint-alone", "is the checkpoint of a machine that is not in the folder")
		machines = append(machines, m)
	}
	return machines
}

func newMachine(c *config) *machine {
	m := &machine{config: c, id: repo.MachineID(strings.ToLower(stem(c.name))), name: stem(c.name)}
	if c.vm == nil {
		m.problem(path.Base(c.name), "configuration-damaged", c.err.Error())
		return m
	}
	m.id, m.name = repo.MachineID(c.vm.ID), cmp.Or(c.vm.Name, m.name)
	return m
}

func (m *machine) problem(object, code, text string) {
	m.problems = append(m.problems, repo.Warning{Object: object, Code: code, Text: object + ": " + text})
}

// owner finds the machine of a checkpoint: the one that one of them names, the
// nearest first, or the only one in its home.
func owner(machines []*machine, c *config) *machine {
	var found, alone *machine
	home := 0
	for _, m := range machines {
		near := m.config.place.home == c.place.home
		if near {
			alone = m
			home++
		}
		if names(m.config.vm, c) && (found == nil || near) {
			found = m
		}
	}
	if found == nil && home == 1 {
		return alone
	}
	return found
}

func names(vm *vmconfig.Config, c *config) bool {
	if vm == nil {
		return false
	}
	id := c.checkpointID()
	return slices.Contains(vm.Checkpoints.IDs, id) ||
		c.vm != nil && (c.vm.ID == vm.ID || c.vm.Checkpoint != nil && c.vm.Checkpoint.ID == vm.ID)
}

// addBare makes machines of the disks that are left: of each that is nobody's
// parent.
func (h *host) addBare(ctx context.Context, root *os.Root, s *scan, used map[string]bool) (err error) {
	if h.only != "" && !h.bare {
		return nil
	}
	o := newOpener(root, s.index)
	defer func() { err = errors.Join(err, o.close()) }()
	type leaf struct {
		file  string
		chain *chain
		err   error
	}
	var leaves []leaf
	for _, f := range s.index.disks {
		if used[f] || h.bare && f != h.only {
			continue
		}
		c, err := o.chain(ctx, f)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil {
			for _, l := range c.layers[1:] {
				used[l.name] = true
			}
		}
		leaves = append(leaves, leaf{f, c, err})
	}
	ids := make(map[disk.GUID]int)
	for _, l := range leaves {
		if l.chain != nil && !used[l.file] {
			ids[l.chain.root().id()]++
		}
	}
	for _, l := range leaves {
		if used[l.file] {
			continue
		}
		m := &machine{name: stem(l.file), bare: l.file, claims: []string{l.file}}
		s.machines = append(s.machines, m)
		if l.err != nil {
			m.id = h.pathID(l.file)
			m.problems = []repo.Warning{warning(path.Base(l.file), l.err)}
			continue
		}
		switch id := l.chain.root().id(); {
		case id.IsZero():
			m.id = h.pathID(l.file)
		case ids[id] > 1 && l.chain.leaf().differencing():
			// Disks made from one parent have its id.
			m.id = hashID("child", id.String(), strings.ToLower(path.Base(l.file)))
		default:
			m.id = repo.MachineID(id.String())
		}
		m.summary = []diskSummary{{diskFileName(m.name), l.file, l.chain.leaf().format, l.chain.Size()}}
	}
	return nil
}

// pathID is the identity of a disk that has none: where it lies.
func (h *host) pathID(file string) repo.MachineID {
	return hashID("path", h.name, filepath.Join(h.dir, filepath.FromSlash(file)))
}

// hashID makes a GUID (version 8) that belongs to names for ever.
func hashID(parts ...string) repo.MachineID {
	sum := sha256.Sum256([]byte("vitrine folder\x00" + strings.Join(parts, "\x00")))
	g := disk.GUID(sum[:16])
	g[7], g[8] = g[7]&0x0f|0x80, g[8]&0x3f|0x80
	return repo.MachineID(g.String())
}

// reportCollisions names machines that share an identity or a disk.
func (s *scan) reportCollisions() {
	byID, byFile := make(map[repo.MachineID][]*machine), make(map[string][]*machine)
	for _, m := range s.machines {
		byID[m.id] = append(byID[m.id], m)
		for _, f := range m.claims {
			byFile[f] = append(byFile[f], m)
		}
	}
	others := func(all []*machine, m *machine) string {
		var list []string
		for _, n := range all {
			if n != m && len(list) < 4 {
				list = append(list, n.source())
			}
		}
		return strings.Join(list, ", ")
	}
	for _, m := range s.machines {
		if all := byID[m.id]; len(all) > 1 {
			m.problem(m.source(), "id-collision", fmt.Sprintf("has the same id %s as %s", m.id, others(all, m)))
		}
		for _, f := range m.claims {
			if all := byFile[f]; len(all) > 1 {
				m.problem(path.Base(f), "disk-claimed-twice", fmt.Sprintf("is also a disk of %s", others(all, m)))
			}
		}
	}
}
