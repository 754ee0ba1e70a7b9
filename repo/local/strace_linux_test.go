package local_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vitrine/repo/storetest"
)

// trace runs childPut below strace and returns what it did to dir, one call a
// line: its name and the paths in it, relative to dir, with temporary names
// cut short. Calls that failed say so.
func trace(t *testing.T, dir string, inject ...string) (calls []string, stderr string, err error) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("strace is not installed: apt-get install strace")
	}
	log := filepath.Join(t.TempDir(), "log")
	argv := []string{strace, "-f", "-y", "-s", "0", "-o", log, "-e", "trace=fsync,fdatasync,write,mkdirat,renameat2,linkat,unlink,unlinkat,fchmod"}
	for _, i := range inject {
		argv = append(argv, "-e", "inject="+i)
	}
	cmd, err := child("put", dir, argv...)
	if err != nil {
		t.Fatal(err)
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	err = cmd.Run()
	b, rerr := os.ReadFile(log)
	if rerr != nil {
		t.Skipf("strace cannot trace here: %v: %s", err, errs.String())
	}
	if strings.Contains(errs.String(), "ptrace") {
		t.Skipf("strace cannot trace here: %s", errs.String())
	}
	call := regexp.MustCompile(`^\d+ +(\w+)\((.*)\) += (-?\d+)`)
	paths := regexp.MustCompile(regexp.QuoteMeta(dir) + `(/[^>"]*)?`)
	tmp := regexp.MustCompile(`\.tmp-\w+`)
	for line := range strings.Lines(string(b)) {
		m := call.FindStringSubmatch(line)
		if m == nil || !strings.Contains(m[2], dir) {
			continue
		}
		out := m[1]
		for _, p := range paths.FindAllString(m[2], -1) {
			out += " ." + tmp.ReplaceAllString(strings.TrimPrefix(p, dir), ".tmp-")
		}
		if strings.HasPrefix(m[3], "-") {
			out += " failed"
		}
		calls = append(calls, out)
	}
	return calls, errs.String(), err
}

// without drops the calls that make folders and write, whose order is free.
func without(calls []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(calls), func(c string) bool {
		name, _, _ := strings.Cut(c, " ")
		return slices.Contains(names, name)
	})
}

func TestAnObjectIsSyncedBeforeItIsNamed(t *testing.T) {
	_, dir := open(t)
	calls, stderr, err := trace(t, dir)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	want := []string{
		"write ./tmp/.tmp-",
		"fchmod ./tmp/.tmp-",
		"fsync ./tmp/.tmp-",
		"mkdirat ./packs",
		"fsync .",
		"mkdirat ./packs/ab",
		"fsync ./packs",
		"renameat2 ./tmp/.tmp- ./packs/ab/object",
		"fsync ./packs/ab",
	}
	if calls = slices.DeleteFunc(calls, func(c string) bool { return c == "mkdirat ./tmp failed" }); !slices.Equal(calls, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(calls, "\n"), strings.Join(want, "\n"))
	}
}

func TestALinkStandsInForARename(t *testing.T) {
	for _, errno := range []string{"EINVAL", "ENOSYS"} {
		s, dir := open(t)
		calls, stderr, err := trace(t, dir, "renameat2:error="+errno)
		if err != nil {
			t.Fatalf("%v: %s", err, stderr)
		}
		want := []string{
			"fsync ./tmp/.tmp-", "fsync .", "fsync ./packs", "renameat2 ./tmp/.tmp- ./packs/ab/object failed",
			"linkat ./tmp/.tmp- ./packs/ab/object", "unlinkat ./tmp/.tmp-", "fsync ./packs/ab",
		}
		if got := without(calls, "mkdirat", "write", "fchmod"); !slices.Equal(got, want) {
			t.Errorf("%s: got:\n%s\nwant:\n%s", errno, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got := storetest.Read(t, s, childObject); len(got) != 100_000 {
			t.Errorf("%d bytes", len(got))
		}
		// The name is taken now: neither way replaces it.
		if _, stderr, err = trace(t, dir, "renameat2:error="+errno); err == nil || !strings.Contains(stderr, "already exists") {
			t.Errorf("second put: %v: %s", err, stderr)
		}
	}
}

// Each system call of a Put fails once; the object is there only when Put
// said so or when nothing but the last sync failed.
func TestAFailedCallLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		inject string
		says   string
		named  bool
	}{
		{"fsync:error=EIO:when=1", "input/output error", false}, // the file
		{"fsync:error=EIO:when=2", "input/output error", false}, // the folder above packs
		{"fsync:error=EIO:when=3", "input/output error", false}, // packs
		{"fsync:error=EIO:when=4", "input/output error", true},  // packs/ab
		{"renameat2:error=EIO", "input/output error", false},
		{"renameat2:error=ENOSPC", "no space left", false},
		{"renameat2:error=EXDEV", "cross-device", false},
		{"fchmod:error=EIO", "input/output error", false},
		{"mkdirat:error=EDQUOT:when=2", "quota", false},
		{"write:error=ENOSPC:when=1", "no space left", false},
		{"write:error=EDQUOT:when=1", "quota", false},
		{"write:retval=1000:when=1", "arrived", false}, // a disk that lies
	} {
		t.Run(c.inject, func(t *testing.T) {
			s, dir := open(t)
			calls, stderr, err := trace(t, dir, c.inject)
			if err == nil || !strings.Contains(stderr, c.says) {
				t.Errorf("got %v: %s", err, stderr)
			}
			if got := storetest.Names(t, s, ""); (len(got) == 1) != c.named {
				t.Errorf("objects: %q", got)
			}
			if left := inTmp(t, dir); len(left) != 0 {
				t.Errorf("left in tmp: %q", left)
			}
			var syncs []string
			for _, call := range calls {
				if strings.HasPrefix(call, "fsync") {
					syncs = append(syncs, strings.TrimSuffix(call, " failed"))
				}
			}
			if n := len(syncs); n != len(slices.Compact(slices.Sorted(slices.Values(syncs)))) {
				t.Errorf("synced twice: %q", syncs)
			}
		})
	}
}
