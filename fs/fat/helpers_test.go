package fat_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/fat"
)

// dataDir is the folder of foreign images; tests skip without it.
func dataDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("VITRINE_TEST_DATA")
	if dir == "" {
		top, err := os.Getwd()
		if err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Stat(filepath.Join(top, "go.mod")); err == nil {
				break
			}
			if filepath.Dir(top) == top {
				t.Fatal("no go.mod above the test")
			}
			top = filepath.Dir(top)
		}
		dir = filepath.Join(top, "..", "shared", "data")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the foreign disk images are missing: set VITRINE_TEST_DATA to their folder (%v)", err)
	}
	return dir
}

func gunzip(t testing.TB, file string) []byte {
	t.Helper()
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func openBytes(t testing.TB, b []byte) *fat.FS {
	t.Helper()
	v, err := fat.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// openImage opens an image file until the test ends.
func openImage(t testing.TB, name string) *fat.FS {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	v, err := fat.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func need(t testing.TB, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is missing: install dosfstools, mtools, exfatprogs and exfat-fuse", tool)
		}
	}
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// same compares two listings.
func same(t testing.TB, got, want map[string]string) {
	t.Helper()
	shown := 0
	for name, line := range want {
		if got[name] != line && shown < 10 {
			shown++
			t.Errorf("%q:\n got %s\nwant %s", name, got[name], line)
		}
	}
	for name, line := range got {
		if want[name] == "" && shown < 10 {
			shown++
			t.Errorf("%q is not there: %s", name, line)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d files, want %d", len(got), len(want))
	}
}

// mkfs makes an image of size bytes with a tool.
func mkfs(t testing.TB, size int64, tool string, args ...string) string {
	t.Helper()
	need(t, tool)
	image := filepath.Join(t.TempDir(), "fat.img")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, size); err != nil {
		t.Fatal(err)
	}
	run(t, tool, append(args, image)...)
	return image
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
