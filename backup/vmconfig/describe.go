package vmconfig

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The devices of a machine whose settings are described.
const (
	deviceIDE      = "83f8638b-8dca-4152-9eda-2ca8b33039b4"
	deviceSCSI     = "d422512d-2bf2-4752-809d-7b82b5fcb1b4"
	deviceFloppy   = "8f0d2762-0b00-4e04-af4f-19010527cb93"
	deviceNIC      = "2fc216b0-d2e2-4967-9b6d-b8a5c9ca2778"
	deviceFirmware = "ac6b8dc1-3257-4a70-b1b2-a9c9215659ad"
	deviceTPM      = "736e6aa9-a3f8-49c0-9550-a963214d259a"
	deviceState    = "917bd8cb-3bb6-4124-9383-b7d21ac07f79"
)

const maxDrives = 4096 // a machine has 260 at most

// Describe makes the description of a tree that Tree has read.
func Describe(root *Node) (*Config, error) {
	n := root.Child("configuration")
	if n == nil {
		return nil, fmt.Errorf("vmconfig: %w", ErrNoMachine)
	}
	global, okGlobal := guid(n.Find("properties/global_id").Text())
	logical, okLogical := guid(n.Find("settings/global/logical_id").Text())
	if !okGlobal && !okLogical {
		return nil, fmt.Errorf("vmconfig: %w", ErrNoMachine)
	}
	c := &Config{
		ID:         cmp.Or(global, logical),
		Name:       n.Find("properties/name").Text(),
		Type:       typeOf(n.Find("properties/type_id").Text()),
		Generation: 1,
		Version:    version(n.Find("properties/version").Int()),
		Notes:      n.Find("properties/notes").Text(),
		Created:    filetime(n.Find("properties/creation_time")),
		TPM:        tpmEnabled(n.Child("_" + deviceTPM + "_")),
		MayMove:    n.Find("properties/highly_available").Bool(),
		MergeDue:   n.Find("global_settings/disk_merge_pending").Bool(),
		StateFile:  n.Find("_" + deviceState + "_/StateFilePath").Text(),
	}
	if n.Find("properties/subtype").Int() == 1 {
		c.Generation = 2
	}
	if c.Type == TypeCheckpoint {
		c.Checkpoint = checkpoint(n, global, logical)
	}
	c.Processors = processors(n.Find("settings/processors"))
	c.Memory = memory(n.Find("settings/memory/bank"))
	c.Firmware = firmware(n.Child("_" + deviceFirmware + "_"))
	c.Power = power(n.Find("global_settings/power"))
	snapshots := n.Find("global_settings/snapshots")
	c.Checkpoints.Automatic = snapshots.Child("enable_automatic").Bool()
	c.Checkpoints.IDs = listedGUIDs(snapshots.Child("list"))
	if err := c.addDevices(n); err != nil {
		return nil, err
	}
	return c, nil
}

// typeOf names the types that matter; a file without one is a machine.
func typeOf(s string) Type {
	switch s {
	case "", "Virtual Machines":
		return TypeMachine
	case "Snapshots":
		return TypeCheckpoint
	}
	return Type(s)
}

// checkpoint tells the id of a checkpoint from that of its machine. No file of
// a real checkpoint was seen yet: whoever knows the file's name should trust
// that more, and the order of the disks more than the parent named here.
func checkpoint(n *Node, global, logical string) *Checkpoint {
	p := &Checkpoint{ID: cmp.Or(logical, global)}
	for _, path := range []string{"settings/global/parent_logical_id", "properties/parent_logical_id", "properties/parent_id"} {
		if id, ok := guid(n.Find(path).Text()); ok && p.Parent == "" {
			p.Parent = id
		}
	}
	return p
}

func processors(n *Node) Processors {
	return Processors{
		Count:   int(n.Child("count").Int()),
		Limit:   float64(n.Child("limit").Int()) / 1000,
		Reserve: float64(n.Child("reservation").Int()) / 1000,
		Weight:  int(n.Child("weight").Int()),
		Nested:  n.Find("nested_virtualization/enabled").Bool(),
	}
}

func memory(n *Node) Memory {
	return Memory{
		Startup: n.Child("size").Int(),
		Minimum: n.Child("reservation").Int(),
		Maximum: n.Child("limit").Int(),
		Dynamic: n.Child("dynamic_memory_enabled").Bool(),
	}
}

func firmware(n *Node) Firmware {
	f := Firmware{
		Serial:     n.Child("bios_serial_number").Text(),
		SecureBoot: n.Child("secure_boot_enabled").Bool(),
	}
	f.ID, _ = guid(n.Child("bios_guid").Text())
	if id, ok := guid(n.Child("secure_boot_template_id").Text()); ok {
		f.Template = cmp.Or(templateName(id), id)
	}
	boot := n.Child("boot")
	for i := range 16 {
		if s := boot.Child("device" + strconv.Itoa(i)).Text(); s != "" {
			f.BootOrder = append(f.BootOrder, s)
		}
	}
	return f
}

// templateName names the templates of secure boot that Windows comes with.
func templateName(id string) string {
	switch id {
	case "1734c6e8-3154-4dda-ba5f-a874cc483422":
		return "MicrosoftWindows"
	case "272e7447-90a4-4563-a4b9-8e4ab00526ce":
		return "MicrosoftUEFICertificateAuthority"
	case "4292ae2b-ee2c-42b5-a969-dd8f8689f6f3":
		return "OpenSourceShieldedVM"
	}
	return ""
}

// tpmEnabled looks for a switch: the device alone says nothing. The names of
// the switch were not seen in a real file yet.
func tpmEnabled(n *Node) bool {
	return n.Child("Enabled").Bool() || n.Child("TpmEnabled").Bool()
}

func power(n *Node) Power {
	action := func(n *Node, names ...Action) Action {
		i := n.Child("action").Int()
		if n == nil {
			return ""
		}
		if i < 0 || i >= int64(len(names)) {
			return Action(fmt.Sprintf("action-%d", i))
		}
		return names[i]
	}
	return Power{
		Start: action(n.Child("host_startup"), StartNothing, StartIfRunning, StartAlways),
		Stop:  action(n.Child("host_shutdown"), StopTurnOff, StopSave, StopShutDown),
	}
}

// listedGUIDs collects the GUIDs in and below n, names of nodes and strings,
// each once, in order.
func listedGUIDs(n *Node) []string {
	if n == nil {
		return nil
	}
	var ids []string
	add := func(s string) {
		if id, ok := guid(strings.Trim(s, "_")); ok && !slices.Contains(ids, id) && len(ids) < maxDrives {
			ids = append(ids, id)
		}
	}
	var walk func(n *Node)
	walk = func(n *Node) {
		for _, c := range n.Children {
			add(c.Name)
			add(c.Text())
			walk(c)
		}
	}
	walk(n)
	return ids
}

// guid brings a GUID into its one form; all zeros is none.
func guid(s string) (string, bool) {
	t := strings.ToLower(s)
	if len(t) == 38 && t[0] == '{' && t[37] == '}' {
		t = t[1:37]
	}
	if len(t) != 36 || t == "00000000-0000-0000-0000-000000000000" {
		return "", false
	}
	for i := range len(t) {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (t[i] == '-') || !dash && !strings.Contains("0123456789abcdef", t[i:i+1]) {
			return "", false
		}
	}
	return t, true
}

// version writes major*256+minor as people do.
func version(v int64) string {
	if v <= 0 || v > 0xffff {
		return ""
	}
	return fmt.Sprintf("%d.%d", v>>8, v&0xff)
}

// filetime reads a Windows time: units of 100 ns since 1601, as bytes or as a
// number.
func filetime(n *Node) time.Time {
	t := n.Int()
	if b := n.Bytes(); len(b) == 8 {
		t = int64(binary.LittleEndian.Uint64(b))
	}
	if t <= 0 {
		return time.Time{}
	}
	const before = 11_644_473_600 // seconds from 1601 to 1970
	return time.Unix(t/10_000_000-before, t%10_000_000*100).UTC()
}
