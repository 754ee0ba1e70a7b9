package mount

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const maxUsers = 16 // processes told of

// users finds processes that use what is mounted at dir: by an open file, as
// their working folder, root or program, or by a mapping. It reads names from
// /proc and never asks the mount. Processes of others may stay unseen.
func users(dir string) []User {
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return nil
	}
	var found []User
	for _, p := range procs {
		if len(found) == maxUsers {
			break
		}
		if path := uses(p, dir); path != "" {
			pid, _ := strconv.Atoi(filepath.Base(p))
			name, _ := os.ReadFile(p + "/comm")
			found = append(found, User{pid, strings.TrimSpace(string(name)), path})
		}
	}
	return found
}

// uses returns a path below dir that the process uses, "" if there is none.
func uses(proc, dir string) string {
	links := []string{proc + "/cwd", proc + "/root", proc + "/exe"}
	for _, set := range []string{"/fd", "/map_files"} {
		names, err := os.ReadDir(proc + set)
		if err != nil {
			continue // not ours to see
		}
		for _, n := range names {
			links = append(links, proc+set+"/"+n.Name())
		}
	}
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil && within(target, dir) {
			return target
		}
	}
	return ""
}
