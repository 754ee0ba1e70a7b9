package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/repo"
)

type vmsOptions struct {
	json bool
}

func newVMs(e *env) *cobra.Command {
	var o vmsOptions
	c := &cobra.Command{
		Use:   "vms SOURCE",
		Short: "list the machines of a source, and which method would work",
		Long: `Lists the machines of a source: a folder with exported machines, a Hyper-V data
folder, a folder of bare disks, or a single disk file. No repository is needed.

What a restore point of a machine would lack is told in warnings.`,
		Example: `  vitrine vms /srv/hyper-v
  vitrine vms /srv/disks/web01.vhdx`,
		Args: exactly("SOURCE"),
		RunE: func(c *cobra.Command, args []string) error { return runVMs(c.Context(), e, o, args[0]) },
	}
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// vmJSON is a machine in the output of vms --json.
type vmJSON struct {
	ID         repo.MachineID `json:"id"`
	Name       string         `json:"name"`
	State      backup.State   `json:"state"`
	Generation int            `json:"generation,omitempty"`
	Version    string         `json:"version,omitempty"`
	Source     string         `json:"source"`
	Method     backup.Method  `json:"method,omitempty"`
	Unmet      []unmetJSON    `json:"unmet,omitempty"`
	Disks      []diskJSON     `json:"disks"`
	Warnings   []repo.Warning `json:"warnings,omitempty"`
}

type unmetJSON struct {
	Method     backup.Method      `json:"method"`
	Conditions []backup.Condition `json:"conditions"`
}

func runVMs(ctx context.Context, e *env, o vmsOptions, source string) error {
	h, err := openSource(source)
	if err != nil {
		return err
	}
	vms, err := h.VMs(ctx)
	if err != nil {
		return err
	}
	all := make([]vmJSON, 0, len(vms))
	for _, vm := range vms {
		v, err := describeVM(ctx, h, vm)
		if err != nil {
			return err
		}
		all = append(all, v)
	}
	if o.json {
		for _, v := range all {
			e.noteWarnings(len(v.Warnings) + len(v.Unmet))
		}
		return e.printJSON(all)
	}
	rows, shown := make([][]string, 0, len(all)), namer{}
	for _, v := range all {
		shown.add(v.Name, v.ID)
	}
	for i, v := range all {
		generation, version, method := "-", "-", "none"
		if v.Generation > 0 {
			generation = strconv.Itoa(v.Generation)
		}
		if v.Version != "" {
			version = v.Version
		}
		if v.Method != "" {
			method = string(v.Method)
		}
		var total int64
		for _, d := range vms[i].Disks {
			total += d.Size
		}
		rows = append(rows, []string{shown.name(v.Name, v.ID), string(v.State), generation, version, strconv.Itoa(len(v.Disks)), size(total), method})
	}
	if len(rows) > 0 {
		if err := e.printf("%s", table([]string{"NAME", "STATE", "GEN", "VERSION", "DISKS", "SIZE", "METHOD"}, rows, 2, 4, 5)); err != nil {
			return err
		}
	}
	for _, v := range all {
		e.warnAll(v.Name, v.Warnings)
		for _, u := range v.Unmet {
			for _, c := range u.Conditions {
				if slices.ContainsFunc(v.Warnings, func(w repo.Warning) bool { return w.Text == c.Text }) {
					continue
				}
				e.warn("%s: method %s: %s", v.Name, u.Method, oneLine(c.Text))
			}
		}
	}
	return nil
}

// describeVM asks which of the machine's methods would work.
func describeVM(ctx context.Context, h backup.Host, vm backup.VM) (vmJSON, error) {
	v := vmJSON{
		ID: vm.ID, Name: vm.Name, State: vm.State, Generation: vm.Generation, Version: vm.Version,
		Source: vm.Source, Disks: []diskJSON{}, Warnings: vm.Problems,
	}
	for _, d := range vm.Disks {
		v.Disks = append(v.Disks, diskJSON{Name: d.Name, Size: d.Size, Format: d.Format})
	}
	for _, m := range vm.Methods {
		err := h.Check(ctx, vm, m)
		var unmet *backup.PreflightError
		switch {
		case err == nil:
			if v.Method == "" {
				v.Method = m
			}
		case errors.As(err, &unmet):
			v.Unmet = append(v.Unmet, unmetJSON{m, unmet.Unmet})
		default:
			return v, fmt.Errorf("%s: %w", vm.Name, err)
		}
	}
	return v, nil
}

// warnAll prints warnings about a machine.
func (e *env) warnAll(machine string, warnings []repo.Warning) {
	for _, w := range warnings {
		e.warn("%s: %s", oneLine(machine), oneLine(w.Text))
	}
}
