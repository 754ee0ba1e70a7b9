package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// binary is the program, built once for all tests of this package.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "vitrine-test-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "vitrine")
	out, err := exec.Command("go", "build", "-o", name, "../cmd/vitrine").CombinedOutput()
	if err != nil {
		return "", errors.New(string(out))
	}
	return name, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if name, err := binary(); err == nil {
		os.RemoveAll(filepath.Dir(name))
	}
	os.Exit(status)
}

// place is a repository without encryption, so that nearly all of a run's time
// goes to storing, with the cache that its writers use.
type place struct{ dir string }

func (p place) repo() string  { return filepath.Join(p.dir, "repo") }
func (p place) cache() string { return filepath.Join(p.dir, "cache") }

// command is the program on the repository.
func (p place) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	name, err := binary()
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	c := exec.CommandContext(context.WithoutCancel(t.Context()), name, args...)
	c.Env = append(os.Environ(), "VITRINE_REPO="+p.repo(), "VITRINE_PASSWORD=", "XDG_CACHE_HOME="+p.cache())
	return c
}

// run runs the program, which must succeed, and returns its standard output.
func (p place) run(t *testing.T, args ...string) string {
	t.Helper()
	var stdout, stderr bytes.Buffer
	c := p.command(t, args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	if err := c.Run(); err != nil {
		t.Fatalf("vitrine %s: %v\n%s%s", strings.Join(args, " "), err, &stdout, &stderr)
	}
	return stdout.String()
}

// copy makes another place with the same content.
func (p place) copy(t *testing.T) place {
	t.Helper()
	to := place{filepath.Join(t.TempDir(), "copy")}
	if err := os.CopyFS(to.dir, os.DirFS(p.dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// points are the ids that list reports, oldest first.
func (p place) points(t *testing.T) []string {
	t.Helper()
	var list []struct{ ID string }
	if err := json.Unmarshal([]byte(p.run(t, "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range list {
		ids = append(ids, e.ID)
	}
	return ids
}

// summary is the last line of backup --json.
type summary struct {
	Points                           []string
	BytesRead, BytesNew, BytesStored int64
}

// backup backs a folder up and returns what the program says of it.
func (p place) backup(t *testing.T, source string) summary {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(p.run(t, "backup", "--json", source)), "\n")
	var s summary
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &s); err != nil {
		t.Fatal(err)
	}
	return s
}
