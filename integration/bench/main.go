//go:build linux

// Command bench measures Vitrine beside other backup programs, in one run and
// on one machine, as only the ratios between such figures count:
//
//	bench [PART,…]
//
//	limits    what the machine can do at best: reading, copying, compressing
//	first     first backup of three machines, and the repository after it
//	restore   one of the machines
//	mount     sequential and random reads through the mount
//	changed   the second day's backup with a list of what changed
//	day2      the second day's backup, and the repository after it
//	points    mounting a repository of 10,000 restore points
//	huge      a nearly empty disk of 64 TiB
//	scattered a disk of 64 TiB with a million scattered writes
//
// Without PART all of them run. A part uses what earlier ones made and makes it
// where it is missing. The corpus lies in $VITRINE_CORPUS, else in
// .cache/corpus; other programs are found in $PATH, those that are missing are
// left out. It needs root, to empty the system's caches.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// bench is one run.
type bench struct {
	ctx    context.Context
	corpus string
	work   string // beside the corpus, so that its files can be linked
	runs   int    // each figure is the median of so many
	tools  []*tool
}

type part struct {
	name string
	run  func(*bench) error
}

var parts = []part{
	{"limits", (*bench).limits},
	{"first", (*bench).first},
	{"restore", (*bench).restore},
	{"mount", (*bench).mount},
	{"changed", (*bench).changed},
	{"day2", (*bench).day2},
	{"points", (*bench).points},
	{"huge", (*bench).huge},
	{"scattered", (*bench).scattered},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	corpus := os.Getenv("VITRINE_CORPUS")
	if corpus == "" {
		corpus = filepath.Join(".cache", "corpus")
	}
	corpus, err := filepath.Abs(corpus)
	if err != nil {
		return err
	}
	b := &bench{ctx: ctx, corpus: corpus, work: filepath.Join(corpus, "bench"), runs: 1}
	if s := os.Getenv("BENCH_RUNS"); s != "" {
		if b.runs, err = strconv.Atoi(s); err != nil || b.runs < 1 {
			return fmt.Errorf("BENCH_RUNS: %q is no number of runs", s)
		}
	}
	if os.Getuid() != 0 {
		return errors.New("needs root, to empty the system's caches")
	}
	if err := os.MkdirAll(b.work, 0o755); err != nil {
		return err
	}
	// Two runs would take each other's files away, and each other's time.
	lock, err := os.Create(filepath.Join(b.work, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("another run uses %s: %w", b.work, err)
	}
	vitrine, err := filepath.Abs("vitrine")
	if err != nil {
		return err
	}
	b.tools = tools(b.work, vitrine)

	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	wanted := names
	if len(args) > 0 {
		wanted = strings.Split(strings.Join(args, ","), ",")
	}
	for _, w := range wanted {
		if !slices.Contains(names, w) {
			return fmt.Errorf("there is no part %q: parts are %s", w, strings.Join(names, ", "))
		}
	}
	for _, p := range parts {
		if !slices.Contains(wanted, p.name) {
			continue
		}
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return nil
}

// machines of the corpus, one disk each.
var machines = []string{"vma", "vmb", "vmc"}

// source is a folder that holds the disks of a day, always under the same
// path. They are in the system's cache when it returns.
func (b *bench) source(day string) (string, error) {
	dir := filepath.Join(b.work, "source")
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	for _, m := range machines {
		from := filepath.Join(b.corpus, day, m+".raw")
		if err := os.Link(from, filepath.Join(dir, m+".raw")); err != nil {
			return "", fmt.Errorf("%w\nhint: VITRINE_CORPUS names a folder with day1/ and day2/, each with vma.raw, vmb.raw and vmc.raw", err)
		}
	}
	return dir, readAll(dir)
}
