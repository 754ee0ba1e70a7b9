package ext4_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"vitrine/fs/ext4"
	"vitrine/fs/vhd"
)

// dataDir is where images made by others are; the test is skipped without.
func dataDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("VITRINE_TEST_DATA"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if filepath.Dir(dir) == dir {
			t.Fatal("no go.mod above the test")
		}
		dir = filepath.Dir(dir)
	}
	dir = filepath.Join(dir, "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs the images in ../shared/data beside the checkout, or in VITRINE_TEST_DATA")
	}
	return dir
}

// image unpacks an image of the data folder into memory.
func image(t testing.TB, name string) []byte {
	t.Helper()
	p, err := os.ReadFile(filepath.Join(dataDir(t), name))
	if err != nil {
		t.Skipf("needs the image %s: %v", name, err)
	}
	switch filepath.Ext(name) {
	case ".gz":
		z, err := gzip.NewReader(bytes.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if p, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	case ".zst":
		z, err := zstd.NewReader(nil)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Close()
		if p, err = z.DecodeAll(p, nil); err != nil {
			t.Fatal(err)
		}
	case ".vhd":
		d, err := vhd.Open(bytes.NewReader(p), int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, d.Size())
		if _, err := d.ReadAt(raw, 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		p = raw
	}
	return p
}

func open(t testing.TB, p []byte) *ext4.FS {
	t.Helper()
	fsys, err := ext4.Open(bytes.NewReader(p), int64(len(p)))
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// openFile opens a volume in a file.
func openFile(t testing.TB, name string) *ext4.FS {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	fsys, err := ext4.Open(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return fsys
}

// listing has a line per file as the facts do: path, type, size, SHA-256 or
// link target.
func listing(fsys iofs.FS) map[string]string {
	lines := make(map[string]string)
	err := iofs.WalkDir(fsys, ".", func(name string, d iofs.DirEntry, err error) error {
		if err != nil {
			lines["/"+name] = "error " + err.Error()
			return nil
		}
		if name != "." {
			lines["/"+name] = describe(fsys, name, d)
		}
		return nil
	})
	if err != nil {
		lines["/"] = "error " + err.Error()
	}
	return lines
}

func describe(fsys iofs.FS, name string, d iofs.DirEntry) string {
	info, err := d.Info()
	if err != nil {
		return "error " + err.Error()
	}
	switch {
	case info.IsDir():
		return "d\t0\t"
	case info.Mode()&iofs.ModeSymlink != 0:
		target, err := iofs.ReadLink(fsys, name)
		if err != nil {
			return "error " + err.Error()
		}
		return fmt.Sprintf("l\t%d\t%s", info.Size(), target)
	case !info.Mode().IsRegular():
		return fmt.Sprintf("%s\t%d\t", info.Mode().Type(), info.Size())
	}
	f, err := fsys.Open(name)
	if err != nil {
		return "error " + err.Error()
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.CopyBuffer(h, f, make([]byte, 64<<10))
	if err != nil {
		return fmt.Sprintf("f\t%d\terror %v", info.Size(), err)
	}
	if n != info.Size() {
		return fmt.Sprintf("error: %d bytes of %d", n, info.Size())
	}
	return fmt.Sprintf("f\t%d\t%s", n, hex.EncodeToString(h.Sum(nil)))
}

// facts reads what other readers found in an image.
func facts(t testing.TB, name string) map[string]string {
	t.Helper()
	f, err := os.Open(filepath.Join(dataDir(t), "facts", name))
	if err != nil {
		t.Skipf("needs the facts %s: %v", name, err)
	}
	defer f.Close()
	lines := make(map[string]string)
	in := bufio.NewScanner(f)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		path, rest, _ := strings.Cut(in.Text(), "\t")
		lines[path] = rest
	}
	if err := in.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// compare reports at most a few differences.
func compare(t testing.TB, got, want map[string]string) {
	t.Helper()
	shown := 0
	differ := func(format string, args ...any) {
		t.Helper()
		if shown++; shown <= 10 {
			t.Errorf(format, args...)
		}
	}
	for path, w := range want {
		if g, ok := got[path]; !ok {
			differ("%s is missing", path)
		} else if g != w && !(w[0] == 'l' && len(w) > 200 && strings.HasPrefix(g, w)) { // the facts cut long targets
			differ("%s: got %q, want %q", path, g, w)
		}
	}
	for path, g := range got {
		if _, ok := want[path]; !ok {
			differ("%s should not be there: %q", path, g)
		}
	}
	if shown > 10 {
		t.Errorf("and %d more", shown-10)
	}
}
