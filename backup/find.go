package backup

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vitrine/repo"
)

// TimeLayout is how the moment of a restore point is written in names.
const TimeLayout = "2006-01-02T15-04-05Z"

// Listed is a restore point of a listing: Point is nil when it cannot be
// opened, and Err says why.
type Listed struct {
	Info  repo.PointInfo
	Point *repo.RestorePoint
	Err   error
}

// List opens the restore points whose machine has a name, glob or id among
// patterns (all without patterns), by machine and time. A machine goes by the
// name of its latest point that can be opened. Points that cannot be opened
// are listed with their error.
func List(ctx context.Context, r *repo.Repo, patterns ...string) ([]Listed, error) {
	infos, err := infos(ctx, r, "")
	if err != nil {
		return nil, err
	}
	all := make([]Listed, len(infos))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, info := range infos {
		g.Go(func() error {
			p, err := r.OpenPoint(gctx, info)
			all[i] = Listed{Info: info, Point: p, Err: err}
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if len(patterns) == 0 {
		return all, nil
	}
	named := map[repo.MachineID]string{}
	for _, l := range all {
		if l.Err == nil {
			named[l.Info.Machine] = l.Point.Name
		}
	}
	vms := make([]VM, 0, len(named))
	for _, l := range all {
		if n := len(vms); n == 0 || vms[n-1].ID != l.Info.Machine {
			vms = append(vms, VM{ID: l.Info.Machine, Name: named[l.Info.Machine]})
		}
	}
	picked, err := Select(vms, patterns, nil)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(l Listed) bool {
		return !slices.ContainsFunc(picked, func(vm VM) bool { return vm.ID == l.Info.Machine })
	}), nil
}

// Find opens the restore point that spec means:
//
//	SQL01                        the latest of the machine with this name or id
//	SQL01@latest                 the same
//	SQL01@2026-11-22             its latest of that day; also 2026-11 and so on
//	SQL01@2026-11-22T22-00-05Z   the one of that moment (UTC)
//	8c1f02ab                     the one whose id begins so; four digits at least
//
// Two machines of one name are told apart as in the mounted tree,
// "SQL01 (3f2a9c1e)", or by their ids.
func Find(ctx context.Context, r *repo.Repo, spec string) (*repo.RestorePoint, error) {
	all, err := infos(ctx, r, "")
	if err != nil {
		return nil, err
	}
	machine, moment, timed := strings.Cut(spec, "@")
	own, err := machineInfos(ctx, r, all, machine)
	if err != nil {
		return nil, err
	}
	if len(own) == 0 && !timed {
		own, err = byPrefix(all, spec)
		if err != nil {
			return nil, err
		}
	}
	if len(own) == 0 {
		return nil, &NoPointError{Spec: spec}
	}
	if timed && moment != "latest" {
		prefix, ok := momentPrefix(moment)
		if !ok {
			return nil, &NoPointError{Spec: spec, BadTime: true}
		}
		own = slices.DeleteFunc(own, func(i repo.PointInfo) bool {
			return !strings.HasPrefix(i.Time.UTC().Format(TimeLayout), prefix)
		})
		if len(own) == 0 {
			return nil, &NoPointError{Spec: spec}
		}
	}
	info := own[len(own)-1]
	p, err := r.OpenPoint(ctx, info)
	if err != nil {
		return nil, fmt.Errorf("backup: open restore point %s of %s: %w", info.Time.UTC().Format(TimeLayout), machine, err)
	}
	return p, nil
}

// machineInfos gives the points of the one machine that name means, oldest
// first; none when no machine is called so.
func machineInfos(ctx context.Context, r *repo.Repo, all []repo.PointInfo, name string) ([]repo.PointInfo, error) {
	var found []repo.PointInfo
	var ids []string
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Machine == all[0].Machine {
			n++
		}
		own := all[:n:n]
		all = all[n:]
		called, err := machineName(ctx, r, own)
		if err != nil {
			return nil, err
		}
		id := own[0].Machine
		if pid, err := repo.ParseMachineID(name); err == nil && pid == id {
			return own, nil
		}
		if called != "" && strings.EqualFold(name, LongName(called, id)) {
			return own, nil
		}
		if called != "" && strings.EqualFold(name, called) {
			found = own
			ids = append(ids, string(id))
		}
	}
	if len(ids) > 1 {
		return nil, &AmbiguousError{Spec: name, What: "machines", Choices: ids}
	}
	return found, nil
}

// machineName is the name in the machine's latest point that can be opened.
func machineName(ctx context.Context, r *repo.Repo, own []repo.PointInfo) (string, error) {
	for _, info := range slices.Backward(own) {
		p, err := r.OpenPoint(ctx, info)
		if err == nil {
			return p.Name, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
	return "", nil
}

// byPrefix gives the one point whose id begins with prefix.
func byPrefix(all []repo.PointInfo, prefix string) ([]repo.PointInfo, error) {
	prefix = strings.ToLower(prefix)
	if len(prefix) < 4 || strings.Trim(prefix, "0123456789abcdef") != "" {
		return nil, nil
	}
	var found []repo.PointInfo
	var ids []string
	for _, info := range all {
		if strings.HasPrefix(info.ID.String(), prefix) {
			found = append(found, info)
			ids = append(ids, info.ID.String())
		}
	}
	if len(found) > 1 {
		return nil, &AmbiguousError{Spec: prefix, What: "restore points", Choices: ids}
	}
	return found, nil
}

// momentPrefix brings the start of a moment into the form of TimeLayout; it
// may end behind the year, month, day, hour, minute or second.
func momentPrefix(s string) (string, bool) {
	if d, t, ok := strings.Cut(s, "T"); ok {
		s = d + "T" + strings.ReplaceAll(t, ":", "-")
	}
	for _, n := range []int{4, 7, 10, 13, 16, 19, 20} {
		if len(s) == n {
			_, err := time.Parse(TimeLayout[:n], s)
			return s, err == nil
		}
	}
	return "", false
}

// infos lists the points of a machine, or of all, by machine and time.
func infos(ctx context.Context, r *repo.Repo, machine repo.MachineID) ([]repo.PointInfo, error) {
	var out []repo.PointInfo
	points := r.Points(ctx)
	if machine != "" {
		points = r.PointsOf(ctx, machine)
	}
	for info, err := range points {
		if err != nil {
			return nil, fmt.Errorf("backup: list restore points: %w", err)
		}
		out = append(out, info)
	}
	slices.SortStableFunc(out, func(a, b repo.PointInfo) int {
		if c := strings.Compare(string(a.Machine), string(b.Machine)); c != 0 {
			return c
		}
		return a.Time.Compare(b.Time)
	})
	return out, nil
}

// NoPointError says that a spec means no restore point.
type NoPointError struct {
	Spec    string
	BadTime bool
}

func (e *NoPointError) Error() string {
	if e.BadTime {
		return fmt.Sprintf("%q does not end in a moment", e.Spec)
	}
	return fmt.Sprintf("there is no restore point %q", e.Spec)
}

// Hint says how restore points are named.
func (e *NoPointError) Hint() string {
	if e.BadTime {
		return "a moment looks like 2026-11-22T22-00-05Z (UTC), a day like 2026-11-22; or latest"
	}
	return "vitrine list shows the restore points that there are"
}

// AmbiguousError says that a spec means several things.
type AmbiguousError struct {
	Spec    string
	What    string
	Choices []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q means %d %s", e.Spec, len(e.Choices), e.What)
}

// Hint names them.
func (e *AmbiguousError) Hint() string {
	return "name it by its id: " + strings.Join(e.Choices, ", ")
}
