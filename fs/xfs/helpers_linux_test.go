package xfs_test

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	iofs "io/fs"
	"os"
	"os/exec"
	"strings"
	"testing"
	"vitrine/fs/xfs"
)

// openImage opens an image file until the test ends.
func openImage(t testing.TB, name string) *xfs.FS {
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
	v, err := xfs.Open(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// facts describes a file in one line; times are left out.
func facts(name string, i iofs.FileInfo, uid, gid uint32, links uint64, content func() ([]byte, error), target func() (string, error)) string {
	line := fmt.Sprintf("%s %v %d:%d", name, i.Mode(), uid, gid)
	switch {
	case i.Mode().IsRegular():
		b, err := content()
		if err != nil {
			return line + " " + err.Error()
		}
		sum := sha256.Sum256(b)
		line += fmt.Sprintf(" links %d size %d %s", links, i.Size(), hex.EncodeToString(sum[:8]))
	case i.Mode()&iofs.ModeSymlink != 0:
		to, err := target()
		if err != nil {
			return line + " " + err.Error()
		}
		line += " -> " + to
	}
	return line + " " + i.ModTime().UTC().Format("2006-01-02T15:04:05.000000000")
}

// ours lists a volume as our reader sees it.
func ours(t testing.TB, v *xfs.FS) map[string]string {
	t.Helper()
	all := make(map[string]string)
	err := iofs.WalkDir(v, ".", func(name string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err != nil {
			return err
		}
		if i.Mode().Type() != d.Type() {
			t.Errorf("%s: the directory says %v, the inode %v", name, d.Type(), i.Mode())
		}
		sys := i.Sys().(interface {
			Owner() (uint32, uint32, bool)
			Links() int
		})
		uid, gid, _ := sys.Owner()
		all[name] = facts(name, i, uid, gid, uint64(sys.Links()),
			func() ([]byte, error) { return iofs.ReadFile(v, name) },
			func() (string, error) { return v.ReadLink(name) })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
