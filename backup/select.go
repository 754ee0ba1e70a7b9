package backup

import (
	"fmt"
	"path"
	"strings"

	"vitrine/repo"
)

// Select picks machines by patterns: each is a name, a glob such as "SQL*", an
// id or a LongName; letters count the same in both cases. No patterns pick all. A pattern
// that picks nothing is an error, in exclude too: a misspelt exclusion would
// back up what was not wanted.
func Select(vms []VM, patterns, exclude []string) ([]VM, error) {
	picked, err := hits(vms, patterns)
	if err != nil {
		return nil, err
	}
	dropped, err := hits(vms, exclude)
	if err != nil {
		return nil, fmt.Errorf("exclude: %w", err)
	}
	var out []VM
	for i, vm := range vms {
		if (len(patterns) == 0 || picked[i]) && !dropped[i] {
			out = append(out, vm)
		}
	}
	return out, nil
}

func hits(vms []VM, patterns []string) ([]bool, error) {
	hit := make([]bool, len(vms))
	for _, p := range patterns {
		found := false
		for i, vm := range vms {
			ok, err := matches(p, vm.Name, vm.ID)
			if err != nil {
				return nil, err
			}
			hit[i] = hit[i] || ok
			found = found || ok
		}
		if !found {
			return nil, &NoMachineError{Pattern: p, Known: names(vms)}
		}
	}
	return hit, nil
}

// matches tells whether a pattern means the machine with this name and id.
func matches(pattern, name string, id repo.MachineID) (bool, error) {
	if p, err := repo.ParseMachineID(pattern); err == nil && p == id {
		return true, nil
	}
	if strings.EqualFold(pattern, name) || strings.EqualFold(pattern, LongName(name, id)) {
		return true, nil
	}
	ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(name))
	if err != nil {
		return false, fmt.Errorf("backup: pattern %q: %w", pattern, err)
	}
	return ok, nil
}

// LongName tells machines of one name apart: "SQL01 (3f2a9c1e)", as in the
// mounted tree.
func LongName(name string, id repo.MachineID) string { return fmt.Sprintf("%s (%.8s)", name, id) }

// NoMachineError says that a pattern means no machine.
type NoMachineError struct {
	Pattern string
	Known   []string
}

func (e *NoMachineError) Error() string {
	return fmt.Sprintf("no machine is called %q", e.Pattern)
}

// Hint names the machines that there are.
func (e *NoMachineError) Hint() string {
	if len(e.Known) == 0 {
		return "there are no machines"
	}
	const most = 10
	if len(e.Known) > most {
		return fmt.Sprintf("there are %s and %d more", strings.Join(e.Known[:most], ", "), len(e.Known)-most)
	}
	return "there are " + strings.Join(e.Known, ", ")
}

func names(vms []VM) []string {
	out := make([]string, len(vms))
	for i, vm := range vms {
		out[i] = vm.Name
	}
	return out
}
