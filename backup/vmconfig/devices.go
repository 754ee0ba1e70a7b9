package vmconfig

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// addDevices finds controllers and adapters. The manifest lists the devices
// of a machine, but old ones leave IDE and floppy out, so that these are
// looked up by their settings. Each SCSI device is a controller; the one IDE
// device has two.
func (c *Config) addDevices(n *Node) error {
	c.Disks, c.Adapters = []Disk{}, []Adapter{}
	if err := c.addDrives(n.Child("_"+deviceIDE+"_"), IDE, 0); err != nil {
		return err
	}
	scsi := 0
	seen := make(map[string]bool)
	for _, d := range numbered(n.Child("manifest"), "vdev") {
		instance := strings.ToLower(d.Child("instance").Text())
		if seen[instance] {
			continue
		}
		seen[instance] = true
		settings := n.Child("_" + instance + "_")
		switch device := strings.ToLower(d.Child("device").Text()); {
		case device == deviceSCSI:
			if err := c.addDrives(settings, SCSI, scsi); err != nil {
				return err
			}
			scsi++
		case settings.Child("MacAddress") != nil:
			c.Adapters = append(c.Adapters, adapter(settings, device != deviceNIC))
		}
	}
	return c.addDrives(n.Child("_"+deviceFloppy+"_"), Floppy, 0)
}

// addDrives adds the drives of one device, whose first controller has the
// number first.
func (c *Config) addDrives(n *Node, kind Controller, first int) error {
	for _, controller := range numbered(n, "controller") {
		i, _ := number(controller.Name, "controller")
		for _, drive := range numbered(controller, "drive") {
			location, _ := number(drive.Name, "drive")
			d := Disk{
				Controller: kind,
				Number:     first + i,
				Location:   location,
				Kind:       diskKind(drive),
				Path:       drive.Child("pathname").Text(),
			}
			if d.Kind == "" {
				continue
			}
			if len(c.Disks) == maxDrives {
				return fmt.Errorf("vmconfig: more than %d drives", maxDrives)
			}
			c.Disks = append(c.Disks, d)
		}
	}
	return nil
}

// diskKind tells what a drive holds; "" when there is no drive at all.
func diskKind(n *Node) DiskKind {
	kind, path := strings.ToUpper(n.Child("type").Text()), strings.ToLower(n.Child("pathname").Text())
	switch {
	case kind == "" || kind == "NONE":
		return ""
	case path == "":
		return KindEmpty
	case kind == "ISO":
		return KindISO
	case kind == "VFD":
		return KindFloppy
	case kind != "VHD" || strings.HasPrefix(path, `\\.\`):
		return KindPassThrough
	case strings.HasSuffix(path, ".vhds") || n.Child("persistent_reservations_supported").Bool():
		return KindShared
	}
	return KindVirtual
}

func adapter(n *Node, legacy bool) Adapter {
	return Adapter{
		Name:      n.Child("FriendlyName").Text(),
		MAC:       strings.ToLower(strings.ReplaceAll(n.Child("MacAddress").Text(), "-", ":")),
		Static:    n.Child("MacAddressIsStatic").Bool(),
		Connected: n.Child("IsConnected").Bool(),
		Switch:    cmp.Or(n.Find("Connection/AltSwitchName").Text(), n.Child("SwitchName").Text()),
		Legacy:    legacy,
	}
}

// numbered returns the children whose name is prefix and a number, by number.
func numbered(n *Node, prefix string) []*Node {
	if n == nil {
		return nil
	}
	var nodes []*Node
	for _, c := range n.Children {
		if _, ok := number(c.Name, prefix); ok {
			nodes = append(nodes, c)
		}
	}
	slices.SortStableFunc(nodes, func(a, b *Node) int {
		i, _ := number(a.Name, prefix)
		j, _ := number(b.Name, prefix)
		return cmp.Compare(i, j)
	})
	return nodes
}

func number(name, prefix string) (int, bool) {
	digits, ok := strings.CutPrefix(strings.ToLower(name), prefix)
	if !ok || len(digits) > 6 {
		return 0, false
	}
	i, err := strconv.Atoi(digits)
	return i, err == nil && i >= 0
}
