package main

import (
	"errors"
	"os"
	"path/filepath"
)

// mountFindings looks for WinFsp.
func mountFindings() []finding {
	f := finding{what: "winfsp", fix: "install WinFsp from https://winfsp.dev"}
	for _, root := range []string{os.Getenv("ProgramFiles(x86)"), os.Getenv("ProgramFiles")} {
		dir := filepath.Join(root, "WinFsp", "bin")
		if _, err := os.Stat(dir); root != "" && err == nil {
			f.text = dir
			return []finding{f}
		}
	}
	f.err = errors.New("not found")
	return []finding{f}
}
