package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
)

func newDoctor(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "say what works on this machine, and what it lacks",
		Long: `Looks whether restore points can be mounted here, whether the index cache can be
kept, and, when one is named, whether the repository can be opened and written.`,
		Example: `  vitrine doctor
  vitrine doctor --repo /backups`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runDoctor(c.Context(), e) },
	}
}

// finding is one thing that doctor looked at.
type finding struct {
	what string
	text string // how it is
	err  error  // why it does not work; nil when it does
	fix  string
}

func runDoctor(ctx context.Context, e *env) error {
	findings := append(mountFindings(), cacheFinding(e))
	if e.repo.location != "" || e.getenv("VITRINE_REPO") != "" {
		findings = append(findings, repoFinding(ctx, e))
	}
	bad := false
	for _, f := range findings {
		text := f.text
		if f.err != nil {
			bad, text = true, oneLine(f.err.Error())
		}
		if err := e.printf("%-12s %s\n", f.what, text); err != nil {
			return err
		}
		if f.err != nil && f.fix != "" {
			if err := e.printf("%-12s -> %s\n", "", f.fix); err != nil {
				return err
			}
		}
	}
	if bad {
		return errReported
	}
	return nil
}

// cacheFinding tries to write where writers keep the index cache.
func cacheFinding(e *env) finding {
	f := finding{what: "cache", fix: "name another folder with --cache-dir"}
	dir := e.repo.cacheDir
	if dir == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			f.err = err
			return f
		}
		dir = filepath.Join(user, "vitrine")
	}
	f.text = dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		f.err = err
		return f
	}
	temp, err := os.CreateTemp(dir, "doctor-")
	if err != nil {
		f.err = err
		return f
	}
	f.err = errors.Join(temp.Close(), os.Remove(temp.Name()))
	return f
}

func repoFinding(ctx context.Context, e *env) finding {
	f := finding{what: "repository"}
	r, err := e.open(ctx)
	if err != nil {
		f.err = err
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			f.fix = h.Hint()
		}
		return f
	}
	points := 0
	for _, err := range r.Points(ctx) {
		if err != nil {
			f.err = errors.Join(err, r.Close())
			return f
		}
		points++
	}
	how := "encrypted"
	if !r.Encrypted() {
		how = "not encrypted"
	}
	dir, err := e.location()
	f.text = fmt.Sprintf("%s: %.8s, %s, %s", dir, r.ID(), how, strings.ToLower(plural(points, "restore point")))
	f.err = errors.Join(err, r.Close())
	return f
}
