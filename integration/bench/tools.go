//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// tool is a backup program in one setting. Commands begin with the program.
type tool struct {
	name string
	dir  string // for its repository, cache and state
	env  []string

	setup   [][]string
	backup  func(source, label string) []string
	restore func(source, label, to string) ([]string, error) // the disk vma.raw into the folder to
	mount   func(mnt, label string) []string                 // in the foreground; nil where there is none
	find    func(mnt, source string) string                  // pattern of vma.raw in the mount
}

func (t *tool) repo() string { return filepath.Join(t.dir, "repo") }

// state is the day that the repository has seen last; "" when there is none.
func (t *tool) state() string {
	b, err := os.ReadFile(filepath.Join(t.dir, "state"))
	if err != nil {
		return ""
	}
	return string(b)
}

func (t *tool) setState(s string) error {
	return os.WriteFile(filepath.Join(t.dir, "state"), []byte(s), 0o644)
}

// tools are Vitrine, with one setting for all figures, and what else is
// installed.
func tools(work, vitrine string) []*tool {
	all := []*tool{vitrineTool(work, vitrine)}
	if bin, err := exec.LookPath("restic"); err == nil {
		all = append(all,
			restic(work, bin, "restic auto"),
			restic(work, bin, "restic fastest, 128 MiB packs", "--compression=fastest", "--pack-size=128"))
	}
	if bin, err := exec.LookPath("kopia"); err == nil {
		all = append(all,
			kopia(work, bin, "kopia zstd-fastest"),
			kopia(work, bin, "kopia zstd-fastest, blake3, fixed 1 MiB", "--block-hash=BLAKE3-256", "--object-splitter=FIXED-1M"))
	}
	if bin, err := exec.LookPath("borg"); err == nil {
		all = append(all,
			borg(work, bin, "borg lz4, not encrypted", "--compression=lz4"),
			borg(work, bin, "borg zstd 1, not encrypted", "--compression=zstd,1"))
	}
	return all
}

func vitrineTool(work, bin string) *tool {
	t := &tool{name: "vitrine", dir: filepath.Join(work, "vitrine")}
	t.env = []string{"VITRINE_REPO=" + t.repo(), "VITRINE_PASSWORD=benchmark", "XDG_CACHE_HOME=" + filepath.Join(t.dir, "cache")}
	t.setup = [][]string{{bin, "init"}}
	t.backup = func(source, _ string) []string { return []string{bin, "backup", "--json", source} }
	t.restore = func(_, _, to string) ([]string, error) {
		return []string{bin, "restore", "vma", "--to", to, "--format", "raw"}, nil
	}
	t.mount = func(mnt, _ string) []string { return []string{bin, "mount", mnt} }
	t.find = func(mnt, _ string) string { return filepath.Join(mnt, "vma", "latest", "raw", "vma.raw") }
	return t
}

func restic(work, bin, name string, options ...string) *tool {
	t := &tool{name: name, dir: filepath.Join(work, name)}
	t.env = []string{"RESTIC_REPOSITORY=" + t.repo(), "RESTIC_PASSWORD=benchmark", "RESTIC_CACHE_DIR=" + filepath.Join(t.dir, "cache")}
	t.setup = [][]string{{bin, "init"}}
	t.backup = func(source, _ string) []string {
		return append([]string{bin, "backup", "--quiet"}, append(options, source)...)
	}
	t.restore = func(source, _, to string) ([]string, error) {
		return []string{bin, "restore", "latest:" + source, "--include", "/vma.raw", "--sparse", "--target", to}, nil
	}
	t.mount = func(mnt, _ string) []string { return []string{bin, "mount", mnt} }
	t.find = func(mnt, source string) string {
		return filepath.Join(mnt, "snapshots", "latest", source, "vma.raw")
	}
	return t
}

func kopia(work, bin, name string, options ...string) *tool {
	t := &tool{name: name, dir: filepath.Join(work, name)}
	t.env = []string{
		"KOPIA_CONFIG_PATH=" + filepath.Join(t.dir, "config"), "KOPIA_PASSWORD=benchmark", "KOPIA_CHECK_FOR_UPDATES=false",
		"KOPIA_CACHE_DIRECTORY=" + filepath.Join(t.dir, "cache"), "KOPIA_LOG_DIR=" + filepath.Join(t.dir, "log"),
	}
	t.setup = [][]string{
		append([]string{bin, "repository", "create", "filesystem", "--path=" + t.repo()}, options...),
		{bin, "policy", "set", "--global", "--compression=zstd-fastest"},
	}
	t.backup = func(source, _ string) []string { return []string{bin, "snapshot", "create", "--no-progress", source} }
	t.restore = func(source, _, to string) ([]string, error) {
		c := exec.Command(bin, "snapshot", "list", "--json", source)
		c.Env = append(os.Environ(), t.env...)
		out, err := c.Output()
		if err != nil {
			return nil, fmt.Errorf("kopia snapshot list: %w", err)
		}
		var list []struct {
			RootEntry struct{ Obj string }
		}
		if err := json.Unmarshal(out, &list); err != nil || len(list) == 0 {
			return nil, fmt.Errorf("kopia snapshot list: %d snapshots: %w", len(list), err)
		}
		return []string{bin, "restore", "--no-progress", "--write-sparse-files", list[len(list)-1].RootEntry.Obj + "/vma.raw", filepath.Join(to, "vma.raw")}, nil
	}
	t.mount = func(mnt, _ string) []string { return []string{bin, "mount", "all", mnt} }
	t.find = func(mnt, _ string) string { return filepath.Join(mnt, "*", "*", "*", "vma.raw") }
	return t
}

func borg(work, bin, name string, options ...string) *tool {
	t := &tool{name: name, dir: filepath.Join(work, name)}
	t.env = []string{"BORG_REPO=" + t.repo(), "BORG_BASE_DIR=" + t.dir, "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK=yes"}
	t.setup = [][]string{{bin, "init", "--encryption=none"}}
	t.backup = func(source, label string) []string {
		return append([]string{bin, "create"}, append(options, "::"+label, source)...)
	}
	t.restore = func(source, label, _ string) ([]string, error) {
		return []string{bin, "extract", "--sparse", "::" + label, filepath.Join(source, "vma.raw")[1:]}, nil
	}
	t.mount = func(mnt, label string) []string { return []string{bin, "mount", "-f", "::" + label, mnt} }
	t.find = func(mnt, source string) string { return filepath.Join(mnt, source, "vma.raw") }
	return t
}
