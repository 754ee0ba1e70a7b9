package folder

import (
	"slices"
	"strings"
	"testing"
)

func TestWindowsPathsAreSplitSafely(t *testing.T) {
	for in, want := range map[string]string{
		`C:\Disks\a.vhdx`:                   "Disks/a.vhdx",
		`c:/Disks//a.vhdx`:                  "Disks/a.vhdx",
		`\\?\C:\Disks\a.vhdx`:               "Disks/a.vhdx",
		`\\server\share\Disks\a.vhdx`:       "Disks/a.vhdx",
		`\\?\UNC\server\share\Disks\a.vhdx`: "Disks/a.vhdx",
		`\\?\Volume{6a1b0c53}\Disks\a.vhdx`: "Disks/a.vhdx",
		`.\a.vhdx`:                          "a.vhdx",
		`a.vhdx`:                            "a.vhdx",
		`C:\a\..\b.vhdx`:                    "",
		`..\..\b.vhdx`:                      "",
		`\\.\PhysicalDrive0`:                "",
		`\\server\share`:                    "",
		`C:\a.vhdx:stream`:                  "",
		"C:\\a\x00b.vhdx":                   "",
		"C:\\a\xff.vhdx":                    "",
		`C:\`:                               "",
		``:                                  "",
		strings.Repeat(`a\`, 40000):         "",
	} {
		if got := strings.Join(winParts(in), "/"); got != want {
			t.Errorf("%.60q: got %q, want %q", in, got, want)
		}
	}
}

func TestBaseNamesAreFileNames(t *testing.T) {
	for in, want := range map[string]string{
		`C:\Disks\a.vhdx`:   "a.vhdx",
		`..\..\b.vhdx`:      "b.vhdx",
		`\\s\h\..\b.vhdx`:   "b.vhdx",
		`..\..`:             "",
		`..`:                "",
		`\\.\PhysicalDrive`: "",
		`a|b`:               "",
		`C:\a\`:             "a",
	} {
		if got := baseName(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestPlacesAreComparedByMoreThanAName(t *testing.T) {
	for _, c := range []struct {
		file, path string
		want       bool
	}{
		{"Disks/a.vhdx", `C:\Disks\a.vhdx`, true},
		{"disks/A.VHDX", `C:\Disks\a.vhdx`, true},
		{"Disks/a.vhdx", `C:\VMs\Disks\a.vhdx`, true},
		{"drive-c/Disks/a.vhdx", `C:\Disks\a.vhdx`, true},
		{"a.vhdx", `C:\Disks\a.vhdx`, false},
		{"Disks/a.vhdx", `C:\a.vhdx`, false},
		{"Other/a.vhdx", `C:\Disks\a.vhdx`, false},
		{"B/Virtual Hard Disks/a.vhdx", `D:\VMs\A\Virtual Hard Disks\a.vhdx`, false},
		{"a.vhdx", ``, false},
	} {
		if got := samePlace(c.file, winParts(c.path)); got != c.want {
			t.Errorf("%s for %s: got %v", c.file, c.path, got)
		}
	}
}

func TestDisksAreNamedAfterTheirRoot(t *testing.T) {
	for in, want := range map[string]string{
		"a/os.vhdx": "os",
		"os_6A1B0C53-98A1-4C64-9F3F-0000000000A1.avhdx": "os",
		"os_6A1B0C53-98A1-4C64-9F3F-0000000000A1.vhdx":  "os_6A1B0C53-98A1-4C64-9F3F-0000000000A1",
		"os-AutoRecovery.avhdx":                         "os-AutoRecovery",
		"_6A1B0C53-98A1-4C64-9F3F-0000000000A1.avhd":    "_6A1B0C53-98A1-4C64-9F3F-0000000000A1",
		"a.b.vhd": "a.b",
	} {
		if got := rootStem(in); got != want {
			t.Errorf("%s: got %q, want %q", in, got, want)
		}
	}
}

func TestDiskNamesAreUniqueAndSafe(t *testing.T) {
	taken := make(map[string]bool)
	var got []string
	for _, s := range []string{"os", "OS", "os", "a:b/c", "", "con", "com1.old", strings.Repeat("ü", 200)} {
		got = append(got, uniqueName(taken, s, "SCSI 0-1"))
	}
	want := []string{"os.vhdx", "OS SCSI 0-1.vhdx", "os SCSI 0-1+.vhdx", "a_b_c.vhdx", "disk.vhdx", "_con.vhdx", "_com1.old.vhdx", strings.Repeat("ü", 90) + ".vhdx"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func FuzzWindowsPaths(f *testing.F) {
	for _, s := range []string{`C:\Disks\a.vhdx`, `\\s\h\a`, `\\?\UNC\s\h\a`, `\\.\PhysicalDrive0`, `..\a`, `a:b`, "a\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, part := range append(winParts(s), baseName(s), diskFileName(s)) {
			if part == ".." || part == "." || strings.ContainsAny(part, "/\\\x00:") || len(part) > 32<<10 {
				t.Errorf("%q gives %q", s, part)
			}
		}
	})
}
