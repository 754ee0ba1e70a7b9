//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

const (
	sequentialBytes = 1 << 30
	randomReads     = 2000
	randomSize      = 4096
)

// mounted is a mount that runs.
type mounted struct {
	c     *exec.Cmd
	mnt   string
	begun time.Time
	file  string // vma.raw in it
	ready time.Duration
}

// start mounts with cold caches and waits for the file.
func (b *bench) start(args, env []string, mnt, pattern string) (*mounted, error) {
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		return nil, err
	}
	if err := dropCaches(); err != nil {
		return nil, err
	}
	c := exec.CommandContext(b.ctx, args[0], args[1:]...)
	c.Env = append(os.Environ(), env...)
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	var said bytes.Buffer
	c.Stderr = &said
	m := &mounted{c: c, mnt: mnt, begun: time.Now()}
	if err := c.Start(); err != nil {
		return nil, err
	}
	for time.Since(m.begun) < time.Minute {
		if found, err := filepath.Glob(pattern); err == nil && len(found) > 0 {
			m.file, m.ready = found[len(found)-1], time.Since(m.begun)
			return m, nil
		}
		time.Sleep(2 * time.Millisecond)
	}
	m.stop()
	return nil, fmt.Errorf("%q does not show %s within a minute: %s", args, pattern, &said)
}

// stop unmounts and tells what the process took.
func (m *mounted) stop() usage {
	// A program that ends by itself on SIGINT needs no more; the others end
	// when they are unmounted.
	if exec.Command("fusermount3", "-u", m.mnt).Run() != nil {
		m.c.Process.Signal(os.Interrupt)
	}
	m.c.Wait()
	return usageOf(m.c, time.Since(m.begun))
}

// reading is how reads went.
type reading struct {
	bytes  int64
	took   time.Duration
	median time.Duration // of one read
	late   time.Duration // 99 of 100 were faster
}

func (r reading) rate() string { return fmt.Sprintf("%.0f", float64(r.bytes)/mib/r.took.Seconds()) }
func (r reading) perSecond() string {
	return fmt.Sprintf("%.0f", float64(r.bytes)/randomSize/r.took.Seconds())
}

// read reads extents of a file, one after the other, and compares what it
// gets with the source after the clock has stopped.
func read(name, source string, extents [][2]int64) (reading, error) {
	f, err := os.Open(name)
	if err != nil {
		return reading{}, err
	}
	defer f.Close()
	s, err := os.Open(source)
	if err != nil {
		return reading{}, err
	}
	defer s.Close()
	var r reading
	var each []time.Duration
	want := make([]byte, mib)
	got := make([]byte, mib)
	for _, e := range extents {
		p := got[:e[1]]
		begun := time.Now()
		_, err := f.ReadAt(p, e[0])
		took := time.Since(begun)
		if err != nil && !errors.Is(err, io.EOF) {
			return r, err
		}
		r.took += took
		r.bytes += e[1]
		each = append(each, took)
		if _, err := s.ReadAt(want[:e[1]], e[0]); err != nil {
			return r, err
		}
		if !bytes.Equal(p, want[:e[1]]) {
			return r, fmt.Errorf("%s: wrong bytes at %d", name, e[0])
		}
	}
	slices.Sort(each)
	r.median, r.late = each[len(each)/2], each[len(each)*99/100]
	return r, nil
}

// plan picks what is read: the first data of the file in 1 MiB reads, and
// 4 KiB at random places that hold data.
func plan(source string) (sequential, random [][2]int64, err error) {
	f, err := os.Open(source)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	const seekData, seekHole = 3, 4
	var starts []int64
	var total int64
	for off := int64(0); ; {
		start, err := f.Seek(off, seekData)
		if errors.Is(err, syscall.ENXIO) {
			break
		}
		if err != nil {
			return nil, nil, err
		}
		end, err := f.Seek(start, seekHole)
		if err != nil {
			return nil, nil, err
		}
		for at := start; at < end; at += mib {
			n := min(mib, end-at)
			if total < sequentialBytes {
				sequential = append(sequential, [2]int64{at, n})
				total += n
			}
			for p := at; p+randomSize <= at+n; p += randomSize {
				starts = append(starts, p)
			}
		}
		off = end
	}
	if len(starts) == 0 {
		return nil, nil, fmt.Errorf("%s holds no data", source)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range randomReads {
		random = append(random, [2]int64{starts[r.IntN(len(starts))], randomSize})
	}
	return sequential, random, nil
}

func (b *bench) mount() error {
	source, err := b.source(dayOne)
	if err != nil {
		return err
	}
	disk := filepath.Join(source, "vma.raw")
	sequential, random, err := plan(disk)
	if err != nil {
		return err
	}
	t := newTable("Mount of vma: cold is a new process and empty caches, warm the same reads again in it with the system's caches emptied",
		"", "ready s", "sequential MiB/s cold", "warm", "random 4 KiB /s cold", "median ms", "99 % ms", "warm", "median ms", "CPU s", "memory MiB")
	for _, tool := range b.tools {
		if err := b.atFirst(tool, source); err != nil {
			return err
		}
		row, err := b.mountOf(tool, source, disk, sequential, random)
		if err != nil {
			row = []string{"none: " + err.Error()}
		}
		t.row(append([]string{tool.name}, row...)...)
	}
	return t.end()
}

func (b *bench) mountOf(t *tool, source, disk string, sequential, random [][2]int64) ([]string, error) {
	mnt := filepath.Join(b.work, "mnt")
	var all [4]reading
	var total usage
	var ready time.Duration
	for i, extents := range [][][2]int64{sequential, random} {
		m, err := b.start(t.mount(mnt, dayOne), t.env, mnt, t.find(mnt, source))
		if err != nil {
			return nil, err
		}
		ready = m.ready
		for j := range 2 {
			if all[2*i+j], err = read(m.file, disk, extents); err != nil {
				break
			}
			if err = dropCaches(); err != nil {
				break
			}
		}
		u := m.stop()
		total.cpu += u.cpu
		total.memory = max(total.memory, u.memory)
		if err != nil {
			return nil, err
		}
	}
	return []string{
		fmt.Sprintf("%.2f", ready.Seconds()), all[0].rate(), all[1].rate(),
		all[2].perSecond(), millis(all[2].median), millis(all[2].late), all[3].perSecond(), millis(all[3].median),
		seconds(total.cpu), mebi(total.memory),
	}, nil
}
