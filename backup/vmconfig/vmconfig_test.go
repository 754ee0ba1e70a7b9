package vmconfig_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"vitrine/backup/vmconfig"
	"vitrine/fs/disk/disktest"
)

// testData returns a file of the foreign test data, or skips the test.
func testData(t testing.TB, name string) []byte { return disktest.File(t, name) }

const (
	realVMCX  = "dissect.target/EC04F346-DB96-4700-AF5B-77B3C56C38BD.vmcx"
	otherVMCX = "dissect.hypervisor/test.vmcx"
	realXML   = "dissect.target/B90AC31B-C6F8-479F-9B91-07B894A6A3F6.xml"
	realVMRS  = "dissect.hypervisor/test.VMRS"
	realIndex = "dissect.target/child-hyperv-data.vmcx"
)

func parse(b []byte) (*vmconfig.Config, error) {
	return vmconfig.Parse(bytes.NewReader(b), int64(len(b)))
}

func tree(b []byte) (*vmconfig.Node, error) {
	return vmconfig.Tree(bytes.NewReader(b), int64(len(b)))
}

func mustParse(t *testing.T, b []byte) *vmconfig.Config {
	t.Helper()
	c, err := parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRealFileDecodesToItsDescription(t *testing.T) {
	got := asJSON(t, mustParse(t, testData(t, realVMCX)))
	want := `{
  "id": "ec04f346-db96-4700-af5b-77b3c56c38bd",
  "name": "Default Generation 1",
  "type": "machine",
  "generation": 1,
  "version": "9.0",
  "created": "2023-02-17T17:03:06.2321404Z",
  "processors": {
    "count": 1,
    "limit": 100,
    "reserve": 0,
    "weight": 100,
    "nested": false
  },
  "memory": {
    "startupMiB": 1024,
    "minimumMiB": 512,
    "maximumMiB": 1048576,
    "dynamic": false
  },
  "firmware": {
    "id": "9acfcc0c-d25c-4bd1-b968-7bc4a42f1561",
    "serial": "0233-9765-2178-7560-9149-7666-91",
    "secureBoot": false,
    "bootOrder": [
      "Optical",
      "HardDrive",
      "Network",
      "Floppy"
    ]
  },
  "tpm": false,
  "disks": [
    {
      "controller": "IDE",
      "number": 0,
      "location": 0,
      "kind": "virtual",
      "path": "C:\\Disks\\Default Generation 1.vhdx"
    },
    {
      "controller": "IDE",
      "number": 1,
      "location": 0,
      "kind": "empty"
    },
    {
      "controller": "floppy",
      "number": 0,
      "location": 0,
      "kind": "empty"
    }
  ],
  "adapters": [
    {
      "name": "Network Adapter",
      "mac": "00:00:00:00:00:00",
      "static": false,
      "connected": false
    }
  ],
  "power": {
    "start": "start-if-running",
    "stop": "save"
  },
  "highlyAvailable": false,
  "checkpoints": {
    "automatic": false
  },
  "stateFile": "C:\\Hyper-V\\EasyToFind\\Virtual Machines\\EC04F346-DB96-4700-AF5B-77B3C56C38BD.vmgs"
}`
	if got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

// The two files are the same machine, made by hand on two hosts: what the
// hosts chose differs, what the user chose does not.
func TestTwinsInBothFormatsDecodeToOneDescription(t *testing.T) {
	vmcx, xml := mustParse(t, testData(t, realVMCX)), mustParse(t, testData(t, realXML))
	if vmcx.ID == xml.ID || vmcx.Version != "9.0" || xml.Version != "5.0" || xml.Memory.Startup != 512 {
		t.Fatalf("not the files expected: %+v, %+v", vmcx, xml)
	}
	xml.ID, xml.Version, xml.Created = vmcx.ID, vmcx.Version, vmcx.Created
	xml.Memory.Startup = vmcx.Memory.Startup
	xml.Firmware.ID, xml.Firmware.Serial = vmcx.Firmware.ID, vmcx.Firmware.Serial
	xml.StateFile = vmcx.StateFile
	if got, want := asJSON(t, xml), asJSON(t, vmcx); got != want {
		t.Errorf("XML gives %s\nVMCX gives %s", got, want)
	}
}

func TestAnotherRealFile(t *testing.T) {
	c := mustParse(t, testData(t, otherVMCX))
	if c.ID != "282874fc-59d6-4f30-bc04-5fdd909c82e0" || c.Name != "Other Location" {
		t.Errorf("got %s %q", c.ID, c.Name)
	}
	if want := `C:\Users\Public\Documents\Hyper-V\Virtual Hard Disks\Other Location.vhdx`; c.Disks[0].Path != want {
		t.Errorf("got disk %q, want %q", c.Disks[0].Path, want)
	}
	if got, want := c.Disks[0].Slot(), "IDE 0:0"; got != want {
		t.Errorf("got slot %q, want %q", got, want)
	}
}

func TestRepeatedNamesAreKeptInOrder(t *testing.T) {
	root, err := tree(testData(t, realVMRS))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range root.Find("configuration/global_settings/metrics").Children {
		got = append(got, n.Name+" "+n.Child("guid").Text()[:8])
	}
	want := "devicetype B637F346,devicetype 4764334D,devicetype 83F8638B"
	if strings.Join(got, ",") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if v := root.Find("configuration/properties/version").Int(); v != 2304 {
		t.Errorf("got version %d, want 2304", v)
	}
}

func TestIndexOfAHostListsItsMachines(t *testing.T) {
	b := testData(t, realIndex)
	list, err := vmconfig.Index(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, e.ID[:8]+" "+e.Path[:strings.LastIndex(e.Path, `\`)])
	}
	want := []string{
		`ec04f346 C:\Hyper-V\EasyToFind\Virtual Machines`,
		`993f7b33 C:\Hyper-V\EasyToFind\Virtual Machines`,
		`a5b56431 C:\VM\Other Generation 1\Virtual Machines`,
		`4c57771a C:\VM\Other Generation 2\Virtual Machines`,
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestFilesWithoutAMachineAreToldApart(t *testing.T) {
	for name, want := range map[string]error{realVMRS: vmconfig.ErrNoMachine, realIndex: vmconfig.ErrNoMachine} {
		if _, err := parse(testData(t, name)); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	for _, s := range []string{"", "x", "vhdxfile", strings.Repeat("\x00", 1<<20)} {
		if _, err := parse([]byte(s)); !errors.Is(err, vmconfig.ErrFormat) {
			t.Errorf("%.10q: got %v, want %v", s, err, vmconfig.ErrFormat)
		}
	}
	b := testData(t, realVMCX)
	if _, err := vmconfig.Index(bytes.NewReader(b), int64(len(b))); !errors.Is(err, vmconfig.ErrNoMachine) {
		t.Errorf("a machine taken for an index: %v", err)
	}
}

// A source that fails is not a damaged file.
func TestErrorsOfTheSourceArePassedOn(t *testing.T) {
	b := testData(t, realVMCX)
	for _, at := range []int64{0, 0x1000, 0x2000, 0x4000, 0xa000} {
		r := failing{bytes.NewReader(b), at}
		_, err := vmconfig.Parse(r, int64(len(b)))
		if _, damaged := errors.AsType[*vmconfig.CorruptError](err); damaged || !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("failing at %#x: got %v", at, err)
		}
	}
}

type failing struct {
	r  io.ReaderAt
	at int64
}

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off <= f.at && f.at < off+int64(len(p)) {
		return 0, io.ErrNoProgress
	}
	return f.r.ReadAt(p, off)
}
