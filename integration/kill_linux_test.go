package integration_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	killDisk = 64 << 20 // the disk that is backed up
	killOld  = 8 << 20  // of it written on the first day
	killNew  = 44 << 20 // and on the second: more than one pack
)

// killCase is a machine on two days and a repository that holds the first.
type killCase struct {
	today  string // folder with the disk as it is on the second day
	before place  // the repository after the first day
	first  string // the restore point of the first day
	sums   map[string][32]byte
	full   summary // what an undisturbed backup of the second day reports
}

func newKillCase(t *testing.T) *killCase {
	t.Helper()
	dir := t.TempDir()
	k := &killCase{today: filepath.Join(dir, "source"), before: place{filepath.Join(dir, "place")}, sums: map[string][32]byte{}}
	for _, d := range []string{k.today, k.before.dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	disk := make([]byte, killDisk)
	random := rand.NewChaCha8([32]byte{1})
	random.Read(disk[:killOld])
	k.write(t, disk)
	k.before.run(t, "init", "--no-encryption")
	s := k.before.backup(t, k.today)
	k.first = s.Points[0]
	k.sums[k.first] = sha256.Sum256(disk)

	random.Read(disk[killOld/2 : killOld/2+killNew])
	k.write(t, disk)
	k.sums[""] = sha256.Sum256(disk) // of every later point
	k.full = k.before.copy(t).backup(t, k.today)
	return k
}

func (k *killCase) write(t *testing.T, disk []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(k.today, "disk.raw"), disk, 0o644); err != nil {
		t.Fatal(err)
	}
}

// judge looks at what a killed backup left: reported is what it had printed.
func (k *killCase) judge(t *testing.T, p place, reported string) {
	t.Helper()
	listed := p.points(t)
	if !slices.Contains(listed, k.first) {
		t.Errorf("the restore point of the first day is gone: %q", listed)
	}
	for _, id := range reportedPoints(t, reported) {
		if !slices.Contains(listed, id) {
			t.Errorf("restore point %s was reported and is not listed", id)
		}
	}
	for _, id := range listed {
		k.restore(t, p, id)
	}
	p.run(t, "check")

	// Packs that were durable when the backup died are not stored again.
	left := packs(t, p)
	again := p.backup(t, k.today)
	added := int64(0)
	for name, size := range packs(t, p) {
		if _, ok := left[name]; !ok {
			added += size
		}
	}
	lost := k.full.BytesStored
	for name, size := range left {
		if _, ok := packs(t, k.before)[name]; !ok {
			lost -= size
		}
	}
	const slack = 1 << 20 // directories, maps, and chunks at the edges
	if added > max(lost, 0)+slack {
		t.Errorf("the next backup stored %d bytes, where %d were missing", added, max(lost, 0))
	}
	k.restore(t, p, again.Points[0])
	p.run(t, "check", "--read-data")
}

// reportedPoints are those of complete lines of backup --json.
func reportedPoints(t *testing.T, out string) []string {
	t.Helper()
	var ids []string
	for line := range strings.Lines(out) {
		var machine struct{ Point string }
		if strings.HasSuffix(line, "\n") && json.Unmarshal([]byte(line), &machine) == nil && machine.Point != "" {
			ids = append(ids, machine.Point)
		}
	}
	return ids
}

// restore restores a point and compares it with the disk of its day.
func (k *killCase) restore(t *testing.T, p place, id string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "to")
	defer os.RemoveAll(to)
	p.run(t, "restore", id, "--to", to, "--format", "raw")
	want, ok := k.sums[id]
	if !ok {
		want = k.sums[""]
	}
	f, err := os.Open(filepath.Join(to, "disk", "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(h.Sum(nil), want[:]) {
		t.Errorf("restore point %s does not restore byte for byte", id)
	}
}

// packs are the sizes of the packs in a repository.
func packs(t *testing.T, p place) map[string]int64 {
	t.Helper()
	sizes := map[string]int64{}
	err := filepath.WalkDir(filepath.Join(p.repo(), "packs"), func(name string, d iofs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			rel, _ := filepath.Rel(p.repo(), name)
			sizes[rel] = info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sizes
}

// storeCalls are the system calls that a store changes its folder by.
const storeCalls = "renameat2,linkat,unlink,unlinkat"

// succeeded matches the line of a call, or the second half of one that another
// thread's was printed into.
var succeeded = regexp.MustCompile(`\)\s+= \d`)

// killAt runs a backup below strace and kills it right behind its nth call
// among calls that succeeds. Every call is held for some milliseconds before
// and behind, so that no other can slip in. killed is false where there are
// fewer calls.
func (k *killCase) killAt(t *testing.T, p place, calls string, n int) (killed bool, stdout string, last string) {
	t.Helper()
	inner := p.command(t, "backup", "--json", k.today)
	args := []string{"-f", "-qq", "-s", "200", "-e", "trace=" + calls, "-e", "signal=none",
		"-e", "inject=" + calls + ":delay_enter=15ms:delay_exit=15ms", "-o", "|cat >&3"}
	c := exec.Command("strace", append(append(args, "--"), inner.Args...)...)
	c.Env = inner.Env
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var out bytes.Buffer
	c.ExtraFiles = []*os.File{w}
	c.Stdout = &out
	err = c.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(r)
	for seen := 0; lines.Scan(); {
		if !succeeded.MatchString(lines.Text()) {
			continue
		}
		if seen++; seen == n {
			last, killed = lines.Text(), true
			break
		}
	}
	if killed {
		if err := syscall.Kill(-c.Process.Pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	err = c.Wait()
	if !killed && err != nil {
		t.Fatalf("backup below strace: %v", err)
	}
	return killed, out.String(), last
}

func TestABackupKilledBehindAnyStoreOperation(t *testing.T) {
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("needs strace: apt-get install strace")
	}
	calls := storeCalls
	if os.Getenv("VITRINE_SOAK") != "" {
		calls += ",fsync,mkdirat,write,pwrite64"
	}
	k := newKillCase(t)
	points := map[bool]int{} // whether the second day's point was there
	for n := 1; ; n++ {
		p := k.before.copy(t)
		killed, out, last := k.killAt(t, p, calls, n)
		if !killed {
			if n < 6 {
				t.Fatalf("a backup made only %d store operations", n-1)
			}
			break
		}
		points[len(p.points(t)) > 1]++
		if !t.Run(fmt.Sprint(n), func(t *testing.T) { k.judge(t, p, out) }) {
			t.Logf("killed behind %s", last)
		}
		os.RemoveAll(p.dir)
	}
	if points[false] == 0 || points[true] == 0 {
		t.Errorf("kills before and behind the commit: %v; want both", points)
	}
}

func TestABackupKilledAtAnyMoment(t *testing.T) {
	kills := 4
	if os.Getenv("VITRINE_SOAK") != "" {
		kills = 200
	}
	k := newKillCase(t)
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for done, tries := 0, 0; done < kills; tries++ {
		if tries > 3*kills+10 {
			t.Fatalf("only %d of %d backups could be killed", done, tries)
		}
		p := k.before.copy(t)
		killed, out := k.killLater(t, p, time.Duration(random.Int64N(int64(150*time.Millisecond))))
		if killed {
			done++
			t.Run(fmt.Sprint(done), func(t *testing.T) { k.judge(t, p, out) })
		}
		os.RemoveAll(p.dir)
	}
}

// killLater kills a backup some time after its first pack appears.
func (k *killCase) killLater(t *testing.T, p place, after time.Duration) (killed bool, stdout string) {
	t.Helper()
	had := len(packs(t, p))
	c := p.command(t, "backup", "--json", k.today)
	var out bytes.Buffer
	c.Stdout = &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for len(packs(t, p)) == had {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatalf("backup: %v", err)
			}
			return false, ""
		case <-time.After(time.Millisecond):
		}
	}
	select {
	case <-ended:
		return false, ""
	case <-time.After(after):
	}
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	err := <-ended
	var exit *exec.ExitError
	return errors.As(err, &exit) && !exit.Exited(), out.String()
}
