//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"vitrine/fs/vhdx/vhdxtest"
	"vitrine/repo"
	"vitrine/repo/local"
)

const (
	manyMachines = 100
	manyPoints   = 100 // of each

	hugeDisk        = 64 << 40
	scatteredBlock  = 2 * mib
	scatteredWrites = 1_000_000
)

// points measures how long it takes until a repository with 10,000 restore
// points can be used through the mount.
func (b *bench) points() error {
	ours := vitrineTool(filepath.Join(b.work, "points"), b.tools[0].setup[0][0])
	if ours.state() == "" {
		if err := b.manyPoints(ours); err != nil {
			return err
		}
	}
	t := newTable(fmt.Sprintf("Mount of %d restore points of %d machines, caches cold (median of %d)", manyMachines*manyPoints, manyMachines, b.runs),
		"", "machines shown s", "list of one machine ms", "memory MiB")
	mnt := filepath.Join(b.work, "mnt")
	var listed time.Duration
	u, err := b.median(func() (usage, error) {
		m, err := b.start(ours.mount(mnt, ""), ours.env, mnt, filepath.Join(mnt, "machine-099"))
		if err != nil {
			return usage{}, err
		}
		begun := time.Now()
		entries, err := os.ReadDir(m.file)
		listed = time.Since(begun)
		u := m.stop()
		if err == nil && len(entries) < manyPoints {
			err = fmt.Errorf("%s shows %d entries", m.file, len(entries))
		}
		u.wall = m.ready
		return u, err
	})
	if err != nil {
		return err
	}
	t.row(ours.name, fmt.Sprintf("%.2f", u.wall.Seconds()), millis(listed), mebi(u.memory))
	return t.end()
}

// manyPoints fills a repository with restore points of one small disk.
func (b *bench) manyPoints(t *tool) (err error) {
	if err := errors.Join(os.RemoveAll(t.dir), os.MkdirAll(t.dir, 0o755)); err != nil {
		return err
	}
	secret := repo.NewSecret(repo.Password, []byte("benchmark"))
	s, err := local.Create(t.repo())
	if err != nil {
		return err
	}
	r, _, err := repo.Init(b.ctx, s, repo.InitOptions{Options: repo.Options{
		CacheDir: filepath.Join(t.dir, "cache"),
		Unlock:   func(context.Context) (repo.Secret, error) { return secret, nil },
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	w, err := r.NewWriter(b.ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	disk := small{bytes.NewReader(bytes.Repeat([]byte("a small disk, "), 1<<16)[:512<<10])}
	image, stats, err := w.StoreImage(b.ctx, disk, repo.ImageOptions{Block: 32 * mib})
	if err != nil {
		return err
	}
	begun := time.Date(2025, 1, 1, 22, 0, 0, 0, time.UTC)
	for day := range manyPoints {
		for m := range manyMachines {
			at := begun.AddDate(0, 0, day)
			id := fmt.Sprintf("00000000-0000-4000-8000-%012d", m)
			err := w.Commit(b.ctx, &repo.RestorePoint{
				Machine: repo.MachineID(id), Name: fmt.Sprintf("machine-%03d", m), Time: at, Started: at, Finished: at,
				Software: "benchmark", Level: "host", Method: "folder", Consistency: "offline", Read: "full", Stats: stats,
				Disks: []repo.Disk{{
					Name: "disk.vhdx", ID: id, Format: "raw", Layout: 1, DiskID: id, FileID: id, DataID: id,
					BlockSize: 32 * mib, LogicalSector: 512, PhysicalSector: 4096, Image: image,
				}},
			})
			if err != nil {
				return err
			}
		}
	}
	return t.setState("full")
}

// small is a disk in memory.
type small struct{ *bytes.Reader }

func (s small) NextData(off int64) (start, end int64, err error) { return off, s.Size(), nil }

// huge measures a disk of 64 TiB that holds next to nothing.
func (b *bench) huge() error {
	spec := vhdxtest.Spec{Size: hugeDisk, BlockSize: 32 * mib}
	return b.big("huge", "A disk of 64 TiB, nearly empty", spec, []int64{0, 1 << 20, spec.Size/spec.BlockSize - 1})
}

// scattered measures a disk of 64 TiB whose blocks of 2 MiB lie in the file in
// no order, each with one page written.
func (b *bench) scattered() error {
	spec := vhdxtest.Spec{Size: hugeDisk, BlockSize: scatteredBlock}
	r := rand.New(rand.NewPCG(3, 4))
	used := map[int64]bool{}
	var blocks []int64
	for len(blocks) < scatteredWrites {
		if n := r.Int64N(spec.Size / spec.BlockSize); !used[n] {
			used[n] = true
			blocks = append(blocks, n)
		}
	}
	return b.big("scattered", "A disk of 64 TiB, 2 MiB blocks out of order, a million scattered 4 KiB writes", spec, blocks)
}

// big backs a made-up VHDX up, mounts it and looks at it.
func (b *bench) big(name, title string, spec vhdxtest.Spec, blocks []int64) error {
	ours := vitrineTool(filepath.Join(b.work, name), b.tools[0].setup[0][0])
	source := filepath.Join(b.work, name, "source")
	if err := errors.Join(os.RemoveAll(filepath.Dir(source)), os.MkdirAll(source, 0o755), os.MkdirAll(ours.dir, 0o755)); err != nil {
		return err
	}
	defer os.RemoveAll(filepath.Dir(source))
	if err := bigFile(filepath.Join(source, "big.vhdx"), spec, blocks); err != nil {
		return err
	}
	if _, err := measure(b.ctx, ours.dir, ours.env, ours.setup[0]); err != nil {
		return err
	}
	t := newTable(title, "", "wall s", "CPU s", "memory MiB")
	u, err := measure(b.ctx, ours.dir, ours.env, ours.backup(source, ""))
	if err != nil {
		return err
	}
	t.row("backup", seconds(u.wall), seconds(u.cpu), mebi(u.memory))
	n, err := size(ours.repo())
	if err != nil {
		return err
	}
	u, err = measure(b.ctx, ours.dir, ours.env, ours.backup(source, ""))
	if err != nil {
		return err
	}
	t.row("again", seconds(u.wall), seconds(u.cpu), mebi(u.memory))
	stat, read, u, err := b.look(ours, spec, blocks)
	if err != nil {
		return err
	}
	t.row("mount, ready", fmt.Sprintf("%.2f", u.wall.Seconds()), seconds(u.cpu), mebi(u.memory))
	t.row("stat of the .vhdx", fmt.Sprintf("%.4f", stat.Seconds()))
	t.row(fmt.Sprintf("%d random 4 KiB reads of what was written", min(len(blocks), randomReads)), seconds(read.took))
	if err := t.end(); err != nil {
		return err
	}
	fmt.Printf("  repository %s MiB\n", mebi(n))
	return nil
}

// look mounts, takes the time of a first stat, and reads what was written.
func (b *bench) look(ours *tool, spec vhdxtest.Spec, blocks []int64) (stat time.Duration, r reading, u usage, err error) {
	mnt := filepath.Join(b.work, "mnt")
	m, err := b.start(ours.mount(mnt, ""), ours.env, mnt, filepath.Join(mnt, "big", "latest"))
	if err != nil {
		return 0, r, u, err
	}
	defer func() {
		ready := m.ready
		u = m.stop()
		u.wall = ready
	}()
	begun := time.Now()
	if _, err = os.Stat(filepath.Join(m.file, "big.vhdx")); err != nil {
		return 0, r, u, err
	}
	stat = time.Since(begun)
	f, err := os.Open(filepath.Join(m.file, "raw", "big.raw"))
	if err != nil {
		return stat, r, u, err
	}
	defer f.Close()
	p := make([]byte, randomSize)
	for i := range min(len(blocks), randomReads) {
		block := blocks[i*len(blocks)/min(len(blocks), randomReads)]
		begun := time.Now()
		if _, err = f.ReadAt(p, block*spec.BlockSize+pageAt(block)); err != nil {
			return stat, r, u, err
		}
		r.took += time.Since(begun)
		if !bytes.Equal(p, page(block)) {
			return stat, r, u, fmt.Errorf("block %d: wrong bytes", block)
		}
	}
	return stat, r, u, nil
}

// pageAt is where in a block its one page was written.
func pageAt(block int64) int64 { return block % 16 * randomSize }

// page is what was written: no two are alike, and none compresses to nothing.
func page(block int64) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(block))
	p := make([]byte, randomSize)
	rand.NewChaCha8(seed).Read(p)
	return p
}

// bigFile makes a dynamic VHDX with one page in each of the blocks, which lie
// in the file in the order given. The file is sparse.
func bigFile(name string, spec vhdxtest.Spec, blocks []int64) error {
	empty := vhdxtest.Build(spec)
	if err := empty.Save(name); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	end := empty.Size()
	place := map[int64]int64{}
	for i, block := range blocks {
		at := end + int64(i)*spec.BlockSize
		place[block] = at
		if _, err := f.WriteAt(page(block), at+pageAt(block)); err != nil {
			return err
		}
	}
	if err := f.Truncate(end + int64(len(blocks))*spec.BlockSize); err != nil {
		return err
	}
	if err := writeBAT(f, spec, place); err != nil {
		return err
	}
	return f.Close()
}

// writeBAT enters where blocks lie, in the order of the table.
func writeBAT(f *os.File, spec vhdxtest.Spec, place map[int64]int64) error {
	sorted := make([]int64, 0, len(place))
	for block := range place {
		sorted = append(sorted, block)
	}
	slices.Sort(sorted)
	w := bufio.NewWriterSize(nil, mib)
	next := int64(-1)
	for _, block := range sorted {
		if off := spec.BATEntryOff(block); off != next {
			if next >= 0 {
				if err := w.Flush(); err != nil {
					return err
				}
			}
			if _, err := f.Seek(off, 0); err != nil {
				return err
			}
			w.Reset(f)
			next = off
		}
		const fullyPresent = 6
		if _, err := w.Write(binary.LittleEndian.AppendUint64(nil, uint64(place[block])|fullyPresent)); err != nil {
			return err
		}
		next += 8
	}
	return w.Flush()
}
