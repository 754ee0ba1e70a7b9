package local_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"vitrine/repo"
	"vitrine/repo/local"
	"vitrine/repo/storetest"
)

// TestMain lets the test binary be the other process of some tests.
func TestMain(m *testing.M) {
	switch os.Getenv("VITRINE_LOCAL_CHILD") {
	case "":
		os.Exit(m.Run())
	case "race":
		os.Exit(childRace())
	case "put":
		os.Exit(childPut())
	}
	os.Exit(2)
}

// child starts the test binary in a role of TestMain.
func child(role, dir string, wrapper ...string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	argv := append(wrapper, self)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "VITRINE_LOCAL_CHILD="+role, "VITRINE_LOCAL_DIR="+dir)
	return cmd, nil
}

const childObject = "packs/ab/object"

// childPut puts one object into new folders.
func childPut() int {
	runtime.LockOSThread() // strace counts calls by thread
	s, err := local.Open(os.Getenv("VITRINE_LOCAL_DIR"))
	if err == nil {
		err = s.Put(context.Background(), childObject, bytes.Repeat([]byte("x"), 100_000))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func open(t *testing.T) (*local.Store, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s, dir
}

func put(t *testing.T, s repo.Store, name, data string) {
	t.Helper()
	if err := s.Put(t.Context(), name, []byte(data)); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, dir string, names ...string) {
	t.Helper()
	for _, n := range names {
		p := filepath.Join(dir, filepath.FromSlash(n))
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("stray"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func inTmp(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, "tmp"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestLocalIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) repo.Store {
		s, _ := open(t)
		return s
	})
}

func TestOpenWantsAFolder(t *testing.T) {
	dir := t.TempDir()
	if _, err := local.Open(filepath.Join(dir, "none")); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	write(t, dir, "file")
	if _, err := local.Open(filepath.Join(dir, "file")); err == nil {
		t.Error("opened a file")
	}
	if _, err := local.Create(filepath.Join(dir, "file", "x")); err == nil {
		t.Error("made a folder in a file")
	}
	for range 2 {
		s, err := local.Create(filepath.Join(dir, "a", "b"))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Put(t.Context(), "x", nil); err != nil && !errors.Is(err, iofs.ErrExist) {
			t.Fatal(err)
		}
	}
	s, err := local.Open(filepath.Join(dir, "a", "b"))
	if err != nil {
		t.Fatal(err)
	}
	if got := storetest.Names(t, s, ""); !slices.Equal(got, []string{"x"}) {
		t.Errorf("got %q", got)
	}
}

func TestAStoreThatIsGoneIsNotAnEmptyOne(t *testing.T) {
	s, dir := open(t)
	put(t, s, "packs/a", "x")
	aside := dir + ".aside"
	if err := os.Rename(dir, aside); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(aside)
	for _, bare := range []bool{false, true} {
		if bare {
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		errs := map[string]error{
			"put known folder": s.Put(t.Context(), "packs/b", nil),
			"put new folder":   s.Put(t.Context(), "index/b", nil),
			"delete":           s.Delete(t.Context(), "packs/a"),
		}
		_, errs["get"] = s.Get(t.Context(), "packs/a", 0, -1)
		for _, prefix := range []string{"", "packs/", "none/x"} {
			for _, err := range s.List(t.Context(), prefix) {
				errs["list "+prefix] = err
			}
			if errs["list "+prefix] == nil {
				t.Errorf("bare %v: list %q: no error", bare, prefix)
			}
		}
		for what, err := range errs {
			var hint interface{ Hint() string }
			if err == nil || errors.Is(err, iofs.ErrNotExist) || !errors.As(err, &hint) {
				t.Errorf("bare %v: %s: got %v, want an error with a hint that is not ErrNotExist", bare, what, err)
			}
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the bare mount point was written to: %v, %v", entries, err)
	}
}

func TestStraysAreNoObjects(t *testing.T) {
	s, dir := open(t)
	put(t, s, "config", "x")
	put(t, s, "packs/00/a", "x")
	strays := []string{
		".DS_Store", "Desktop.ini", "Thumbs.db", "desktop.ini", "lost+found/", "packs/.DS_Store", "packs/00/Thumbs.db",
		"packs/00/a.PART", "packs/00/a~", "tmp/.tmp-1", "tmp/other", "tmp/sub/", ".snapshot/",
	}
	for _, n := range strays {
		if strings.HasSuffix(n, "/") {
			n += "inner"
		}
		write(t, dir, n)
	}
	if runtime.GOOS != "windows" {
		for _, n := range []string{"link", "packs/link"} {
			strays = append(strays, n)
			if err := os.Symlink("/etc", filepath.Join(dir, n)); err != nil {
				t.Fatal(err)
			}
		}
		strays = append(strays, "linked")
		if err := os.Symlink("config", filepath.Join(dir, "linked")); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Get(t.Context(), "linked", 0, -1); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("get through a link: %v", err)
		}
		if err := s.Put(t.Context(), "link/x", nil); err == nil {
			t.Error("put through a link")
		}
		outside := t.TempDir()
		write(t, outside, "precious")
		if err := os.Symlink(outside, filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		strays = append(strays, "out")
		if err := s.Delete(t.Context(), "out/precious"); err != nil {
			t.Errorf("delete through a link: %v", err)
		}
		if _, err := os.Stat(filepath.Join(outside, "precious")); err != nil {
			t.Errorf("a link led a delete out of the store: %v", err)
		}
		if err := s.Put(t.Context(), "linked", nil); err == nil || errors.Is(err, iofs.ErrExist) {
			t.Errorf("put in place of a link: %v", err)
		}
	}
	if got := storetest.Names(t, s, ""); !slices.Equal(got, []string{"config", "packs/00/a"}) {
		t.Errorf("objects: %q", got)
	}
	for _, prefix := range []string{"tmp/", "tmp", ".", "lost", "packs/00/T", "link/", "out/pre"} {
		if got := storetest.Names(t, s, prefix); len(got) != 0 {
			t.Errorf("objects below %q: %q", prefix, got)
		}
	}
	var got []string
	for in, err := range s.Strays(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, in.Name)
	}
	slices.Sort(got)
	slices.Sort(strays)
	if !slices.Equal(got, strays) {
		t.Errorf("strays:\n got %q\nwant %q", got, strays)
	}
}

func TestAFolderIsNoObject(t *testing.T) {
	s, dir := open(t)
	put(t, s, "a/b/c", "x")
	if _, err := s.Get(t.Context(), "a/b", 0, -1); !errors.Is(err, iofs.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
	if err := s.Put(t.Context(), "a/b", nil); err == nil || errors.Is(err, iofs.ErrExist) {
		t.Errorf("put: %v", err)
	}
	if err := s.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"a/b", "a"} {
		if err := s.Delete(t.Context(), n); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "a", "b")); err != nil {
		t.Errorf("an empty folder went: %v", err)
	}
	if left := inTmp(t, dir); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}

func TestAFolderRemovedByHandIsMadeAgain(t *testing.T) {
	s, dir := open(t)
	put(t, s, "a/b/c", "x")
	if err := os.RemoveAll(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "a/b/d", "y")
	if got := storetest.Names(t, s, ""); !slices.Equal(got, []string{"a/b/d"}) {
		t.Errorf("got %q", got)
	}
}

func TestAFolderThatVanishesWhileListedIsNoError(t *testing.T) {
	s, dir := open(t)
	for _, n := range []string{"a/1", "b/1", "b/c/1", "d/1"} {
		put(t, s, n, "x")
	}
	var got []string
	for in, err := range s.List(t.Context(), "") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, in.Name)
		if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, []string{"a/1", "d/1"}) {
		t.Errorf("got %q", got)
	}
}

func TestOldTemporaryFilesAreReaped(t *testing.T) {
	s, dir := open(t)
	put(t, s, "a", "x")
	write(t, dir, "tmp/.tmp-old", "tmp/.tmp-young", "tmp/other", "tmp/.tmp-folder/x")
	now := time.Now()
	old := now.Add(-25 * time.Hour)
	for _, n := range []string{"tmp/.tmp-old", "tmp/other", "tmp/.tmp-folder", "a"} {
		if err := os.Chtimes(filepath.Join(dir, n), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Reap(now.Add(-2 * time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := inTmp(t, dir); !slices.Equal(got, []string{".tmp-folder", ".tmp-old", ".tmp-young", "other"}) {
		t.Errorf("after 23 hours: %q", got)
	}
	if _, err := local.Open(dir); err != nil {
		t.Fatal(err)
	}
	if got := inTmp(t, dir); !slices.Equal(got, []string{".tmp-folder", ".tmp-young", "other"}) {
		t.Errorf("after 25 hours: %q", got)
	}
	if got := storetest.Names(t, s, ""); !slices.Equal(got, []string{"a"}) {
		t.Errorf("objects: %q", got)
	}
}

func TestObjectsCannotBeWrittenByAccident(t *testing.T) {
	s, dir := open(t)
	put(t, s, "p/a", "x")
	st, err := os.Stat(filepath.Join(dir, "p", "a"))
	if err != nil {
		t.Fatal(err)
	}
	want := iofs.FileMode(0o400)
	if runtime.GOOS == "windows" {
		want = 0o444
	}
	if st.Mode() != want {
		t.Errorf("file mode %v, want %v", st.Mode(), want)
	}
	if st, err = os.Stat(filepath.Join(dir, "p")); err != nil || runtime.GOOS != "windows" && st.Mode().Perm() != 0o700 {
		t.Errorf("folder mode %v, %v", st.Mode(), err)
	}
}

func TestAFailedSyncIsFinal(t *testing.T) {
	boom := errors.New("boom")
	s, dir := open(t)
	calls := 0
	s.SetSync(func(*os.File) error { calls++; return boom }, nil)
	if err := s.Put(t.Context(), "a/b", []byte("x")); !errors.Is(err, boom) {
		t.Errorf("got %v", err)
	}
	if calls != 1 {
		t.Errorf("synced %d times", calls)
	}
	if got := storetest.Names(t, s, ""); len(got) != 0 {
		t.Errorf("objects: %q", got)
	}
	if got := inTmp(t, dir); len(got) != 0 {
		t.Errorf("left in tmp: %q", got)
	}
	for _, fails := range []string{dir, filepath.Join(dir, "a"), filepath.Join(dir, "a", "b")} {
		s, err := local.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		s.SetSync(nil, func(d string) error {
			if d == fails {
				return boom
			}
			return nil
		})
		if err := s.Put(t.Context(), "a/b/"+filepath.Base(fails), nil); !errors.Is(err, boom) {
			t.Errorf("sync of %s failed: got %v", fails, err)
		}
		if got := inTmp(t, dir); len(got) != 0 {
			t.Errorf("left in tmp: %q", got)
		}
	}
}

func TestExistingMeansDurable(t *testing.T) {
	s, dir := open(t)
	put(t, s, "a/b/c", "x")
	other, err := local.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var synced []string
	other.SetSync(nil, func(d string) error {
		rel, _ := filepath.Rel(dir, d)
		synced = append(synced, filepath.ToSlash(rel))
		return nil
	})
	if err := other.Put(t.Context(), "a/b/c", nil); !errors.Is(err, iofs.ErrExist) {
		t.Fatal(err)
	}
	if want := []string{".", "a", "a/b"}; !slices.Equal(synced, want) {
		t.Errorf("synced %q, want %q", synced, want)
	}
	other.SetSync(nil, func(string) error { return io.ErrNoProgress })
	if err := other.Put(t.Context(), "a/b/c", nil); !errors.Is(err, io.ErrNoProgress) || errors.Is(err, iofs.ErrExist) {
		t.Errorf("got %v", err)
	}
}

func TestAFileOfTheWrongSizeIsAnError(t *testing.T) {
	s, dir := open(t)
	for _, size := range []int64{0, 9, 11} {
		s.SetSync(func(f *os.File) error { return f.Truncate(size) }, nil)
		if err := s.Put(t.Context(), "a", make([]byte, 10)); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("%d bytes arrived: got %v", size, err)
		}
	}
	if got := storetest.Names(t, s, ""); len(got) != 0 {
		t.Errorf("objects: %q", got)
	}
	if got := inTmp(t, dir); len(got) != 0 {
		t.Errorf("left in tmp: %q", got)
	}
}

const (
	raceNames    = 100
	raceChildren = 3
)

// childRace puts the same names as its twins and prints those it won.
func childRace() int {
	s, err := local.Open(os.Getenv("VITRINE_LOCAL_DIR"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n') // the start
	for i := range raceNames {
		name := fmt.Sprintf("r/%d/%d", i%5, i)
		err := s.Put(context.Background(), name, fmt.Appendf(nil, "%d %s", os.Getpid(), strings.Repeat("x", 5000)))
		switch {
		case err == nil:
			fmt.Println(name)
		case !errors.Is(err, iofs.ErrExist):
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	return 0
}

func TestOneOfManyProcessesWins(t *testing.T) {
	s, dir := open(t)
	type proc struct {
		cmd *exec.Cmd
		in  io.Closer
		out *bufio.Scanner
	}
	var procs []proc
	for range raceChildren {
		cmd, err := child("race", dir)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		p := proc{cmd, in, bufio.NewScanner(out)}
		if !p.out.Scan() {
			t.Fatal("a child did not start")
		}
		procs = append(procs, p)
	}
	for _, p := range procs {
		p.in.Close()
	}
	winner := make(map[string]int)
	for _, p := range procs {
		for p.out.Scan() {
			if winner[p.out.Text()] != 0 {
				t.Errorf("two processes put %s", p.out.Text())
			}
			winner[p.out.Text()] = p.cmd.Process.Pid
		}
		if err := p.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if len(winner) != raceNames {
		t.Errorf("%d of %d names were won", len(winner), raceNames)
	}
	for name, pid := range winner {
		if got := storetest.Read(t, s, name); !strings.HasPrefix(string(got), fmt.Sprint(pid, " ")) || len(got) < 5000 {
			t.Errorf("%s does not hold what its winner put", name)
		}
	}
	if left := inTmp(t, dir); len(left) != 0 {
		t.Errorf("left in tmp: %q", left)
	}
}
