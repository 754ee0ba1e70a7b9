package integration_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	iofs "io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "vitrine"

// top is the checkout, seen from this package's folder.
const top = ".."

// Where an external module may be used; one that is not listed may be used by
// tests only. A package stands for itself and everything below it.
var external = map[string][]string{
	"github.com/hanwen/go-fuse/v2":  {"fs/mount", "integration"},
	"github.com/winfsp/cgofuse":     {"fs/mount"},
	"github.com/klauspost/compress": {"repo", "integration"},
	"github.com/zeebo/blake3":       {"repo"},
	"github.com/zeebo/xxh3":         {"repo"},
	"go.etcd.io/bbolt":              {"repo"},
	"golang.org/x/crypto":           {"repo"},
	"github.com/spf13/cobra":        {"cmd"},
	"github.com/spf13/pflag":        {"cmd"},
	"github.com/vbauerster/mpb/v8":  {"cmd"},
	"golang.org/x/term":             {"cmd"},
	"golang.org/x/sys":              {"."},
	"golang.org/x/sync":             {"."},
	"golang.org/x/text":             {"."},
}

// layer is the layer of a package of the house, given by its folder. A test
// helper package stands right above the package whose users it serves.
func layer(folder string) (int, error) {
	if isHelper(folder) {
		l, err := layer(path.Dir(folder))
		return l + 1, err
	}
	first, rest, _ := strings.Cut(folder, "/")
	switch {
	case folder == "repo", folder == "fs/disk":
		return 0, nil
	case folder == "backup", folder == "fs":
		return 2, nil
	case first == "repo", folder == "backup/vmconfig":
		return 1, nil
	case folder == "fs/mount":
		return 3, nil
	case first == "fs" && !strings.Contains(rest, "/"):
		return 1, nil
	case first == "backup" && !strings.Contains(rest, "/"):
		return 3, nil
	case first == "cmd", first == "integration":
		return 4, nil
	}
	return 0, fmt.Errorf("%s has no place in the house", folder)
}

// isHelper says whether a folder holds a package made for tests.
func isHelper(folder string) bool { return strings.HasSuffix(folder, "test") }

// arrow judges one import: nil where the house allows that a file of package
// from (a folder; test says whether it is a _test.go file) imports imported.
func arrow(from, imported string, test bool) error {
	test = test || isHelper(from) || strings.HasPrefix(from, "integration")
	to, own := strings.CutPrefix(imported, module+"/")
	if !own {
		return externalArrow(from, imported, test)
	}
	lf, err := layer(from)
	if err != nil {
		return err
	}
	lt, err := layer(to)
	if err != nil {
		return err
	}
	wing := func(p string) string { w, _, _ := strings.Cut(p, "/"); return w }
	switch {
	case test && (wing(from) == wing(to) || isHelper(to)):
		return nil
	case wing(to) == "cmd" || wing(to) == "integration":
		return fmt.Errorf("%s imports %s: nothing imports %s", from, to, wing(to))
	case isHelper(to):
		return fmt.Errorf("%s imports %s: made for tests", from, to)
	case lf < 2 && wing(from) == "repo" && wing(to) != "repo":
		return fmt.Errorf("%s imports %s: the repository knows nothing of disks", from, to)
	case lf < 2 && wing(from) != "repo" && wing(to) == "repo":
		return fmt.Errorf("%s imports %s: formats know nothing of the repository", from, to)
	case from == "fs/guest" && lt == 1 && wing(to) == "fs":
		// Stands among the formats and joins them, for backup and fs.
		return nil
	case lt >= lf:
		return fmt.Errorf("%s (layer %d) imports %s (layer %d): a layer imports only lower layers", from, lf, to, lt)
	}
	return nil
}

func externalArrow(from, imported string, test bool) error {
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		if imported == "testing" && !test {
			return fmt.Errorf("%s imports %s", from, imported)
		}
		return nil
	}
	if test {
		return nil
	}
	for mod, users := range external {
		if imported != mod && !strings.HasPrefix(imported, mod+"/") {
			continue
		}
		for _, u := range users {
			if u == "." || from == u || strings.HasPrefix(from, u+"/") {
				return nil
			}
		}
		return fmt.Errorf("%s imports %s: that is for %s", from, imported, strings.Join(users, ", "))
	}
	return fmt.Errorf("%s imports %s: not a dependency of this layer", from, imported)
}

// goFile is a Go file of the checkout.
type goFile struct {
	path   string // from the top, with slashes
	folder string
	test   bool
	lines  int
	text   string
	syntax *ast.File
}

// goFiles reads every Go file, whatever its build constraints.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	set := token.NewFileSet()
	err := filepath.WalkDir(top, func(p string, d iofs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != top && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(p, ".go") {
			return nil
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, p, b, parser.SkipObjectResolution|parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		files = append(files, goFile{
			path: rel, folder: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"),
			lines: strings.Count(string(b), "\n"), text: string(b), syntax: syntax,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatal("no Go files found")
	}
	return files
}

func TestEveryImportPointsDown(t *testing.T) {
	for _, f := range goFiles(t) {
		for _, im := range f.syntax.Imports {
			imported, err := strconv.Unquote(im.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			// Windows' own calls take pointers; nothing else does.
			if imported == "unsafe" && !strings.HasSuffix(f.path, "_windows.go") {
				t.Errorf("%s imports unsafe", f.path)
			}
			if err := arrow(f.folder, imported, f.test); err != nil {
				t.Errorf("%s: %v", f.path, err)
			}
		}
	}
}

func TestArrow(t *testing.T) {
	for _, c := range []struct {
		from, to  string
		test, bad bool
	}{
		{from: "cmd/vitrine", to: "vitrine/backup/folder"},
		{from: "cmd/vitrine", to: "github.com/spf13/cobra"},
		{from: "backup", to: "vitrine/repo"},
		{from: "backup", to: "vitrine/fs/disk"},
		{from: "backup/folder", to: "vitrine/backup"},
		{from: "backup/folder", to: "vitrine/fs/vhdx"},
		{from: "fs", to: "vitrine/fs/vhdx"},
		{from: "fs/mount", to: "vitrine/fs"},
		{from: "fs/guest", to: "vitrine/fs/lvm"},
		{from: "fs", to: "vitrine/fs/guest"},
		{from: "backup", to: "vitrine/fs/guest"},
		{from: "fs/vhdx", to: "vitrine/fs/disk"},
		{from: "fs/fstest", to: "vitrine/fs"},
		{from: "fs/fstest", to: "testing"},
		{from: "repo/local", to: "vitrine/repo"},
		{from: "repo", to: "vitrine/repo/mem", test: true},
		{from: "repo/local", to: "vitrine/repo/storetest", test: true},
		{from: "fs", to: "vitrine/repo/mem", test: true},
		{from: "backup/folder", to: "vitrine/backup/vmconfig/vmconfigtest", test: true},
		{from: "integration", to: "vitrine/fs/vhdx", test: true},
		{from: "integration/demo", to: "vitrine/backup/vmconfig/vmconfigtest"},

		{from: "repo", to: "vitrine/fs/disk", bad: true},
		{from: "repo/local", to: "vitrine/fs/disk", bad: true},
		{from: "repo", to: "vitrine/repo/local", bad: true},
		{from: "repo", to: "vitrine/fs/disk", test: true, bad: true},
		{from: "repo/mem", to: "vitrine/repo/local", bad: true},
		{from: "fs/disk", to: "vitrine/repo", bad: true},
		{from: "fs/vhdx", to: "vitrine/repo", bad: true},
		{from: "fs/vhdx", to: "vitrine/fs/vhd", bad: true},
		{from: "fs/vhdx", to: "vitrine/fs", bad: true},
		{from: "fs/lvm", to: "vitrine/fs/guest", bad: true},
		{from: "fs/guest", to: "vitrine/fs", bad: true},
		{from: "fs/guest", to: "vitrine/repo", bad: true},
		{from: "backup", to: "vitrine/fs", bad: true},
		{from: "fs", to: "vitrine/backup", bad: true},
		{from: "fs", to: "vitrine/backup", test: true, bad: true},
		{from: "fs/mount", to: "vitrine/backup/folder", bad: true},
		{from: "backup/vmconfig", to: "vitrine/backup", bad: true},
		{from: "backup/folder", to: "vitrine/backup/hyperv", bad: true},
		{from: "backup/folder", to: "vitrine/backup/hosttest", bad: true},
		{from: "backup", to: "vitrine/cmd/vitrine", bad: true},
		{from: "cmd/vitrine", to: "vitrine/integration", bad: true},
		{from: "util", to: "vitrine/repo", bad: true},
		{from: "repo", to: "vitrine/fs/disk/deep/er", bad: true},
		{from: "repo", to: "github.com/hanwen/go-fuse/v2/fuse", bad: true},
		{from: "backup", to: "github.com/spf13/cobra", bad: true},
		{from: "cmd/vitrine", to: "example.org/somebody/else", bad: true},
		{from: "backup", to: "testing", bad: true},
	} {
		err := arrow(c.from, c.to, c.test)
		if got := err != nil; got != c.bad {
			t.Errorf("%s -> %s (test %v): got %v, want an error: %v", c.from, c.to, c.test, err, c.bad)
		}
	}
}

func TestFilesAreShortAndPlain(t *testing.T) {
	const longest = 600
	// In halves, so that this file does not hold the words itself.
	words := []string{"TO" + "DO", "FIX" + "ME", "no" + "lint", "lint:" + "ignore", "sub" + "agent", "farm" + "-", "." + "library", "/" + "work/"}
	for _, f := range goFiles(t) {
		if f.lines > longest {
			t.Errorf("%s has %d lines, more than %d: split it by subject", f.path, f.lines, longest)
		}
		for _, d := range f.syntax.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				t.Errorf("%s has an init function", f.path)
			}
		}
		for _, w := range words {
			if i := strings.Index(f.text, w); i >= 0 {
				t.Errorf("%s:%d: %q has no place here", f.path, 1+strings.Count(f.text[:i], "\n"), w)
			}
		}
		if shared := "shared" + "/data"; !f.test && !isHelper(f.folder) && strings.Contains(f.text, shared) {
			t.Errorf("%s: only tests name %s", f.path, shared)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	told := map[string]bool{}
	for _, f := range goFiles(t) {
		if !f.test {
			told[f.folder] = told[f.folder] || f.syntax.Doc != nil
		}
	}
	for folder, ok := range told {
		if !ok {
			t.Errorf("%s has no package comment", folder)
		}
	}
}

func TestTheTopHoldsNothingElse(t *testing.T) {
	allowed := []string{"cmd", "backup", "fs", "repo", "integration", "Makefile", "README.md", "go.mod", "go.sum"}
	built := []string{"vitrine", "vitrine.exe"}
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		name := e.Name()
		ext := path.Ext(name)
		if strings.HasPrefix(name, ".") || slices.Contains(built, name) || ext == ".test" || ext == ".prof" {
			continue
		}
		if !slices.Contains(allowed, name) {
			t.Errorf("%s stands at the top", name)
		}
	}
}
