//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

const mib = 1 << 20

// usage is what a process took.
type usage struct {
	wall, cpu time.Duration
	memory    int64 // at most, in bytes
	output    string
}

// measure runs a command to its end.
func measure(ctx context.Context, dir string, env []string, args []string) (usage, error) {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var stdout, stderr bytes.Buffer
	c.Stdout, c.Stderr = &stdout, &stderr
	begun := time.Now()
	err := c.Run()
	u := usageOf(c, time.Since(begun))
	u.output = stdout.String()
	if err != nil {
		return u, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return u, nil
}

func usageOf(c *exec.Cmd, wall time.Duration) usage {
	u := usage{wall: wall}
	if c.ProcessState == nil {
		return u
	}
	u.cpu = c.ProcessState.UserTime() + c.ProcessState.SystemTime()
	if r, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
		u.memory = r.Maxrss << 10
	}
	return u
}

// median runs f as often as figures are wanted and takes the median by time.
func (b *bench) median(f func() (usage, error)) (usage, error) {
	var all []usage
	for range b.runs {
		u, err := f()
		if err != nil {
			return u, err
		}
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b usage) int { return int(a.wall - b.wall) })
	return all[len(all)/2], nil
}

// dropCaches empties the system's caches.
func dropCaches() error {
	syscall.Sync()
	return os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0o200)
}

// readAll reads all files of a folder.
func readAll(dir string) error {
	return filepath.WalkDir(dir, func(name string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(io.Discard, struct{ io.Reader }{f})
		return err
	})
}

// size is the sum of the files below a folder.
func size(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d iofs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
	return n, err
}

// same compares two files.
func same(a, b string) error {
	f, err := os.Open(a)
	if err != nil {
		return err
	}
	defer f.Close()
	g, err := os.Open(b)
	if err != nil {
		return err
	}
	defer g.Close()
	p, q := make([]byte, 4*mib), make([]byte, 4*mib)
	for off := int64(0); ; off += int64(len(p)) {
		n, err := f.ReadAt(p, off)
		m, gerr := g.ReadAt(q, off)
		if n != m || !bytes.Equal(p[:n], q[:m]) {
			return fmt.Errorf("%s and %s differ behind %d", a, b, off)
		}
		if err = errors.Join(err, gerr); errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// table prints rows as they come to an end.
type table struct {
	w *tabwriter.Writer
}

func newTable(title string, head ...string) *table {
	fmt.Printf("\n%s\n\n", title)
	t := &table{tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

func (t *table) row(cells ...string) {
	fmt.Fprintln(t.w, "  "+strings.Join(cells, "\t"))
	fmt.Fprintf(os.Stderr, "… %s\n", strings.Join(cells, "  "))
}

func (t *table) end() error { return t.w.Flush() }

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f", d.Seconds()) }
func mebi(n int64) string            { return fmt.Sprintf("%d", n/mib) }
func millis(d time.Duration) string  { return fmt.Sprintf("%.2f", float64(d.Microseconds())/1000) }
