package disktest

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// File returns the content of a file of the test data set, unpacked when its
// name ends in .gz or .bz2. The set lies beside the checkout, or where
// VITRINE_TEST_DATA says; the test is skipped when it is missing.
func File(t testing.TB, name string) []byte {
	t.Helper()
	path := filepath.Join(dataDir(t), filepath.FromSlash(name))
	packed, err := os.ReadFile(path)
	if err != nil {
		t.Skipf("the test data set lacks %s: put it beside the checkout as ../shared/data or name its folder in VITRINE_TEST_DATA", name)
	}
	var r io.Reader = bytes.NewReader(packed)
	switch {
	case strings.HasSuffix(name, ".gz"):
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	case strings.HasSuffix(name, ".bz2"):
		r = bzip2.NewReader(r)
	default:
		return packed
	}
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("unpack %s: %v", name, err)
	}
	return content
}

func dataDir(t testing.TB) string {
	if dir := os.Getenv("VITRINE_TEST_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "..", "shared", "data")
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Skip("no go.mod above the test: cannot find ../shared/data; name its folder in VITRINE_TEST_DATA")
		}
		dir = up
	}
}
