//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

const (
	dayOne = "day1"
	dayTwo = "day2"
)

// limits measures what no backup program can beat.
func (b *bench) limits() error {
	source, err := b.source(dayOne)
	if err != nil {
		return err
	}
	copies := filepath.Join(b.work, "copies")
	t := newTable("Limits: the same three disks", "", "wall s", "CPU s")
	for _, c := range []struct {
		name, command string
		cold          bool
	}{
		{"cat, warm", "cat *.raw >/dev/null", false},
		{"cat, cold", "cat *.raw >/dev/null", true},
		{"cp --sparse and sync", "mkdir -p " + copies + " && cp --sparse=always *.raw " + copies + " && sync", false},
		{"zstd -1 -T2", "cat *.raw | zstd -q -1 -T2 >/dev/null", false},
	} {
		u, err := b.median(func() (usage, error) {
			if c.cold {
				if err := dropCaches(); err != nil {
					return usage{}, err
				}
			}
			u, err := measure(b.ctx, source, nil, []string{"sh", "-c", c.command})
			return u, errors.Join(err, os.RemoveAll(copies))
		})
		if err != nil {
			return err
		}
		t.row(c.name, seconds(u.wall), seconds(u.cpu))
	}
	return t.end()
}

func (b *bench) first() error {
	source, err := b.source(dayOne)
	if err != nil {
		return err
	}
	t := newTable(fmt.Sprintf("First backup of three disks (median of %d)", b.runs), "", "wall s", "CPU s", "memory MiB", "repository MiB")
	for _, tool := range b.tools {
		u, err := b.median(func() (usage, error) { return b.firstOf(tool, source) })
		if err != nil {
			return err
		}
		n, err := size(tool.repo())
		if err != nil {
			return err
		}
		t.row(tool.name, seconds(u.wall), seconds(u.cpu), mebi(u.memory), mebi(n))
	}
	return t.end()
}

// firstOf makes a new repository and the first backup in it.
func (b *bench) firstOf(t *tool, source string) (usage, error) {
	if err := os.RemoveAll(t.dir); err != nil {
		return usage{}, err
	}
	if err := os.MkdirAll(t.dir, 0o755); err != nil {
		return usage{}, err
	}
	for _, args := range t.setup {
		if _, err := measure(b.ctx, t.dir, t.env, args); err != nil {
			return usage{}, err
		}
	}
	u, err := measure(b.ctx, t.dir, t.env, t.backup(source, dayOne))
	if err != nil {
		return u, err
	}
	return u, t.setState(dayOne)
}

// atFirst makes sure that a repository holds the first day and no more.
func (b *bench) atFirst(t *tool, source string) error {
	if t.state() == dayOne {
		return nil
	}
	_, err := b.firstOf(t, source)
	return err
}

func (b *bench) day2() error {
	one, err := b.source(dayOne)
	if err != nil {
		return err
	}
	for _, tool := range b.tools {
		if err := b.atFirst(tool, one); err != nil {
			return err
		}
	}
	two, err := b.source(dayTwo)
	if err != nil {
		return err
	}
	t := newTable("Second day, without a list of changes (one run)", "", "wall s", "CPU s", "memory MiB", "repository MiB")
	for _, tool := range b.tools {
		u, err := measure(b.ctx, tool.dir, tool.env, tool.backup(two, dayTwo))
		if err != nil {
			return err
		}
		if err := tool.setState(dayTwo); err != nil {
			return err
		}
		n, err := size(tool.repo())
		if err != nil {
			return err
		}
		t.row(tool.name, seconds(u.wall), seconds(u.cpu), mebi(u.memory), mebi(n))
	}
	return t.end()
}

// changed runs on a copy of the repository, so that the second day can be
// measured without a list too.
func (b *bench) changed() error {
	one, err := b.source(dayOne)
	if err != nil {
		return err
	}
	ours := b.tools[0]
	if err := b.atFirst(ours, one); err != nil {
		return err
	}
	scratch := vitrineTool(filepath.Join(b.work, "changed"), ours.setup[0][0])
	defer os.RemoveAll(filepath.Dir(scratch.dir))
	if err := os.RemoveAll(scratch.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(scratch.dir), 0o755); err != nil {
		return err
	}
	if _, err := measure(b.ctx, b.work, nil, []string{"cp", "-a", ours.dir, scratch.dir}); err != nil {
		return err
	}
	points, err := pointsByMachine(b, scratch)
	if err != nil {
		return err
	}
	lists := map[string]string{}
	for _, m := range machines {
		if lists[m], err = b.changeList(m, points[m]); err != nil {
			return err
		}
	}
	two, err := b.source(dayTwo)
	if err != nil {
		return err
	}
	t := newTable("Second day, with a list of changes (one process a machine)", "", "wall s", "CPU s", "memory MiB")
	var sum usage
	for _, m := range machines {
		args := append(scratch.backup(two, dayTwo), m, "--changed", lists[m])
		u, err := measure(b.ctx, scratch.dir, scratch.env, args)
		if err != nil {
			return err
		}
		sum.wall += u.wall
		sum.cpu += u.cpu
		sum.memory = max(sum.memory, u.memory)
	}
	t.row(ours.name, seconds(sum.wall), seconds(sum.cpu), mebi(sum.memory))
	return t.end()
}

// pointsByMachine are the ids of each machine's latest restore point.
func pointsByMachine(b *bench, t *tool) (map[string]string, error) {
	u, err := measure(b.ctx, t.dir, t.env, []string{t.setup[0][0], "list", "--json"})
	if err != nil {
		return nil, err
	}
	var list []struct{ ID, VM string }
	if err := json.Unmarshal([]byte(u.output), &list); err != nil {
		return nil, err
	}
	ids := map[string]string{}
	for _, p := range list {
		ids[p.VM] = p.ID
	}
	return ids, nil
}

// changeList compares a machine's disk of both days, as a change tracker with
// blocks of 64 KiB would have seen it, and writes the list.
func (b *bench) changeList(m, point string) (string, error) {
	const block = 64 << 10
	var files [2]*os.File
	for i, day := range []string{dayOne, dayTwo} {
		f, err := os.Open(filepath.Join(b.corpus, day, m+".raw"))
		if err != nil {
			return "", err
		}
		defer f.Close()
		files[i] = f
	}
	var list [][2]int64
	p, q := make([]byte, block), make([]byte, block)
	for off := int64(0); ; off += block {
		n, err := files[0].ReadAt(p, off)
		k, kerr := files[1].ReadAt(q, off)
		if n != k || !bytes.Equal(p[:n], q[:k]) {
			if last := len(list) - 1; last >= 0 && list[last][0]+list[last][1] == off {
				list[last][1] += int64(n)
			} else {
				list = append(list, [2]int64{off, int64(n)})
			}
		}
		if err = errors.Join(err, kerr); errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	js, err := json.Marshal(map[string]any{"restorePoint": point, "disks": map[string]any{m + ".vhdx": list}})
	if err != nil {
		return "", err
	}
	name := filepath.Join(b.work, m+".changed.json")
	return name, os.WriteFile(name, js, 0o644)
}

func (b *bench) restore() error {
	source, err := b.source(dayOne)
	if err != nil {
		return err
	}
	to := filepath.Join(b.work, "restored")
	defer os.RemoveAll(to)
	t := newTable(fmt.Sprintf("Restore of vma, compared with its source (median of %d)", b.runs), "", "wall s", "CPU s", "memory MiB")
	for _, tool := range b.tools {
		if err := b.atFirst(tool, source); err != nil {
			return err
		}
		u, err := b.median(func() (usage, error) {
			if err := errors.Join(os.RemoveAll(to), os.MkdirAll(to, 0o755)); err != nil {
				return usage{}, err
			}
			args, err := tool.restore(source, dayOne, to)
			if err != nil {
				return usage{}, err
			}
			u, err := measure(b.ctx, to, tool.env, args)
			if err != nil {
				return u, err
			}
			return u, restored(to, filepath.Join(source, "vma.raw"))
		})
		if err != nil {
			return err
		}
		t.row(tool.name, seconds(u.wall), seconds(u.cpu), mebi(u.memory))
	}
	return t.end()
}

// restored finds the disk below a folder and compares it.
func restored(dir, want string) error {
	for _, pattern := range []string{"vma.raw", "vma/vma.raw", want[1:]} {
		name := filepath.Join(dir, pattern)
		if _, err := os.Stat(name); err == nil {
			return same(name, want)
		}
	}
	return fmt.Errorf("nothing was restored to %s", dir)
}
