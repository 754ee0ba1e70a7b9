package vmconfig_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"vitrine/backup/vmconfig"
	"vitrine/backup/vmconfig/vmconfigtest"
)

// dump writes a tree as text, so that trees of both formats can be compared.
func dump(t testing.TB, n *vmconfig.Node) string {
	t.Helper()
	var b strings.Builder
	var walk func(n *vmconfig.Node, depth int)
	walk = func(n *vmconfig.Node, depth int) {
		v := n.Value
		if o, ok := v.(*vmconfig.Object); ok {
			data := make([]byte, o.Size())
			if _, err := o.ReadAt(data, 0); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			v = data
		}
		fmt.Fprintf(&b, "%*s%s %T %v\n", depth, "", n.Name, v, v)
		for _, c := range n.Children {
			walk(c, depth+1)
		}
	}
	walk(n, 0)
	return b.String()
}

// gen2 is a machine that uses everything the description knows.
func gen2() vmconfig.Config {
	c := vmconfig.Config{
		ID: "6a1b0c53-98a1-4c64-9f3f-000000000001", Name: "SQL01 ö", Type: vmconfig.TypeMachine,
		Generation: 2, Version: "10.5", Notes: "two\r\nlines <&> \"quoted\"",
		Created:    time.Date(2026, 11, 22, 22, 0, 5, 123456700, time.UTC),
		Processors: vmconfig.Processors{Count: 8, Limit: 100, Reserve: 12.5, Weight: 100, Nested: true},
		Memory:     vmconfig.Memory{Startup: 4096, Minimum: 512, Maximum: 1 << 20, Dynamic: true},
		Firmware: vmconfig.Firmware{ID: "6a1b0c53-98a1-4c64-9f3f-0000000000ff", Serial: "1-2", SecureBoot: true,
			Template: "MicrosoftUEFICertificateAuthority"},
		TPM: true,
		Disks: []vmconfig.Disk{
			{Controller: vmconfig.SCSI, Number: 0, Location: 0, Kind: vmconfig.KindVirtual, Path: `D:\VMs\os.vhdx`},
			{Controller: vmconfig.SCSI, Number: 0, Location: 1, Kind: vmconfig.KindISO, Path: `D:\iso\a.iso`},
			{Controller: vmconfig.SCSI, Number: 0, Location: 10, Kind: vmconfig.KindPassThrough, Path: `\\.\PHYSICALDRIVE3`},
			{Controller: vmconfig.SCSI, Number: 2, Location: 0, Kind: vmconfig.KindShared, Path: `C:\ClusterStorage\v\q.vhds`},
			{Controller: vmconfig.SCSI, Number: 2, Location: 63, Kind: vmconfig.KindEmpty},
		},
		Adapters: []vmconfig.Adapter{
			{Name: "LAN", MAC: "00:15:5d:01:02:03", Static: true, Connected: true, Switch: "vSwitch"},
			{Name: "old", MAC: "00:15:5d:01:02:04", Legacy: true},
		},
		Power:     vmconfig.Power{Start: vmconfig.StartAlways, Stop: vmconfig.StopShutDown},
		MayMove:   true,
		StateFile: `D:\VMs\Virtual Machines\6A1B0C53-98A1-4C64-9F3F-000000000001.vmgs`,
	}
	c.Checkpoints.Automatic = true
	c.Checkpoints.IDs = []string{"6a1b0c53-98a1-4c64-9f3f-00000000000a", "6a1b0c53-98a1-4c64-9f3f-00000000000b"}
	return c
}

func TestGeneratedMachinesDecodeToWhatTheyWereMadeFrom(t *testing.T) {
	checkpoint := gen2()
	checkpoint.Type = vmconfig.TypeCheckpoint
	checkpoint.Checkpoint = &vmconfig.Checkpoint{ID: checkpoint.Checkpoints.IDs[1], Parent: checkpoint.Checkpoints.IDs[0]}
	gen1 := vmconfig.Config{
		ID: "6a1b0c53-98a1-4c64-9f3f-000000000002", Name: "old", Type: vmconfig.TypeMachine, Generation: 1, Version: "5.0",
		Firmware: vmconfig.Firmware{BootOrder: []string{"HardDrive", "Network"}},
		Disks: []vmconfig.Disk{
			{Controller: vmconfig.IDE, Number: 0, Location: 1, Kind: vmconfig.KindVirtual, Path: `E:\a.vhd`},
			{Controller: vmconfig.IDE, Number: 1, Location: 0, Kind: vmconfig.KindEmpty},
			{Controller: vmconfig.Floppy, Number: 0, Location: 0, Kind: vmconfig.KindFloppy, Path: `E:\a.vfd`},
		},
		Adapters: []vmconfig.Adapter{},
	}
	for name, c := range map[string]vmconfig.Config{"gen2": gen2(), "gen1": gen1, "checkpoint": checkpoint} {
		want := asJSON(t, c)
		for format, b := range map[string][]byte{
			"vmcx": vmconfigtest.VMCX(vmconfigtest.Tree(c)),
			"xml":  vmconfigtest.XML(vmconfigtest.Tree(c)),
		} {
			if got := asJSON(t, mustParse(t, b)); got != want {
				t.Errorf("%s as %s: got %s\nwant %s", name, format, got, want)
			}
		}
	}
}

func TestRealTreesSurviveBothFormats(t *testing.T) {
	for _, name := range []string{realVMCX, otherVMCX, realXML, realVMRS, realIndex} {
		root, err := tree(testData(t, name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		want := dump(t, root)
		for format, b := range map[string][]byte{"vmcx": vmconfigtest.VMCX(root), "xml": vmconfigtest.XML(root)} {
			again, err := tree(b)
			if err != nil {
				t.Errorf("%s as %s: %v", name, format, err)
				continue
			}
			if got := dump(t, again); got != want {
				t.Errorf("%s as %s: got\n%s\nwant\n%s", name, format, got, want)
			}
		}
	}
}

func TestXMLInUTF8IsReadToo(t *testing.T) {
	for _, head := range []string{"", "\xef\xbb\xbf", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"} {
		s := head + `<configuration><properties><global_id type="string">6A1B0C53-98A1-4C64-9F3F-000000000002</global_id><name type="string">ä &amp; b</name></properties></configuration>`
		if got, want := mustParse(t, []byte(s)).Name, "ä & b"; got != want {
			t.Errorf("%q: got name %q, want %q", head, got, want)
		}
	}
}

// Large values lie outside of the tables and are not read before somebody
// asks.
func TestLargeValuesAreReadLazily(t *testing.T) {
	block := []byte(strings.Repeat("memory ", 1000))
	long := strings.Repeat("ü", 2000)
	root := &vmconfig.Node{Children: []*vmconfig.Node{{Name: "configuration", Children: []*vmconfig.Node{
		{Name: "ram", Value: block}, {Name: "text", Value: long},
	}}}}
	got, err := tree(vmconfigtest.VMCX(root))
	if err != nil {
		t.Fatal(err)
	}
	o, ok := got.Find("configuration/ram").Value.(*vmconfig.Object)
	if !ok {
		t.Fatalf("got %T, want an object", got.Find("configuration/ram").Value)
	}
	b, err := io.ReadAll(o)
	if err != nil || string(b) != string(block) {
		t.Errorf("object: got %d bytes, %v", len(b), err)
	}
	if s := got.Find("configuration/text").Text(); s != long {
		t.Errorf("got a string of %d bytes, want %d", len(s), len(long))
	}
}

func TestReplayLogIsAppliedInMemory(t *testing.T) {
	clean := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
	files := map[string][]byte{"generated": clean}
	files["real"] = testData(t, realVMCX)
	for name, b := range files {
		want := asJSON(t, mustParse(t, b))
		tables := len(b) - 4096
		dirty := vmconfigtest.Dirty(b, 0x2000, 4096) // the object table
		if name == "real" {
			tables = 0x3000
		}
		dirty = vmconfigtest.Dirty(dirty, tables+100, 2000) // part of a key table
		if _, err := parse(withEmptyLog(dirty)); err == nil {
			t.Fatalf("%s: the test destroys nothing that matters", name)
		}
		before := string(dirty)
		if got := asJSON(t, mustParse(t, dirty)); got != want {
			t.Errorf("%s: got %s\nwant %s", name, got, want)
		}
		if string(dirty) != before {
			t.Errorf("%s: reading wrote to the file", name)
		}
	}
}
