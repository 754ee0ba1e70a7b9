package folder

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vitrine/backup"
	"vitrine/backup/vmconfig"
	"vitrine/repo"
)

// contents is a machine with its files open.
type contents struct {
	disks       []openDisk
	checkpoints []openCheckpoint
	configFiles []string
	warnings    []repo.Warning
	claims      []string        // files of the machine's own disks, without parents
	files       map[string]bool // all files of disks, read or not
}

type openDisk struct {
	chain *chain
	info  backup.DiskInfo
}

type openCheckpoint struct {
	id, name, parent string
	time             time.Time
	vm               *vmconfig.Config
	disks            []openDisk
	configFiles      []string
}

// open opens all disks of the machine and of its checkpoints. What cannot be
// opened becomes a warning; an error is only what ends everything.
func (m *machine) open(ctx context.Context, o *opener) (*contents, error) {
	c := &contents{files: make(map[string]bool)}
	if m.config == nil {
		return c, m.openBare(ctx, o, c)
	}
	c.configFiles = o.index.filesOf(m.config.name)
	var err error
	if c.disks, c.claims, err = c.openDisks(ctx, o, m.config, ""); err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	for _, config := range m.checkpoints {
		p := openCheckpoint{id: config.checkpointID(), name: stem(config.name), vm: config.vm, configFiles: o.index.filesOf(config.name)}
		if seen[p.id] {
			c.warn(config.name, "checkpoint-twice", "is a second configuration of checkpoint "+p.id)
			continue
		}
		seen[p.id] = true
		if config.vm == nil {
			c.warn(path.Base(config.name), "configuration-damaged", config.err.Error())
		} else {
			p.name, p.time = config.vm.Name, config.vm.Created
			if config.vm.Checkpoint != nil {
				p.parent = config.vm.Checkpoint.Parent
			}
			if p.disks, _, err = c.openDisks(ctx, o, config, fmt.Sprintf("checkpoint %q: ", p.name)); err != nil {
				return nil, err
			}
		}
		c.checkpoints = append(c.checkpoints, p)
	}
	c.linkCheckpoints()
	return c, nil
}

func (m *machine) openBare(ctx context.Context, o *opener, c *contents) error {
	c.claims = []string{m.bare}
	c.files[m.bare] = true
	chain, err := o.chain(ctx, m.bare)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		c.warnings = append(c.warnings, warning(path.Base(m.bare), err))
		return nil
	}
	c.use(chain)
	c.disks = withIDs([]openDisk{{chain, o.info(chain, diskFileName(m.name))}}, []string{"disk"})
	return nil
}

func (c *contents) warn(object, code, text string) {
	c.warnings = append(c.warnings, repo.Warning{Object: object, Code: code, Text: object + ": " + text})
}

func (c *contents) use(chain *chain) {
	for _, l := range chain.layers {
		c.files[l.name] = true
	}
}

// openDisks opens the disks that a configuration names, in its order.
func (c *contents) openDisks(ctx context.Context, o *opener, config *config, whose string) (disks []openDisk, claims []string, err error) {
	if config.vm == nil {
		return nil, nil, nil
	}
	taken := make(map[string]bool)
	var slots []string
	for _, d := range config.vm.Disks {
		object := whose + d.Slot()
		if name := baseName(d.Path); name != "" {
			object = fmt.Sprintf("%s%s (%s)", whose, name, d.Slot())
		}
		switch {
		case d.Kind == vmconfig.KindPassThrough:
			c.warn(object, "disk-pass-through", "is a disk of the host, which its configuration cannot give")
			continue
		case d.Kind != vmconfig.KindVirtual && d.Kind != vmconfig.KindShared:
			continue
		case strings.EqualFold(path.Ext(baseName(d.Path)), ".vhds"):
			c.warn(object, "disk-vhd-set", "is a VHD set, which can only be read at its host")
			continue
		}
		file, err := o.index.findDisk(config.place, d.Path)
		if err != nil {
			c.warnings = append(c.warnings, warning(object, lookupError(d.Path, err)))
			continue
		}
		claims = append(claims, file)
		c.files[file] = true
		chain, err := o.chain(ctx, file)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			c.warnings = append(c.warnings, warning(object, err))
			continue
		}
		if d.Kind == vmconfig.KindShared {
			c.warn(object, "disk-shared", "is shared: what other machines write to it at the same time is not held still")
		}
		c.use(chain)
		slot := fmt.Sprintf("%s %d-%d", d.Controller, d.Number, d.Location)
		name := uniqueName(taken, rootStem(chain.root().name), slot)
		disks = append(disks, openDisk{chain, o.info(chain, name)})
		slots = append(slots, d.Slot())
	}
	return withIDs(disks, slots), claims, nil
}

func lookupError(winPath string, err error) error {
	if errors.Is(err, iofs.ErrNotExist) {
		return &diskError{"disk-absent", fmt.Errorf("%s is not in the folder", winPath)}
	}
	return &diskError{"disk-ambiguous", err}
}

// info describes a chain as a disk of a restore point; its id comes later.
func (o *opener) info(c *chain, name string) backup.DiskInfo {
	leaf := c.leaf()
	info := backup.DiskInfo{Name: name, Source: filepath.Join(o.root.Name(), filepath.FromSlash(leaf.name)), Format: leaf.format}
	if id := c.root().id(); !id.IsZero() {
		info.DiskID = id.String()
	}
	switch leaf.format {
	case formatVHDX:
		info.BlockSize = c.root().vhdx.BlockSize()
		info.LogicalSector, info.PhysicalSector = leaf.vhdx.LogicalSector(), leaf.vhdx.PhysicalSector()
	case formatVHD:
		info.BlockSize = c.root().vhd.BlockBytes()
		info.LogicalSector, info.PhysicalSector = 512, 512
	}
	return info
}

// withIDs gives each disk the id that it keeps: of its virtual disk, which
// checkpoints do not change, or its place where it has none or shares it.
func withIDs(disks []openDisk, slots []string) []openDisk {
	count := make(map[string]int)
	for _, d := range disks {
		count[d.info.DiskID]++
	}
	for i := range disks {
		switch id := disks[i].info.DiskID; {
		case id == "":
			disks[i].info.ID = slots[i]
		case count[id] > 1:
			disks[i].info.ID = id + "@" + slots[i]
		default:
			disks[i].info.ID = id
		}
	}
	return disks
}

// linkCheckpoints finds the checkpoint that each one follows: where the files
// do not tell, by its disks, which lie on those of the one before.
func (c *contents) linkCheckpoints() {
	known := make(map[string]bool)
	byLeaf := make(map[string][]string) // file of a disk -> checkpoints that have it
	for _, p := range c.checkpoints {
		known[p.id] = true
		for _, d := range p.disks {
			f := d.chain.leaf().name
			byLeaf[f] = append(byLeaf[f], p.id)
		}
	}
	for i := range c.checkpoints {
		p := &c.checkpoints[i]
		if known[p.parent] && p.parent != p.id {
			continue
		}
		p.parent = ""
		nearest := maxLayers
		for _, d := range p.disks {
			for depth, l := range d.chain.layers[1:] {
				if ids := byLeaf[l.name]; len(ids) > 0 && depth < nearest && ids[0] != p.id {
					p.parent, nearest = ids[0], depth
				}
			}
		}
	}
	slices.SortStableFunc(c.checkpoints, func(a, b openCheckpoint) int { return a.time.Compare(b.time) })
}

// unfinished reports whether a disk was not closed by whoever wrote it.
func (c *contents) unfinished() bool {
	return slices.ContainsFunc(c.disks, func(d openDisk) bool {
		return slices.ContainsFunc(d.chain.layers, (*layer).unfinished)
	})
}

// describe writes a configuration as vm.json.
func describe(vm *vmconfig.Config) (json.RawMessage, error) {
	if vm == nil {
		return nil, nil
	}
	b, err := json.Marshal(vm)
	if err != nil {
		return nil, fmt.Errorf("folder: describe %s: %w", vm.Name, err)
	}
	return b, nil
}
