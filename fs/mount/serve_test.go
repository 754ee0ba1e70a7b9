//go:build linux

package mount_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"vitrine/fs"
	"vitrine/fs/fstest"
	"vitrine/fs/mount"
)

// The mount is served by another process: a file system and its user in one
// Go process can wait for each other for ever. It is this test binary, run
// again with serveEnv.
const serveEnv = "VITRINE_TEST_SERVE"

func TestMain(m *testing.M) {
	if job := os.Getenv(serveEnv); job != "" {
		if err := serve(job); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// job is what the serving process is to do.
type job struct {
	fstest.Setup
	Dir   string
	Mount options

	server string               // this test binary, "" being where it lies
	who    *syscall.SysProcAttr // whom it runs as
}

// options are those of mount.Options that a job can carry.
type options struct {
	AllowOther, NonEmpty bool
	UID, GID             *int
	Umask                uint32
	LazyAfter            time.Duration
	Forward              []string
}

// serve mounts, says "ready" and obeys the commands of its standard input.
func serve(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := j.Setup.Repository()
	if err != nil {
		return err
	}
	tree, err := fs.New(ctx, r, j.Options())
	if err != nil {
		return err
	}
	defer tree.Close()
	o := j.Mount
	m, err := mount.Mount(ctx, tree, j.Dir, mount.Options{
		AllowOther: o.AllowOther, NonEmpty: o.NonEmpty, UID: o.UID, GID: o.GID, Umask: o.Umask,
		LazyAfter: o.LazyAfter, Forward: o.Forward,
		OnBusy:  func(e *mount.BusyError) { fmt.Println("busy:", e) },
		OnError: func(err error) { fmt.Fprintln(os.Stderr, err) },
	})
	if err != nil {
		return err
	}
	fmt.Println("ready")
	go func() {
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			if answer, err := r.Do(in.Text()); err != nil {
				fmt.Println("error:", err)
			} else {
				fmt.Println("ok:", answer)
			}
		}
		stop()
	}()
	m.Wait()
	fmt.Println("ended")
	return nil
}

// served is a mount in another process.
type served struct {
	t   testing.TB
	dir string
	cmd *exec.Cmd

	mu    sync.Mutex
	in    *bufio.Writer
	close func() error
	out   *bufio.Reader
}

// needFUSE skips where there is nothing to mount with.
func needFUSE(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("there is no /dev/fuse: load the module fuse, or give the container the device")
	}
	if _, err := exec.LookPath("fusermount3"); err != nil && os.Geteuid() != 0 {
		t.Skip("fusermount3 is missing: install fuse3")
	}
}

func mountPoint(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// launch serves a mount until the test ends.
func launch(t testing.TB, j job) *served {
	t.Helper()
	needFUSE(t)
	if j.Dir == "" {
		j.Dir = mountPoint(t)
	}
	s, err := tryLaunch(t, j)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func tryLaunch(t testing.TB, j job) (*served, error) {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	if j.server == "" {
		j.server = os.Args[0]
	}
	cmd := exec.Command(j.server)
	cmd.SysProcAttr = j.who
	cmd.Env = append(os.Environ(), serveEnv+"="+string(text))
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
	s := &served{t: t, dir: j.Dir, cmd: cmd, in: bufio.NewWriter(in), close: in.Close, out: bufio.NewReader(out)}
	line, err := s.line()
	if err != nil || line != "ready" {
		in.Close()
		cmd.Wait()
		return nil, errors.New(line)
	}
	t.Cleanup(s.stop)
	return s, nil
}

func (s *served) line() (string, error) {
	line, err := s.out.ReadString('\n')
	return strings.TrimSpace(line), err
}

// stop ends the mount and its process, whatever the test left of them.
func (s *served) stop() {
	s.close()
	over := make(chan struct{})
	go func() {
		s.cmd.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(20 * time.Second):
		s.t.Error("the mount did not end")
		s.cmd.Process.Kill()
		<-over
	}
	mount.Unmount(s.dir, mount.UnmountOptions{Lazy: true})
}

// do commands the repository behind the mount.
func (s *served) do(command string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintln(s.in, command)
	if err := s.in.Flush(); err != nil {
		return "", err
	}
	line, err := s.line()
	if err != nil {
		return "", err
	}
	answer, ok := strings.CutPrefix(line, "ok:")
	if !ok {
		return "", errors.New(line)
	}
	return strings.TrimSpace(answer), nil
}
