// Package hosttest checks that a backup.Host keeps its contract: every
// provider passes it, the simulated ones too.
package hosttest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	iofs "io/fs"
	"path"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"vitrine/backup"
	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/repo"
)

// Fixture is a host to be checked with what is known of it. The machine VM has
// at least one disk and, if Checkpoints is not zero, that many checkpoints.
type Fixture struct {
	Host   backup.Host
	VM     string        // name of a machine that can be backed up
	Method backup.Method // with which it can
	// Disks is the content of the machine's disks, in their order.
	Disks       [][]byte
	Checkpoints int
	// Files names configuration files that there must be.
	Files []string
	// Change writes to a disk of the machine without the host's knowledge; nil
	// where nothing can.
	Change func(t *testing.T)
}

// Run checks the hosts that open returns. Each subtest opens anew; open cleans
// up with t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, f Fixture)
	}{
		{"MachinesAreListedInOrder", machines},
		{"IdentitiesAreStable", identities},
		{"DisksAreInOrder", disks},
		{"CheckpointsHaveWholeDisks", checkpoints},
		{"FilesAreGivenByteForByteAndReadOnly", files},
		{"CheckTellsEveryCondition", check},
		{"StrangersAreRefused", strangers},
		{"UnknownTrackingIsNoTracking", tracking},
		{"VerifyThenCommitThenClose", order},
		{"CloseWithoutCommit", rollback},
		{"NothingIsReadAfterClose", closed},
		{"ChangesAreFound", changes},
		{"EndedContextsEndTheWork", ended},
		{"ConcurrentUseIsSafe", concurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
	t.Run("DisksKeepTheContractOfDisk", func(t *testing.T) {
		disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
			f := open(t)
			return snapshot(t, f).Contents().Disks[0], oracle(f.Disks[0])
		})
	})
}

func oracle(b []byte) disktest.Oracle { return disktest.Oracle(bytes.NewReader(b)) }

// find returns the machine of the fixture as its host lists it.
func find(t *testing.T, f Fixture) backup.VM {
	t.Helper()
	vms, err := f.Host.VMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(vms, func(vm backup.VM) bool { return vm.Name == f.VM })
	if i < 0 {
		t.Fatalf("%q is not among %d machines", f.VM, len(vms))
	}
	return vms[i]
}

// snapshot opens a session that is closed with the test.
func snapshot(t *testing.T, f Fixture) backup.Session {
	t.Helper()
	s, err := f.Host.Snapshot(t.Context(), find(t, f), f.Method)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, iofs.ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

func machines(t *testing.T, f Fixture) {
	vms, err := f.Host.VMs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(vms, func(a, b backup.VM) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	}) {
		t.Error("machines are not listed by name")
	}
	for _, vm := range vms {
		if id, err := repo.ParseMachineID(string(vm.ID)); err != nil || id != vm.ID {
			t.Errorf("%s: id %q: %v", vm.Name, vm.ID, err)
		}
		if vm.Config != nil && !json.Valid(vm.Config) {
			t.Errorf("%s: its description is no JSON", vm.Name)
		}
		if vm.State == "" {
			t.Errorf("%s: no state", vm.Name)
		}
		for _, w := range vm.Problems {
			checkWarning(t, w)
		}
	}
	vm := find(t, f)
	if !slices.Contains(vm.Methods, f.Method) {
		t.Errorf("methods %v, want %s among them", vm.Methods, f.Method)
	}
	if len(vm.Disks) != len(f.Disks) {
		t.Fatalf("got %d disks, want %d", len(vm.Disks), len(f.Disks))
	}
	for i, d := range vm.Disks {
		if d.Size != 0 && d.Size != int64(len(f.Disks[i])) {
			t.Errorf("disk %s: size %d, want %d", d.Name, d.Size, len(f.Disks[i]))
		}
	}
}

func checkWarning(t *testing.T, w repo.Warning) {
	t.Helper()
	if w.Object == "" || w.Code == "" || !strings.Contains(w.Text, " ") || w.Code != strings.ToLower(w.Code) {
		t.Errorf("warning %+v does not say enough", w)
	}
}

func identities(t *testing.T, f Fixture) {
	infos := func() (list []backup.DiskInfo) {
		s := snapshot(t, f)
		for _, d := range s.Contents().Disks {
			list = append(list, d.Info())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return list
	}
	before, first := find(t, f), infos()
	after, second := find(t, f), infos()
	if !reflect.DeepEqual(before, after) {
		t.Errorf("the machine was listed as %+v, then as %+v", before, after)
	}
	if !reflect.DeepEqual(first, second) {
		t.Errorf("its disks were %+v, then %+v", first, second)
	}
}

func disks(t *testing.T, f Fixture) {
	s := snapshot(t, f)
	c := s.Contents()
	if c != s.Contents() && !reflect.DeepEqual(c, s.Contents()) {
		t.Error("contents differ from call to call")
	}
	for _, w := range c.Warnings {
		checkWarning(t, w)
	}
	if len(c.Disks) != len(f.Disks) {
		t.Fatalf("got %d disks, want %d: %v", len(c.Disks), len(f.Disks), c.Warnings)
	}
	checkInfos(t, c.Disks)
	for i, d := range c.Disks {
		checkContent(t, d, f.Disks[i])
	}
}

func checkInfos(t *testing.T, disks []backup.SourceDisk) {
	t.Helper()
	names, ids := make(map[string]bool), make(map[string]bool)
	for _, d := range disks {
		info := d.Info()
		name := strings.ToLower(info.Name)
		if names[name] || ids[info.ID] || info.ID == "" || path.Ext(name) != ".vhdx" || strings.ContainsAny(name, `/\:`) {
			t.Errorf("disk %+v: its name or id will not do", info)
		}
		names[name], ids[info.ID] = true, true
		if info.Source == "" || info.Format == "" {
			t.Errorf("disk %s: source %q, format %q", info.Name, info.Source, info.Format)
		}
		if info.DiskID != "" {
			if g, err := disk.ParseGUID(info.DiskID); err != nil || g.String() != info.DiskID {
				t.Errorf("disk %s: disk id %q: %v", info.Name, info.DiskID, err)
			}
		}
		for _, n := range []int{info.LogicalSector, info.PhysicalSector} {
			if n != 0 && n != 512 && n != 4096 {
				t.Errorf("disk %s: sectors of %d bytes", info.Name, n)
			}
		}
	}
}

func checkContent(t *testing.T, d backup.SourceDisk, want []byte) {
	t.Helper()
	if d.Size() != int64(len(want)) {
		t.Errorf("disk %s: size %d, want %d", d.Info().Name, d.Size(), len(want))
		return
	}
	got := make([]byte, len(want))
	if err := disk.ReadFull(t.Context(), d, got, 0); err != nil {
		t.Errorf("disk %s: %v", d.Info().Name, err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("disk %s: other content than expected", d.Info().Name)
	}
	clear(got)
	err := disk.ReadExtents(t.Context(), d, make([]byte, 64<<10), func(p []byte, off int64) error {
		copy(got[off:], p)
		return nil
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("disk %s: its data extents give other content: %v", d.Info().Name, err)
	}
}

func checkpoints(t *testing.T, f Fixture) {
	c := snapshot(t, f).Contents()
	if len(c.Checkpoints) != f.Checkpoints {
		t.Fatalf("got %d checkpoints, want %d: %v", len(c.Checkpoints), f.Checkpoints, c.Warnings)
	}
	ids := make(map[string]bool)
	for _, p := range c.Checkpoints {
		if p.ID == "" || ids[p.ID] || p.Name == "" {
			t.Errorf("checkpoint %q %q", p.ID, p.Name)
		}
		ids[p.ID] = true
		if p.VM != nil && !json.Valid(p.VM) {
			t.Errorf("checkpoint %s: its description is no JSON", p.Name)
		}
		checkInfos(t, p.Disks)
		for _, d := range p.Disks {
			if err := disk.ReadExtents(t.Context(), d, make([]byte, 64<<10), func([]byte, int64) error { return nil }); err != nil {
				t.Errorf("checkpoint %s: %v", p.Name, err)
			}
		}
	}
	for _, p := range c.Checkpoints {
		if p.Parent != "" && (!ids[p.Parent] || p.Parent == p.ID) {
			t.Errorf("checkpoint %s follows %s, which there is not", p.Name, p.Parent)
		}
	}
}

func files(t *testing.T, f Fixture) {
	tree := snapshot(t, f).Contents().Files
	if tree == nil {
		if len(f.Files) > 0 {
			t.Fatalf("no files, want %q", f.Files)
		}
		return
	}
	found := make(map[string]bool)
	err := iofs.WalkDir(tree, ".", func(name string, e iofs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		found[name] = true
		if ext := strings.ToLower(path.Ext(name)); ext == ".rct" || ext == ".mrt" {
			t.Errorf("%s must never be kept", name)
		}
		return checkFile(t, tree, name)
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range f.Files {
		if !found[name] {
			t.Errorf("%s is not among %v", name, found)
		}
	}
}

func checkFile(t *testing.T, tree iofs.FS, name string) (err error) {
	file, err := tree.Open(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		t.Errorf("%s is no regular file", name)
	}
	b, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	if int64(len(b)) != info.Size() {
		t.Errorf("%s: %d bytes read, %d announced", name, len(b), info.Size())
	}
	if w, ok := file.(io.Writer); ok {
		if _, err := w.Write([]byte("x")); err == nil {
			t.Errorf("%s can be written", name)
		}
	}
	return nil
}

func check(t *testing.T, f Fixture) {
	vm := find(t, f)
	if err := f.Host.Check(t.Context(), vm, f.Method); err != nil {
		t.Errorf("%s: %v", f.Method, err)
	}
	err := f.Host.Check(t.Context(), vm, "no-such-method")
	e, ok := errors.AsType[*backup.PreflightError](err)
	if !ok || len(e.Unmet) == 0 {
		t.Fatalf("a method that there is not: got %v, want a PreflightError", err)
	}
	for _, c := range e.Unmet {
		if c.Code == "" || c.Text == "" {
			t.Errorf("condition %+v says nothing", c)
		}
	}
	if _, err := f.Host.Snapshot(t.Context(), vm, "no-such-method"); err == nil {
		t.Error("a snapshot with a method that there is not")
	}
}

func strangers(t *testing.T, f Fixture) {
	vm := find(t, f)
	vm.ID = "00000000-0000-4000-8000-00000000dead"
	if err := f.Host.Check(t.Context(), vm, f.Method); err == nil {
		t.Error("Check accepts a machine that there is not")
	}
	if s, err := f.Host.Snapshot(t.Context(), vm, f.Method); err == nil {
		t.Error("Snapshot accepts a machine that there is not")
		s.Close()
	}
}

func tracking(t *testing.T, f Fixture) {
	for _, d := range snapshot(t, f).Contents().Disks {
		for _, since := range []string{"", "no such moment"} {
			if _, err := d.Changed(t.Context(), since); !errors.Is(err, backup.ErrNoTracking) {
				t.Errorf("changes since %q: got %v, want %v", since, err, backup.ErrNoTracking)
			}
		}
	}
}

func order(t *testing.T, f Fixture) {
	for range 2 { // the second finds the machine as the first left it
		s := snapshot(t, f)
		for _, d := range s.Contents().Disks {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
		if err := s.Verify(t.Context()); err != nil {
			t.Errorf("Verify of a machine at rest: %v", err)
		}
		if err := s.Commit(t.Context()); err != nil {
			t.Errorf("Commit: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func rollback(t *testing.T, f Fixture) {
	s := snapshot(t, f)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Commit(t.Context()); err == nil {
		t.Error("Commit after Close")
	}
	disks(t, f)
}

func closed(t *testing.T, f Fixture) {
	s := snapshot(t, f)
	c := s.Contents()
	all := slices.Clone(c.Disks)
	for _, p := range c.Checkpoints {
		all = append(all, p.Disks...)
	}
	p := make([]byte, 512)
	if err := all[0].Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := all[0].ReadAt(p, 0); err == nil {
		t.Error("a closed disk was read")
	}
	if _, _, err := all[0].NextData(0); err == nil || err == io.EOF {
		t.Error("a closed disk told of its data")
	}
	for _, d := range all[1:] { // closing one disk closes no other
		if _, err := d.ReadAt(p, 0); err != nil {
			t.Errorf("%s: %v", d.Info().Name, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if _, err := d.ReadAt(p, 0); err == nil {
			t.Errorf("%s was read after the session", d.Info().Name)
		}
	}
	for _, name := range f.Files {
		if file, err := c.Files.Open(name); err == nil {
			t.Errorf("%s was opened after the session", name)
			file.Close()
		}
	}
	if err := s.Verify(t.Context()); err == nil {
		t.Error("Verify after Close")
	}
}

func changes(t *testing.T, f Fixture) {
	if f.Change == nil {
		t.Skip("this host has nothing that could change behind its back")
	}
	s := snapshot(t, f)
	f.Change(t)
	if err := s.Verify(t.Context()); !errors.Is(err, backup.ErrSourceChanged) {
		t.Errorf("got %v, want %v", err, backup.ErrSourceChanged)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = snapshot(t, f) // and the next session takes it as it is
	if err := s.Verify(t.Context()); err != nil {
		t.Errorf("the session after a change: %v", err)
	}
}

func ended(t *testing.T, f Fixture) {
	vm := find(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Host.VMs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("VMs: got %v", err)
	}
	if s, err := f.Host.Snapshot(ctx, vm, f.Method); !errors.Is(err, context.Canceled) {
		t.Errorf("Snapshot: got %v", err)
		if err == nil {
			s.Close()
		}
	}
	s := snapshot(t, f)
	if err := s.Verify(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Verify: got %v", err)
	}
	r, ok := s.Contents().Disks[0].(disk.ContextReaderAt)
	if !ok {
		return
	}
	if _, err := r.ReadAtContext(ctx, make([]byte, 4096), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("ReadAtContext: got %v", err)
	}
}

// concurrent reads all disks at once while others look at the host. Two
// sessions of one machine at a time are more than a host need bear.
func concurrent(t *testing.T, f Fixture) {
	vm := find(t, f)
	disks := snapshot(t, f).Contents().Disks
	var wg sync.WaitGroup
	for i, d := range disks {
		wg.Go(func() { checkContent(t, d, f.Disks[i]) })
	}
	for range 3 {
		wg.Go(func() {
			if _, err := f.Host.VMs(t.Context()); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if err := f.Host.Check(t.Context(), vm, "no-such-method"); err == nil {
				t.Error("Check accepts a method that there is not")
			}
		})
	}
	wg.Wait()
}
