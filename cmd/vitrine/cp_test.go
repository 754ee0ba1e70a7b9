package main

import (
	"archive/zip"
	"bytes"
	"context"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs"
)

// evilDir is a folder with names and links that mean harm.
type evilDir struct {
	names []string
	nodes map[string]fs.Node
}

func (d *evilDir) add(name string, n fs.Node) {
	d.names = append(d.names, name)
	d.nodes[name] = n
}

func (d *evilDir) Stat(context.Context) (fs.Info, error) {
	return fs.Info{Mode: iofs.ModeDir | 0o555, Guest: true}, nil
}

func (d *evilDir) Lookup(_ context.Context, name string) (fs.Node, error) { return d.nodes[name], nil }

func (d *evilDir) Entries(context.Context) iter.Seq2[fs.Entry, error] {
	return func(yield func(fs.Entry, error) bool) {
		for _, n := range d.names {
			if !yield(fs.Entry{Name: n}, nil) {
				return
			}
		}
	}
}

type evilFile struct{ text, notice string }

func (f evilFile) Stat(context.Context) (fs.Info, error) {
	return fs.Info{Mode: 0o555 | iofs.ModeSetuid, Size: int64(len(f.text)), Guest: true, Notice: f.notice}, nil
}

func (f evilFile) Open(context.Context) (fs.Handle, error) { return evilHandle{f.text}, nil }

type evilHandle struct{ text string }

func (h evilHandle) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return strings.NewReader(h.text).ReadAt(p, off)
}

func (h evilHandle) Close() error { return nil }

type evilLink string

func (l evilLink) Stat(context.Context) (fs.Info, error)  { return fs.Info{Mode: iofs.ModeSymlink}, nil }
func (l evilLink) Target(context.Context) (string, error) { return string(l), nil }

// evil makes a tree of about 300 names that lead out of a folder, or to a
// device, on one system or another.
func evil() (d *evilDir, files int) {
	d = &evilDir{nodes: make(map[string]fs.Node)}
	parts := []string{"..", ".", "", "a", `..\..\x`, "../../x", "/etc/x", `C:\x`, "C:x", "c:", `\\?\C:\x`, "x:stream", "a\x00b", "con", "NUL.txt", "aux", "com1.log", "LPT¹",
		"dot.", "space ", "...", "\xff\xfe", "\u202egpj.exe", "a\nb", "a?*<>|\"", strings.Repeat("ü", 200), strings.Repeat("x", 255), "PROGRA~1", "A", "Ａ", "~", "-rf", "$(x)"}
	for _, p := range parts {
		for _, ext := range []string{"", "/../../y", `\..\..\y`, ".txt", "./", ":$DATA", " .", "\t", "~1"} {
			if _, twice := d.nodes[p+ext]; !twice {
				d.add(p+ext, evilFile{text: p + ext})
				files++
			}
		}
	}
	sub := &evilDir{nodes: make(map[string]fs.Node)}
	for i, target := range []string{"/etc", "../..", "a/../../..", "..", "x/..", "", "../../../../tmp", "../a", "."} {
		d.add(fmt.Sprint("link", i), evilLink(target))
		sub.add(fmt.Sprint("link", i), evilLink(target))
	}
	// What was a link in the first place is a folder in the second.
	for i := range 9 {
		into := &evilDir{nodes: make(map[string]fs.Node)}
		into.add("x", evilFile{text: "through a link"})
		d.names = append(d.names, fmt.Sprint("link", i))
		sub.add(fmt.Sprint("dir", i), into)
		files++
	}
	d.add("sub", sub)
	d.add("device", evilFile{notice: "a device"})
	return d, files
}

func TestNothingIsCopiedOutOfTheTarget(t *testing.T) {
	outer := t.TempDir()
	target := filepath.Join(outer, "a", "target")
	if err := os.MkdirAll(target, 0o700); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(target)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	e, _, stderr := testEnv()
	d, want := evil()
	c := &copying{e: e, bars: newBars(t.Context(), e, true), to: &folderSink{root}}
	if err := c.node(t.Context(), d, "", "all", -1); err != nil {
		t.Fatal(err)
	}
	got := 0
	err = filepath.WalkDir(outer, func(p string, entry iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside := strings.HasPrefix(p, filepath.Join(target, "all"))
		info, err := entry.Info()
		if err != nil {
			return err
		}
		switch {
		case entry.Type().IsRegular() && !inside:
			t.Errorf("%s lies outside of the target", p)
		case entry.Type().IsRegular():
			got++
			if info.Mode()&(iofs.ModeSetuid|iofs.ModeSetgid) != 0 {
				t.Errorf("%s has mode %v", p, info.Mode())
			}
		case entry.Type()&iofs.ModeSymlink != 0:
			real, err := filepath.EvalSymlinks(p)
			if err == nil && !strings.HasPrefix(real, filepath.Join(target, "all")) {
				t.Errorf("%s leads to %s", p, real)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.failed != 0 || got != want {
		t.Errorf("%d files of %d arrived, %d failed\n%s", got, want, c.failed, stderr)
	}
	for _, text := range []string{`/../../x is called "`, `/device is left out: a device`, `/link0 is left out: it is a link to /etc`} {
		if !strings.Contains(stderr.String(), text) {
			t.Errorf("nothing tells that %s", text)
		}
	}
}

func TestNamesForWindowsInArchives(t *testing.T) {
	var b bytes.Buffer
	e, _, _ := testEnv()
	d, want := evil()
	z := newZipSink(&b)
	c := &copying{e: e, bars: newBars(t.Context(), e, true), to: z}
	if err := c.node(t.Context(), d, "", "all", -1); err != nil {
		t.Fatal(err)
	}
	if err := z.w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	got, seen := 0, make(map[string]bool)
	for _, f := range r.File {
		name := strings.TrimSuffix(f.Name, "/")
		if seen[strings.ToLower(name)] {
			t.Errorf("%q is there twice", name)
		}
		seen[strings.ToLower(name)] = true
		for part := range strings.SplitSeq(name, "/") {
			if part != fs.SafeName(part) || strings.ContainsAny(part, `\:`) {
				t.Errorf("%q has the part %q", f.Name, part)
			}
		}
		if f.Mode().IsRegular() {
			got++
			in, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, in); err != nil {
				t.Error(err)
			}
		}
	}
	if got != want || c.failed != 0 {
		t.Errorf("%d files of %d arrived, %d failed", got, want, c.failed)
	}
}

func TestLinksThatStayInside(t *testing.T) {
	for _, c := range []struct {
		depth  int
		target string
		want   bool
	}{
		{0, "a", true}, {0, "a/b/", true}, {0, ".", true}, {0, "..", false}, {1, "..", true}, {1, "../../a", false}, {2, "../../a", true},
		{2, "/a", false}, {2, "a/..", false}, {2, "", false}, {2, "a\x00b", false},
	} {
		if got := staysInside(c.depth, c.target, false); got != c.want {
			t.Errorf("%q from %d: %v", c.target, c.depth, got)
		}
	}
	for _, target := range []string{`..\..\x`, `C:x`, `\x`, `a:b`} {
		if staysInside(3, target, true) {
			t.Errorf("%q is taken on Windows", target)
		}
	}
}
