package hosttest_test

import (
	"context"
	"io"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vitrine/backup"
	"vitrine/backup/folder"
	"vitrine/backup/hosttest"
	"vitrine/fs/disk/disktest"
	"vitrine/repo"
)

// broken is a host with one thing wrong.
type broken struct {
	backup.Host
	vms      func(ctx context.Context, h backup.Host) ([]backup.VM, error)
	check    func(ctx context.Context, h backup.Host, vm backup.VM, m backup.Method) error
	snapshot func(ctx context.Context, h backup.Host, vm backup.VM, m backup.Method) (backup.Session, error)
	contents func(c *backup.Contents)
	verify   func(ctx context.Context, s backup.Session) error
	commit   func(ctx context.Context, s backup.Session) error
	disk     func(d backup.SourceDisk) backup.SourceDisk
}

func (b *broken) VMs(ctx context.Context) ([]backup.VM, error) {
	if b.vms != nil {
		return b.vms(ctx, b.Host)
	}
	return b.Host.VMs(ctx)
}

func (b *broken) Check(ctx context.Context, vm backup.VM, m backup.Method) error {
	if b.check != nil {
		return b.check(ctx, b.Host, vm, m)
	}
	return b.Host.Check(ctx, vm, m)
}

func (b *broken) Snapshot(ctx context.Context, vm backup.VM, m backup.Method) (backup.Session, error) {
	take := b.snapshot
	if take == nil {
		take = func(ctx context.Context, h backup.Host, vm backup.VM, m backup.Method) (backup.Session, error) {
			return h.Snapshot(ctx, vm, m)
		}
	}
	s, err := take(ctx, b.Host, vm, m)
	if err != nil {
		return nil, err
	}
	c := s.Contents()
	if b.disk != nil {
		for i, d := range c.Disks {
			c.Disks[i] = b.disk(d)
		}
	}
	if b.contents != nil {
		b.contents(c)
	}
	return &brokenSession{s, b}, nil
}

type brokenSession struct {
	backup.Session
	b *broken
}

func (s *brokenSession) Verify(ctx context.Context) error {
	if s.b.verify != nil {
		return s.b.verify(ctx, s.Session)
	}
	return s.Session.Verify(ctx)
}

func (s *brokenSession) Commit(ctx context.Context) error {
	if s.b.commit != nil {
		return s.b.commit(ctx, s.Session)
	}
	return s.Session.Commit(ctx)
}

type infoDisk struct {
	backup.SourceDisk
	info backup.DiskInfo
}

func (d infoDisk) Info() backup.DiskInfo { return d.info }

type openDisk struct{ backup.SourceDisk }

func (openDisk) Close() error { return nil }

type trackedDisk struct{ backup.SourceDisk }

func (trackedDisk) Changed(context.Context, string) (iter.Seq2[int64, int64], error) {
	return func(func(int64, int64) bool) {}, nil
}

type emptyDisk struct{ backup.SourceDisk }

func (emptyDisk) NextData(int64) (int64, int64, error) { return 0, 0, io.EOF }

// defects: each breaks the contract in one way, and the check named finds it.
func defects() map[string]struct {
	host  broken
	found string
} {
	count := 0
	return map[string]struct {
		host  broken
		found string
	}{
		"none": {},
		"lists in disorder": {broken{vms: func(ctx context.Context, h backup.Host) ([]backup.VM, error) {
			vms, err := h.VMs(ctx)
			slices.Reverse(vms)
			return vms, err
		}}, "MachinesAreListedInOrder"},
		"ids that change": {broken{vms: func(ctx context.Context, h backup.Host) ([]backup.VM, error) {
			vms, err := h.VMs(ctx)
			for i := range vms {
				count++
				vms[i].ID = repo.MachineID("6a1b0c53-98a1-4c64-9f3f-0000000000" + string([]byte{'0' + byte(count/10%10), '0' + byte(count%10)}))
			}
			return vms, err
		}}, "IdentitiesAreStable"},
		"ignores contexts": {broken{vms: func(ctx context.Context, h backup.Host) ([]backup.VM, error) {
			return h.VMs(context.WithoutCancel(ctx))
		}}, "EndedContextsEndTheWork"},
		"accepts any method": {broken{check: func(context.Context, backup.Host, backup.VM, backup.Method) error { return nil }}, "CheckTellsEveryCondition"},
		"takes any machine": {broken{snapshot: func(ctx context.Context, h backup.Host, vm backup.VM, m backup.Method) (backup.Session, error) {
			vms, err := h.VMs(ctx)
			if err != nil {
				return nil, err
			}
			return h.Snapshot(ctx, vms[len(vms)-1], m)
		}}, "StrangersAreRefused"},
		"loses a disk":      {broken{contents: func(c *backup.Contents) { c.Disks = c.Disks[1:] }}, "DisksAreInOrder"},
		"says too little":   {broken{contents: func(c *backup.Contents) { c.Warnings = []repo.Warning{{Code: "X"}} }}, "DisksAreInOrder"},
		"names a folder":    {broken{disk: func(d backup.SourceDisk) backup.SourceDisk { i := d.Info(); i.Name = "a/b.vhdx"; return infoDisk{d, i} }}, "DisksAreInOrder"},
		"disks without id":  {broken{disk: func(d backup.SourceDisk) backup.SourceDisk { i := d.Info(); i.ID = ""; return infoDisk{d, i} }}, "DisksAreInOrder"},
		"hides data":        {broken{disk: func(d backup.SourceDisk) backup.SourceDisk { return emptyDisk{d} }}, "DisksAreInOrder"},
		"never closes":      {broken{disk: func(d backup.SourceDisk) backup.SourceDisk { return openDisk{d} }}, "NothingIsReadAfterClose"},
		"invents tracking":  {broken{disk: func(d backup.SourceDisk) backup.SourceDisk { return trackedDisk{d} }}, "UnknownTrackingIsNoTracking"},
		"overlooks changes": {broken{verify: func(ctx context.Context, s backup.Session) error { return ctx.Err() }}, "ChangesAreFound"},
		"cries wolf":        {broken{verify: func(context.Context, backup.Session) error { return backup.ErrSourceChanged }}, "VerifyThenCommitThenClose"},
		"commits too late":  {broken{commit: func(context.Context, backup.Session) error { return nil }}, "CloseWithoutCommit"},
	}
}

const defectEnv = "VITRINE_HOST_DEFECT"

// TestDefect runs the suite against one broken host, in the process that
// TestSuiteFindsDefects starts.
func TestDefect(t *testing.T) {
	defect, ok := defects()[os.Getenv(defectEnv)]
	if !ok {
		t.Skip("is run by TestSuiteFindsDefects")
	}
	hosttest.Run(t, func(t *testing.T) hosttest.Fixture {
		dir := t.TempDir()
		b := disktest.Sparse(1, 1<<20, 2)
		for _, name := range []string{"a.raw", "web.raw"} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		h, err := folder.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		host := defect.host
		host.Host = h
		return hosttest.Fixture{
			Host: &host, VM: "web", Method: backup.MethodFolder, Disks: [][]byte{b},
			Change: func(t *testing.T) {
				b[0]++
				if err := os.WriteFile(filepath.Join(dir, "web.raw"), b, 0o644); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

func TestSuiteFindsDefects(t *testing.T) {
	for name, defect := range defects() {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestDefect$", "-test.v")
			cmd.Env = append(os.Environ(), defectEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if defect.found == "" {
				if err != nil {
					t.Errorf("a host that is right fails: %v\n%s", err, out)
				}
				return
			}
			if err == nil || !strings.Contains(string(out), "--- FAIL: TestDefect/"+defect.found) {
				t.Errorf("%s did not find it: %v\n%s", defect.found, err, out)
			}
		})
	}
}
