package mount

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// checkOverlap refuses a folder inside or above one that serving the mount
// needs: whoever serves would wait for itself, and only a reboot ends that.
func checkOverlap(dir string, keepOut []string) error {
	for _, k := range keepOut {
		if k == "" {
			continue
		}
		other, err := resolve(k)
		if err != nil {
			return err
		}
		switch {
		case within(dir, other):
			return &PointError{dir, "lies in " + k, "mount outside of the repository, the cache and the overlays"}
		case within(other, dir):
			return &PointError{dir, "holds " + k, "mount outside of the repository, the cache and the overlays"}
		}
	}
	return nil
}

// within reports whether path is dir or lies in it. Both are clean.
func within(path, dir string) bool {
	if runtime.GOOS == "windows" {
		path, dir = strings.ToLower(path), strings.ToLower(dir)
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// resolve makes a path absolute and follows its links, as far as it exists.
func resolve(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("mount: %w", err)
	}
	rest := ""
	for p := abs; ; {
		real, err := filepath.EvalSymlinks(p)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(p) == p {
			return "", fmt.Errorf("mount: resolve %s: %w", path, err)
		}
		rest = filepath.Join(filepath.Base(p), rest)
		p = filepath.Dir(p)
	}
}
