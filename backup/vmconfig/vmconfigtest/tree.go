// Package vmconfigtest makes configurations as Hyper-V writes them, VMCX and
// XML, for tests and demonstrations of what reads them.
//
//	Tree   the names and values of a described machine
//	VMCX   a tree as a .vmcx file
//	XML    a tree as an .xml file of Windows Server 2012 R2
package vmconfigtest

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"vitrine/backup/vmconfig"
)

const (
	deviceIDE      = "83f8638b-8dca-4152-9eda-2ca8b33039b4"
	deviceSCSI     = "d422512d-2bf2-4752-809d-7b82b5fcb1b4"
	deviceFloppy   = "8f0d2762-0b00-4e04-af4f-19010527cb93"
	deviceNIC      = "2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778"
	deviceLegacy   = "a70d06c3-36cd-4e68-9aa6-9ddf8a2b8f2d" // any but deviceNIC
	deviceFirmware = "ac6b8dc1-3257-4a70-b1b2-a9c9215659ad"
	deviceTPM      = "736e6aa9-a3f8-49c0-9550-a963214d259a"
	deviceState    = "917bd8cb-3bb6-4124-9383-b7d21ac07f79"
)

// Tree returns the configuration that vmconfig.Describe describes as c.
func Tree(c vmconfig.Config) *vmconfig.Node {
	root := branch("configuration",
		properties(c),
		settings(c),
		globalSettings(c),
		branch("_"+deviceFirmware+"_", firmware(c.Firmware)...),
	)
	m := &manifest{node: branch("manifest")}
	m.add(deviceFirmware, deviceFirmware, "Microsoft Virtual BIOS")
	if c.Generation == 2 {
		m.add(deviceTPM, deviceTPM, "Microsoft Virtual TPM Device")
		root.Children = append(root.Children, branch("_"+deviceTPM+"_", leaf("Enabled", c.TPM)))
	}
	if c.StateFile != "" {
		m.add(deviceState, deviceState, "Microsoft Guest Runtime State")
		root.Children = append(root.Children, branch("_"+deviceState+"_", leaf("StateFilePath", c.StateFile)))
	}
	root.Children = append(root.Children, drives(c, m)...)
	for i, a := range c.Adapters {
		root.Children = append(root.Children, adapter(a, i, m))
	}
	m.node.Children = append(m.node.Children, leaf("size", int64(len(m.node.Children))))
	root.Children = append(root.Children, m.node)
	return branch("", root)
}

func branch(name string, children ...*vmconfig.Node) *vmconfig.Node {
	return &vmconfig.Node{Name: name, Children: children}
}

func leaf(name string, v any) *vmconfig.Node { return &vmconfig.Node{Name: name, Value: v} }

// version turns "9.0" into 0x0900.
func version(s string) int64 {
	major, minor, _ := strings.Cut(s, ".")
	i, _ := strconv.ParseInt(major, 10, 64)
	j, _ := strconv.ParseInt(minor, 10, 64)
	return i<<8 | j
}

func properties(c vmconfig.Config) *vmconfig.Node {
	kind := "Virtual Machines"
	if c.Type == vmconfig.TypeCheckpoint {
		kind = "Snapshots"
	}
	n := branch("properties",
		leaf("global_id", strings.ToUpper(c.ID)),
		leaf("highly_available", c.MayMove),
		leaf("name", c.Name),
		leaf("notes", c.Notes),
		leaf("subtype", int64(c.Generation-1)),
		leaf("type_id", kind),
		leaf("version", version(c.Version)),
	)
	if !c.Created.IsZero() {
		t := (c.Created.Unix()+11_644_473_600)*10_000_000 + int64(c.Created.Nanosecond()/100)
		n.Children = append(n.Children, leaf("creation_time", binary.LittleEndian.AppendUint64(nil, uint64(t))))
	}
	return n
}

func settings(c vmconfig.Config) *vmconfig.Node {
	global := branch("global", leaf("logical_id", strings.ToUpper(c.ID)))
	if p := c.Checkpoint; p != nil {
		global.Children[0].Value = strings.ToUpper(p.ID)
		if p.Parent != "" {
			global.Children = append(global.Children, leaf("parent_logical_id", strings.ToUpper(p.Parent)))
		}
	}
	return branch("settings",
		global,
		branch("memory", branch("bank",
			leaf("dynamic_memory_enabled", c.Memory.Dynamic),
			leaf("limit", c.Memory.Maximum),
			leaf("reservation", c.Memory.Minimum),
			leaf("size", c.Memory.Startup),
		)),
		branch("processors",
			leaf("count", int64(c.Processors.Count)),
			leaf("limit", int64(c.Processors.Limit*1000)),
			branch("nested_virtualization", leaf("enabled", c.Processors.Nested)),
			leaf("reservation", int64(c.Processors.Reserve*1000)),
			leaf("weight", int64(c.Processors.Weight)),
		),
	)
}

func globalSettings(c vmconfig.Config) *vmconfig.Node {
	list := branch("list", leaf("size", int64(len(c.Checkpoints.IDs))))
	for i, id := range c.Checkpoints.IDs {
		list.Children = append(list.Children, branch(fmt.Sprintf("node%d", i), leaf("guid", strings.ToUpper(id))))
	}
	return branch("global_settings",
		leaf("disk_merge_pending", c.MergeDue),
		power(c.Power),
		branch("snapshots", leaf("enable_automatic", c.Checkpoints.Automatic), list),
	)
}

func power(p vmconfig.Power) *vmconfig.Node {
	n := branch("power")
	start := map[vmconfig.Action]int64{vmconfig.StartNothing: 0, vmconfig.StartIfRunning: 1, vmconfig.StartAlways: 2}
	stop := map[vmconfig.Action]int64{vmconfig.StopTurnOff: 0, vmconfig.StopSave: 1, vmconfig.StopShutDown: 2}
	if i, ok := stop[p.Stop]; ok {
		n.Children = append(n.Children, branch("host_shutdown", leaf("action", i)))
	}
	if i, ok := start[p.Start]; ok {
		n.Children = append(n.Children, branch("host_startup", leaf("action", i)))
	}
	return n
}

func firmware(f vmconfig.Firmware) []*vmconfig.Node {
	list := []*vmconfig.Node{
		leaf("bios_serial_number", f.Serial),
		leaf("secure_boot_enabled", f.SecureBoot),
	}
	if f.ID != "" {
		list = append(list, leaf("bios_guid", "{"+f.ID+"}"))
	}
	if f.Template != "" {
		templates := map[string]string{
			"MicrosoftWindows":                  "1734C6E8-3154-4DDA-BA5F-A874CC483422",
			"MicrosoftUEFICertificateAuthority": "272E7447-90A4-4563-A4B9-8E4AB00526CE",
			"OpenSourceShieldedVM":              "4292AE2B-EE2C-42B5-A969-DD8F8689F6F3",
		}
		id, ok := templates[f.Template]
		if !ok {
			id = f.Template
		}
		list = append(list, leaf("secure_boot_template_id", id))
	}
	if len(f.BootOrder) > 0 {
		boot := branch("boot")
		for i, s := range f.BootOrder {
			boot.Children = append(boot.Children, leaf(fmt.Sprintf("device%d", i), s))
		}
		list = append(list, boot)
	}
	return list
}

// manifest lists devices.
type manifest struct{ node *vmconfig.Node }

func (m *manifest) add(device, instance, name string) {
	m.node.Children = append(m.node.Children, branch(fmt.Sprintf("vdev%03d", len(m.node.Children)+1),
		leaf("device", device),
		leaf("flags", int64(1)),
		leaf("instance", strings.ToUpper(instance)),
		leaf("name", name),
	))
}

// drives returns the settings of all controllers.
func drives(c vmconfig.Config, m *manifest) []*vmconfig.Node {
	ide, floppy := branch("_"+deviceIDE+"_"), branch("_"+deviceFloppy+"_")
	var scsi []*vmconfig.Node
	for _, d := range c.Disks {
		device, number := ide, d.Number
		switch d.Controller {
		case vmconfig.Floppy:
			device = floppy
		case vmconfig.SCSI:
			for len(scsi) <= d.Number {
				instance := fmt.Sprintf("5c51%04x-0000-4000-8000-000000000000", len(scsi))
				m.add(deviceSCSI, instance, "Synthetic SCSI Controller")
				scsi = append(scsi, branch("_"+instance+"_"))
			}
			device, number = scsi[d.Number], 0
		}
		name := fmt.Sprintf("controller%d", number)
		controller := device.Child(name)
		if controller == nil {
			controller = branch(name)
			device.Children = append(device.Children, controller)
		}
		controller.Children = append(controller.Children, drive(d))
	}
	var all []*vmconfig.Node
	for _, n := range append([]*vmconfig.Node{ide, floppy}, scsi...) {
		if len(n.Children) > 0 {
			all = append(all, n)
		}
	}
	return all
}

func drive(d vmconfig.Disk) *vmconfig.Node {
	kinds := map[vmconfig.DiskKind]string{
		vmconfig.KindVirtual: "VHD", vmconfig.KindShared: "VHD", vmconfig.KindPassThrough: "PHYSICAL",
		vmconfig.KindISO: "ISO", vmconfig.KindEmpty: "ISO", vmconfig.KindFloppy: "VFD",
	}
	return branch(fmt.Sprintf("drive%d", d.Location),
		leaf("pathname", d.Path),
		leaf("persistent_reservations_supported", d.Kind == vmconfig.KindShared),
		leaf("type", kinds[d.Kind]),
	)
}

func adapter(a vmconfig.Adapter, i int, m *manifest) *vmconfig.Node {
	instance := fmt.Sprintf("2fc2%04x-0000-4000-8000-000000000000", i)
	device := deviceNIC
	if a.Legacy {
		device = deviceLegacy
	}
	m.add(device, instance, "Synthetic Ethernet Port")
	return branch("_"+instance+"_",
		leaf("FriendlyName", a.Name),
		leaf("IsConnected", a.Connected),
		leaf("MacAddress", strings.ToUpper(strings.ReplaceAll(a.MAC, ":", "-"))),
		leaf("MacAddressIsStatic", a.Static),
		branch("Connection", leaf("AltSwitchName", a.Switch)),
	)
}
