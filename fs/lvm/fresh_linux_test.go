package lvm_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vitrine/fs/disk/disktest"
)

// TestGroupsMadeByLVM2 lets lvm2 lay out volumes over three members and
// compares what is read with what its own report says lies where. No
// device-mapper is needed.
func TestGroupsMadeByLVM2(t *testing.T) {
	for _, tool := range []string{"vgcreate", "lvcreate", "lvs", "losetup"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: install lvm2 and util-linux", tool)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("loop devices need root")
	}
	const extent = 1 << 20
	var devices, files, filter []string
	for i := range 3 {
		name := filepath.Join(t.TempDir(), fmt.Sprint("pv", i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 12*extent); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("losetup", "-f", "--show", name).CombinedOutput()
		if err != nil {
			t.Skipf("no loop devices: %v %s", err, out)
		}
		dev := strings.TrimSpace(string(out))
		t.Cleanup(func() {
			if out, err := exec.Command("losetup", "-d", dev).CombinedOutput(); err != nil {
				t.Errorf("losetup -d %s: %v %s", dev, err, out)
			}
		})
		devices, files, filter = append(devices, dev), append(files, name), append(filter, fmt.Sprintf("%q", "a|^"+dev+"$|"))
	}
	config := fmt.Sprintf(`devices { use_devicesfile=0 filter=[%s,"r|.*|"] } activation { udev_sync=0 udev_rules=0 monitoring=0 } backup { backup=0 archive=0 } global { locking_dir=%q use_lvmpolld=0 event_activation=0 }`,
		strings.Join(filter, ","), t.TempDir())
	run := func(tool string, args ...string) string {
		t.Helper()
		var said bytes.Buffer
		c := exec.Command(tool, append([]string{"--driverloaded", "n", "--config", config}, args...)...)
		c.Stderr = &said
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s %q: %v\n%s", tool, args, err, said.String())
		}
		return string(out)
	}
	run("vgcreate", append([]string{"-s", "1m", "vg-test"}, devices...)...)
	create := []string{"-an", "-Zn", "-Wn", "-y"}
	run("lvcreate", append(create, "-n", "wide", "-i", "3", "-I", "64", "-l", "12", "vg-test")...)
	run("lvcreate", append(create, "-n", "two", "-i", "2", "-I", "4", "-l", "4", "vg-test")...)
	run("lvcreate", append(create, "-n", "long", "-l", "9", "vg-test")...)
	report := run("lvs", "--noheadings", "--separator", ";", "--segments", "--units", "b", "--nosuffix", "-o", "lv_name,seg_start,stripe_size,seg_pe_ranges", "-O", "lv_name,seg_start", "vg-test")
	starts := run("pvs", "--noheadings", "--units", "b", "--nosuffix", "-o", "pe_start", devices[0])
	start, err := strconv.Atoi(strings.TrimSpace(starts))
	if err != nil {
		t.Fatal(err)
	}

	var members [][]byte
	for i, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		disktest.Fill(b[start:], uint64(i+1))
		members = append(members, b)
	}
	want := map[string][]byte{}
	for line := range strings.Lines(report) {
		w := strings.Split(strings.TrimSpace(line), ";")
		stripe, err := strconv.Atoi(w[2])
		if err != nil {
			t.Fatal(err)
		}
		var legs [][]byte
		for _, r := range strings.Fields(w[3]) {
			dev, extents, _ := strings.Cut(r, ":")
			first, last, _ := strings.Cut(extents, "-")
			a, _ := strconv.Atoi(first)
			b, _ := strconv.Atoi(last)
			for i := range devices {
				if devices[i] == dev {
					legs = append(legs, members[i][start+a*extent:start+(b+1)*extent])
				}
			}
		}
		if stripe == 0 {
			stripe = len(legs[0])
		}
		for off := 0; off < len(legs[0]); off += stripe {
			for _, l := range legs {
				want[w[0]] = append(want[w[0]], l[off:off+stripe]...)
			}
		}
	}
	if len(want) != 3 || len(want["wide"]) != 12*extent {
		t.Fatalf("report not understood:\n%s", report)
	}
	g := open(t, members...)
	if g.Name != "vg-test" || len(g.Notes) != 0 {
		t.Errorf("group %s, notes %q", g.Name, g.Notes)
	}
	for name, b := range want {
		t.Run(name, func(t *testing.T) { check(t, opened(t, g, name), b) })
	}
}
