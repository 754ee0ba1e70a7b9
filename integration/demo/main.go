// Command demo shows what Vitrine does, on machines made up on the spot: an
// export as Hyper-V writes it, with real file systems in real VHDX files, is
// backed up, changed, backed up again and mounted; other people's programs
// then read the mounted disks. It leaves nothing behind, also when it fails.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// demo is one run. Everything it makes lies below dir.
type demo struct {
	ctx     context.Context
	dir     string
	vitrine string
	begun   time.Time
	steps   int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	vitrine, err := filepath.Abs("vitrine")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vitrine-demo-")
	if err != nil {
		return err
	}
	d := &demo{ctx: ctx, dir: dir, vitrine: vitrine, begun: time.Now()}
	defer func() { err = errors.Join(err, d.cleanUp()) }()
	env := map[string]string{
		"VITRINE_REPO":     d.path("repository"),
		"VITRINE_PASSWORD": "a password for a demonstration",
		"XDG_CACHE_HOME":   d.path("cache"),
		"PATH":             os.Getenv("PATH") + ":/usr/sbin:/sbin",
	}
	for k, v := range env {
		if err := os.Setenv(k, v); err != nil {
			return err
		}
	}
	for _, step := range []func() error{d.backUp, d.changeAndBackUp, d.mount, d.readMounted, d.unmountAndRestore} {
		if err := step(); err != nil {
			return err
		}
	}
	fmt.Printf("\nAll done in %.0f seconds.\n", time.Since(d.begun).Seconds())
	return nil
}

func (d *demo) path(elem ...string) string { return filepath.Join(append([]string{d.dir}, elem...)...) }

// cleanUp takes down a mount that a failed run left and removes every file.
func (d *demo) cleanUp() error {
	if mounts, err := os.ReadFile("/proc/self/mounts"); err == nil && strings.Contains(string(mounts), d.path("mnt")+" ") {
		if err := exec.Command("fusermount3", "-u", "-z", d.path("mnt")).Run(); err != nil {
			return fmt.Errorf("unmount %s: %w", d.path("mnt"), err)
		}
	}
	return os.RemoveAll(d.dir)
}

func (d *demo) backUp() error {
	d.step("Two machines, exported as Hyper-V does: WEB01 (Linux, ext4) and SQL01 (Windows, NTFS)")
	for _, m := range machines {
		if err := d.makeMachine(m); err != nil {
			return fmt.Errorf("make %s: %w", m.name, err)
		}
	}
	if err := d.show("find", d.path("export"), "-type", "f", "-printf", "%12s  %P\n"); err != nil {
		return err
	}
	d.step("A repository, encrypted, and a first backup")
	return d.showAll([][]string{
		{"vitrine", "init"},
		{"vitrine", "vms", d.path("export")},
		{"vitrine", "backup", d.path("export")},
	})
}

func (d *demo) changeAndBackUp() error {
	d.step("The machines change, and are backed up again")
	for _, m := range machines {
		if err := d.change(m, "as it is today\n"); err != nil {
			return fmt.Errorf("change %s: %w", m.name, err)
		}
	}
	return d.showAll([][]string{
		{"vitrine", "backup", d.path("export")},
		{"vitrine", "list"},
	})
}

func (d *demo) mount() error {
	d.step("Every restore point of every machine, mounted")
	if err := os.Mkdir(d.path("mnt"), 0o700); err != nil {
		return err
	}
	if err := d.show("vitrine", "mount", "--background", d.path("mnt")); err != nil {
		return err
	}
	return d.show("find", d.path("mnt"), "-printf", "%12s  %P\n")
}

// readMounted lets other people's programs judge the mounted disks.
func (d *demo) readMounted() error {
	d.step("Other people's programs read the mounted disks")
	for _, m := range machines {
		if err := d.show("qemu-img", "check", d.mounted(m)); err != nil {
			return err
		}
		if err := d.show("qemu-img", "compare", d.mounted(m), d.disk(m)); err != nil {
			return err
		}
	}
	for _, m := range machines {
		points, err := d.points(m)
		if err != nil {
			return err
		}
		for _, p := range points {
			if err := d.readFile(m, p); err != nil {
				return fmt.Errorf("read %s in %s: %w", noteName, p, err)
			}
		}
	}
	return nil
}

func (d *demo) unmountAndRestore() error {
	d.step("Unmounted; a machine restored; the repository checked")
	m := machines[0]
	err := d.showAll([][]string{
		{"vitrine", "umount", d.path("mnt")},
		{"vitrine", "restore", m.name, "--to", d.path("restored")},
	})
	if err != nil {
		return err
	}
	return d.showAll([][]string{
		{"qemu-img", "compare", d.path("restored", m.name, "Virtual Hard Disks", m.name+".vhdx"), d.disk(m)},
		{"vitrine", "check", "--read-data"},
	})
}

// points are the restore points of a machine in the mount, oldest first.
func (d *demo) points(m machine) ([]string, error) {
	all, err := filepath.Glob(d.path("mnt", m.name, "20*"))
	if err == nil && len(all) != 2 {
		err = fmt.Errorf("%s has %d restore points in the mount, not 2", m.name, len(all))
	}
	return all, err
}

func (d *demo) mounted(m machine) string {
	return d.path("mnt", m.name, "latest", m.name+".vhdx")
}

func (d *demo) step(title string) {
	d.steps++
	fmt.Printf("\n%d. %s  [%.0f s]\n", d.steps, title, time.Since(d.begun).Seconds())
}

func (d *demo) showAll(commands [][]string) error {
	for _, c := range commands {
		if err := d.show(c[0], c[1:]...); err != nil {
			return err
		}
	}
	return nil
}

// show runs a command and prints it and what it says, indented. Paths are
// printed from the demo's folder.
func (d *demo) show(name string, args ...string) error {
	fmt.Printf("\n   $ %s\n", strings.ReplaceAll(quoted(name, args), d.dir+"/", ""))
	c := d.command(name, args...)
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	c.Stdout, c.Stderr = w, w
	err = c.Start()
	w.Close()
	if err != nil {
		return err
	}
	printed := make(chan error, 1)
	go func() { printed <- d.print(r) }()
	err = c.Wait()
	// A command that goes on in the background may hold the pipe open.
	select {
	case perr := <-printed:
		err = errors.Join(err, perr)
	case <-time.After(time.Second):
	}
	if err != nil {
		return fmt.Errorf("%s: %w", quoted(name, args), err)
	}
	return nil
}

func (d *demo) print(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fmt.Println(strings.TrimRight("   "+strings.ReplaceAll(lines.Text(), d.dir+"/", ""), " "))
	}
	return lines.Err()
}

// quiet runs a command that is only worth seeing when it fails.
func (d *demo) quiet(name string, args ...string) error {
	out, err := d.command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", quoted(name, args), err, out)
	}
	return nil
}

func (d *demo) command(name string, args ...string) *exec.Cmd {
	if name == "vitrine" {
		name = d.vitrine
	}
	c := exec.CommandContext(d.ctx, name, args...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	c.WaitDelay = 10 * time.Second
	c.Dir = d.dir
	return c
}

// quoted is a command as one would type it.
func quoted(name string, args []string) string {
	s := name
	for _, a := range args {
		if strings.ContainsAny(a, " %\\?*") {
			a = "'" + strings.ReplaceAll(a, "\n", `\n`) + "'"
		}
		s += " " + a
	}
	return s
}
