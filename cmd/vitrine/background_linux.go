package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childEnv tells a process that it serves a mount in the background. What
// opens the repository comes through its standard input; readyFD takes a line
// when the mount can be used.
const (
	childEnv = "VITRINE_MOUNT_CHILD"
	readyFD  = 3
	ready    = "ready\n"
)

// mountInBackground opens the repository, so that every mistake shows here,
// and starts this program again to serve the mount.
func mountInBackground(ctx context.Context, e *env) (err error) {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	secret, err := json.Marshal(e.repo.secret.used)
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer in.Close()
	c := exec.Command(self, os.Args[1:]...)
	c.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "VITRINE_PASSWORD=") }), childEnv+"=1")
	c.Stdin, c.Stderr = strings.NewReader(string(secret)), os.Stderr
	c.ExtraFiles = []*os.File{out}
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = c.Start()
	if err := errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { c.Process.Signal(syscall.SIGTERM) })
	defer stop()
	line, err := io.ReadAll(in)
	if err == nil && string(line) == ready {
		return c.Process.Release()
	}
	err = c.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return &statusError{exit.ExitCode()}
	}
	return errors.Join(errors.New("the process in the background ended"), err)
}

// detach lets go of the terminal and of the folder, and tells the parent that
// the mount can be used.
func detach() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return err
		}
	}
	pipe := os.NewFile(readyFD, "ready")
	_, err = pipe.WriteString(ready)
	return errors.Join(err, pipe.Close())
}
