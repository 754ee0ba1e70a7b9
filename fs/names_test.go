package fs

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestSafeName(t *testing.T) {
	long := strings.Repeat("ü", 200)
	for in, want := range map[string]string{
		"SQL01":                 "SQL01",
		"":                      "_",
		".":                     "_",
		"..":                    "_",
		" ":                     "_",
		"a.":                    "a_",
		"a. .":                  "a_",
		"a ":                    "a_",
		" a":                    " a",
		".hidden":               ".hidden",
		"a/b":                   "a_b",
		`a\b:c*d?e"f<g>h|i`:     "a_b_c_d_e_f_g_h_i",
		"tab\tnewline\nnul\x00": "tab_newline_nul_",
		"bad\xffutf8":           "bad�utf8",
		"\u202egpj.exe":         "_gpj.exe",
		"con":                   "con_",
		"CON.txt":               "CON_.txt",
		"nul.tar.gz":            "nul_.tar.gz",
		"con..00":               "con_..00",
		"aux .vhdx":             "aux _.vhdx",
		"COM1":                  "COM1_",
		"com¹.vhdx":             "com¹_.vhdx",
		"COM10":                 "COM10",
		"LPT":                   "LPT",
		"conout$":               "conout$_",
		"console":               "console",
		"Größe – 測試 🙂":          "Größe – 測試 🙂",
		long + ".vhdx":          strings.Repeat("ü", 125) + ".vhdx",
		"x." + long:             "x." + strings.Repeat("ü", 126),
	} {
		if got := safeName(in); got != want {
			t.Errorf("safeName(%q) is %q, want %q", in, got, want)
		}
	}
}

func TestNamesOfAFolderDiffer(t *testing.T) {
	n := names{}
	n.keep("config", "raw")
	for _, c := range [][2]string{
		{"disk.vhdx", "disk.vhdx"}, {"DISK.vhdx", "DISK (2).vhdx"}, {"disk.VHDX", "disk (3).VHDX"},
		{"Config", "Config (2)"}, {"config (2)", "config (2) (2)"}, {"", "_"}, {".", "_ (2)"}, {"..", "_ (3)"},
	} {
		if got := n.take(c[0]); got != c[1] {
			t.Errorf("take(%q) gives %q, want %q", c[0], got, c[1])
		}
	}
}

func FuzzSafeName(f *testing.F) {
	for _, s := range []string{"SQL01", "con.", "a/../b", strings.Repeat("x. ", 200), "\xff\xfe", "COM¹.x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := names{}
		first, second := n.take(s), n.take(s)
		if fold(first) == fold(second) {
			t.Errorf("%q and %q are one name", first, second)
		}
		for _, name := range []string{first, second} {
			if name == "" || name == "." || name == ".." || len(name) > maxName || !utf8.ValidString(name) {
				t.Errorf("%q of %q is no name", name, s)
			}
			if strings.ContainsAny(name, `/\:*?"<>|`) || strings.ContainsFunc(name, unicode.IsControl) || strings.HasSuffix(name, ".") || strings.HasSuffix(name, " ") {
				t.Errorf("%q of %q is no name on Windows", name, s)
			}
			if reserved(name) {
				t.Errorf("%q of %q is a device on Windows", name, s)
			}
			if again := safeName(name); again != name {
				t.Errorf("%q becomes %q", name, again)
			}
		}
	})
}

func TestInodesAreNeverReserved(t *testing.T) {
	seen := make(map[uint64]bool)
	for _, scope := range []string{"", "a", "ab", "latest a"} {
		for _, path := range []string{"", "b", "b/c"} {
			n := inode(scope, path)
			if n <= rootIno || n == ^uint64(0) || seen[n] {
				t.Errorf("inode(%q, %q) is %d", scope, path, n)
			}
			seen[n] = true
		}
	}
	// The inode numbers of a release are those of the next one.
	if got := inode("51000001", "raw/disk.raw"); got != 3296859311928001115 {
		t.Errorf("inode is %d", got)
	}
}
