package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCopiedDisksKeepTheirHoles(t *testing.T) {
	dir := t.TempDir()
	e, _, stderr := testEnv()
	run := func(args ...string) {
		t.Helper()
		args = append([]string{"--repo", filepath.Join(dir, "repo"), "--cache-dir", filepath.Join(dir, "cache")}, args...)
		if got := execute(t.Context(), e, args); got != 0 {
			t.Fatalf("%q: %d, %s", args, got, stderr)
		}
	}
	source := filepath.Join(dir, "disk.vhdx")
	if err := writeVHDX(source, "3f2a9c1e-0000-4000-8000-000000000001", 0, 1); err != nil {
		t.Fatal(err)
	}
	run("init", "--no-encryption")
	run("backup", source)
	copied := filepath.Join(dir, "copy.vhdx")
	run("cp", "disk:/disk.vhdx", copied)
	info, err := os.Stat(copied)
	if err != nil {
		t.Fatal(err)
	}
	// 1 MiB of data and the tables of the VHDX.
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() < 4<<20 || used > 2<<20 {
		t.Errorf("%d of %d bytes are on the disk", used, info.Size())
	}
}
