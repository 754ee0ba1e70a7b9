package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"vitrine/backup/vmconfig"
	"vitrine/backup/vmconfig/vmconfigtest"
)

const (
	mib        = 1 << 20
	diskSize   = 4 << 30
	volumeSize = 512 * mib
	volumeAt   = mib // where the volume starts on the disk
	fillSize   = 100 * mib
	blockSize  = 64 << 10 // what is compared and written at a time

	// noteName is the file that differs between the restore points.
	noteName = "note.txt"
)

type machine struct {
	name, guid string
	kind       string // of the partition, as sgdisk calls it
	ntfs       bool
	memory     int64 // MiB
}

var machines = []machine{
	{name: "WEB01", guid: "5d0c6f0e-8f3b-4f37-9c0e-6f0f6c1d0a01", kind: "8300", memory: 2048},
	{name: "SQL01", guid: "5d0c6f0e-8f3b-4f37-9c0e-6f0f6c1d0a02", kind: "0700", ntfs: true, memory: 8192},
}

func (d *demo) disk(m machine) string {
	return d.path("export", m.name, "Virtual Hard Disks", m.name+".vhdx")
}

func (d *demo) volume(m machine) string { return d.path(m.name + ".volume") }

// makeMachine makes the machine's folder in the export.
func (d *demo) makeMachine(m machine) error {
	home := d.path("export", m.name)
	for _, sub := range []string{"Virtual Machines", "Virtual Hard Disks", "Snapshots"} {
		if err := os.MkdirAll(filepath.Join(home, sub), 0o755); err != nil {
			return err
		}
	}
	config := vmconfigtest.VMCX(vmconfigtest.Tree(m.config()))
	if err := os.WriteFile(filepath.Join(home, "Virtual Machines", strings.ToUpper(m.guid)+".vmcx"), config, 0o644); err != nil {
		return err
	}
	content := d.path(m.name + ".content")
	if err := os.Mkdir(content, 0o755); err != nil {
		return err
	}
	if err := fill(content, fillSize); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(content, noteName), []byte("as it was yesterday\n"), 0o644); err != nil {
		return err
	}
	if err := d.makeVolume(m, content); err != nil {
		return err
	}
	raw := d.path(m.name + ".raw")
	if err := sparse(raw, diskSize); err != nil {
		return err
	}
	if err := d.quiet("sgdisk", "-n", "1:2048:+512M", "-t", "1:"+m.kind, raw); err != nil {
		return err
	}
	if err := d.splice(m, raw); err != nil {
		return err
	}
	if err := d.quiet("qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", "subformat=dynamic", raw, d.disk(m)); err != nil {
		return err
	}
	return errors.Join(os.Remove(raw), os.RemoveAll(content))
}

func (m machine) config() vmconfig.Config {
	c := vmconfig.Config{
		ID: m.guid, Name: m.name, Type: vmconfig.TypeMachine, Generation: 2, Version: "9.0",
		Processors: vmconfig.Processors{Count: 2, Limit: 100, Weight: 100},
		Memory:     vmconfig.Memory{Startup: m.memory, Minimum: 512, Maximum: 2 * m.memory, Dynamic: true},
		Disks: []vmconfig.Disk{{
			Controller: vmconfig.SCSI, Kind: vmconfig.KindVirtual,
			Path: `D:\Hyper-V\` + m.name + `\Virtual Hard Disks\` + m.name + `.vhdx`,
		}},
	}
	c.Firmware.SecureBoot = m.ntfs
	return c
}

// makeVolume makes the machine's file system with what is in content. Nothing
// is mounted: no root is needed.
func (d *demo) makeVolume(m machine, content string) error {
	if err := sparse(d.volume(m), volumeSize); err != nil {
		return err
	}
	if !m.ntfs {
		return d.quiet("mke2fs", "-q", "-t", "ext4", "-d", content, d.volume(m))
	}
	if err := d.quiet("mkntfs", "-q", "-f", "-F", "-L", m.name, "-p", "2048", "-H", "255", "-S", "63", d.volume(m)); err != nil {
		return err
	}
	files, err := os.ReadDir(content)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := d.quiet("ntfscp", "-f", d.volume(m), filepath.Join(content, f.Name()), f.Name()); err != nil {
			return err
		}
	}
	return nil
}

// change rewrites the note in the machine's file system and then, in its
// VHDX, only what that changed.
func (d *demo) change(m machine, note string) error {
	before, after := d.path("before"), d.path(noteName)
	if err := d.quiet("cp", "--sparse=always", d.volume(m), before); err != nil {
		return err
	}
	if err := os.WriteFile(after, []byte(note), 0o644); err != nil {
		return err
	}
	var err error
	if m.ntfs {
		err = d.quiet("ntfscp", "-f", d.volume(m), after, noteName)
	} else {
		err = d.quiet("debugfs", "-w", "-R", "rm "+noteName, d.volume(m))
		err = errors.Join(err, d.quiet("debugfs", "-w", "-R", "write "+after+" "+noteName, d.volume(m)))
	}
	if err != nil {
		return err
	}
	var writes []string
	err = blocks(d.volume(m), before, func(off int64, b []byte) error {
		name := d.path(fmt.Sprintf("block-%d", off))
		writes = append(writes, "-c", fmt.Sprintf("write -s %s %d %d", name, volumeAt+off, len(b)))
		return os.WriteFile(name, b, 0o644)
	})
	if err != nil {
		return err
	}
	return d.quiet("qemu-io", append([]string{"-f", "vhdx", d.disk(m)}, writes...)...)
}

// readFile reads the note out of a mounted restore point.
func (d *demo) readFile(m machine, point string) error {
	if !m.ntfs {
		raw, err := filepath.Glob(filepath.Join(point, "raw", "*"))
		if err != nil || len(raw) != 1 {
			return fmt.Errorf("raw disks: %q, %v", raw, err)
		}
		return d.show("debugfs", "-R", "cat "+noteName, fmt.Sprintf("%s?offset=%d", raw[0], volumeAt))
	}
	return d.show("7z", "e", "-so", filepath.Join(point, m.name+".vhdx"), noteName)
}

// splice copies the machine's volume to its place on a raw disk.
func (d *demo) splice(m machine, raw string) error {
	f, err := os.OpenFile(raw, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = blocks(d.volume(m), "", func(off int64, b []byte) error {
		_, err := f.WriteAt(b, volumeAt+off)
		return err
	})
	return errors.Join(err, f.Close())
}

// blocks calls f for each block of a file that differs from the other file,
// or from zeros when that is "".
func blocks(name, other string, f func(off int64, b []byte) error) error {
	r, err := os.Open(name)
	if err != nil {
		return err
	}
	defer r.Close()
	var o *os.File
	if other != "" {
		if o, err = os.Open(other); err != nil {
			return err
		}
		defer o.Close()
	}
	b, was := make([]byte, blockSize), make([]byte, blockSize)
	for off := int64(0); off < volumeSize; off += blockSize {
		if _, err := r.ReadAt(b, off); err != nil {
			return err
		}
		if o != nil {
			if _, err := o.ReadAt(was, off); err != nil {
				return err
			}
		}
		if bytes.Equal(b, was) {
			continue
		}
		if err := f(off, b); err != nil {
			return err
		}
	}
	return nil
}

// fill copies programs and sources that every machine with Go has, into one
// folder and up to size bytes.
func fill(dir string, size int64) error {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	root := strings.TrimSpace(string(out))
	for _, from := range []string{filepath.Join(root, "src", "runtime"), "/usr/bin"} {
		left := size / 2
		err := filepath.WalkDir(from, func(p string, e iofs.DirEntry, err error) error {
			if err != nil || left <= 0 || !e.Type().IsRegular() {
				return err
			}
			info, err := e.Info()
			if err != nil || info.Size() < blockSize || info.Size() > left {
				return err
			}
			left -= info.Size()
			return copyFile(p, filepath.Join(dir, e.Name()))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func copyFile(from, to string) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, r)
	return errors.Join(err, w.Close())
}

// sparse makes a file of size bytes, all hole.
func sparse(name string, size int64) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}
