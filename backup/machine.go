package backup

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"vitrine/repo"
)

// runMachine backs up one machine, which the host knows as vm, into its report.
func runMachine(ctx context.Context, r *repo.Repo, h Host, o Options, vm VM, m *MachineReport) {
	if err := backupMachine(ctx, r, h, o, vm, m); err != nil {
		m.Err = errors.Join(m.Err, fmt.Errorf("backup: %s: %w", m.VM.Name, err))
	}
}

func backupMachine(ctx context.Context, r *repo.Repo, h Host, o Options, vm VM, m *MachineReport) (err error) {
	if m.Method, err = choose(ctx, h, vm, o.Method); err != nil {
		return err
	}
	past, err := loadHistory(ctx, r, m.VM.ID)
	if err != nil {
		return err
	}
	w, err := r.NewWriter(ctx)
	if err != nil {
		return fmt.Errorf("begin to write: %w", err)
	}
	defer func() { err = errors.Join(err, w.Close()) }()

	started := o.Clock()
	sess, err := h.Snapshot(ctx, vm, m.Method)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	defer func() {
		if cerr := sess.Close(); cerr != nil {
			err = errors.Join(err, fmt.Errorf("give the machine back: %w", cerr))
		}
	}()
	c := sess.Contents()
	if err := checkContents(c); err != nil {
		return err
	}
	p := m.point(o, c, started)
	s := &storing{repo: r, w: w, o: o, past: past, m: m, point: p, contents: c}
	if err := s.all(ctx); err != nil {
		return err
	}
	if err := sess.Verify(ctx); err != nil {
		return err
	}
	p.Stats = m.Stats
	p.Finished = o.Clock().UTC()
	if err := w.Commit(ctx, p); err != nil {
		return fmt.Errorf("commit the restore point: %w", err)
	}
	m.Point, m.Warnings = p, p.Warnings

	// The point is safe: the host hears of it even when ctx just ended.
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := sess.Commit(end); err != nil {
		m.Warnings = append(slices.Clip(m.Warnings), repo.Warning{
			Object: m.VM.Name, Code: "session-commit",
			Text: fmt.Sprintf("the host did not take note of the restore point: %v", err),
		})
	}
	return nil
}

// choose picks the method: the one asked for, or the first that works.
func choose(ctx context.Context, h Host, vm VM, asked Method) (Method, error) {
	methods := vm.Methods
	if asked != "" {
		methods = []Method{asked}
	}
	var unmet []error
	for _, method := range methods {
		err := h.Check(ctx, vm, method)
		if err == nil {
			return method, nil
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		unmet = append(unmet, err)
	}
	if len(unmet) == 0 {
		return "", errors.New("the host offers no method for this machine")
	}
	return "", errors.Join(unmet...)
}

// point begins the restore point.
func (m *MachineReport) point(o Options, c *Contents, started time.Time) *repo.RestorePoint {
	p := &repo.RestorePoint{
		Machine: m.VM.ID, Name: m.VM.Name, Time: c.Time,
		Software: o.Software, Host: m.VM.Host, Source: m.VM.Source,
		Level: "host", Method: string(m.Method), Consistency: string(c.Consistency),
		Started: started.UTC(), Tags: o.Tags,
		VM: c.VM, Warnings: c.Warnings, Events: slices.Clone(c.Events),
	}
	if p.Time.IsZero() {
		p.Time = started
	}
	if p.Consistency == "" {
		p.Consistency = string(ConsistencyUnknown)
	}
	return p
}

// checkContents refuses names that would collide or lead astray in the tree.
func checkContents(c *Contents) error {
	if err := checkDisks(c.Disks); err != nil {
		return err
	}
	ids := map[string]bool{}
	for _, cp := range c.Checkpoints {
		if ids[cp.ID] {
			return fmt.Errorf("two checkpoints have the id %s", cp.ID)
		}
		ids[cp.ID] = true
		if err := checkDisks(cp.Disks); err != nil {
			return fmt.Errorf("checkpoint %s: %w", cp.Name, err)
		}
	}
	return nil
}

func checkDisks(disks []SourceDisk) error {
	seen := map[string]bool{}
	for _, d := range disks {
		name := d.Info().Name
		if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\\\x00") || !strings.EqualFold(path.Ext(name), ".vhdx") {
			return fmt.Errorf("%q is no name for a disk", name)
		}
		if key := strings.ToLower(name); seen[key] {
			return fmt.Errorf("two disks are called %s", name)
		} else {
			seen[key] = true
		}
	}
	return nil
}

// storing is the state of one machine's way into the repository.
type storing struct {
	repo     *repo.Repo
	w        *repo.Writer
	o        Options
	past     *history
	m        *MachineReport
	point    *repo.RestorePoint
	contents *Contents

	mu sync.Mutex // guards m.Disks, m.Stats and the Read of the point
}

// all stores everything that the session offers: disks first, a few at a time,
// then what the checkpoints add to them, then the files.
func (s *storing) all(ctx context.Context) error {
	p, c := s.point, s.contents
	p.Read = ReadIncremental
	if len(c.Disks) == 0 {
		p.Read = ReadFull
	}
	plans := make([]*plan, len(c.Disks))
	for i, d := range c.Disks {
		var err error
		if plans[i], err = s.plan(ctx, d); err != nil {
			return fmt.Errorf("disk %s: %w", d.Info().Name, err)
		}
		if plans[i].base == nil {
			p.Read = ReadFull
		}
	}
	if err := s.unlisted(); err != nil {
		return err
	}
	if err := s.planLeftOut(ctx, c.Disks, c.Files, "", plans); err != nil {
		return err
	}
	s.m.Disks = make([]DiskReport, len(c.Disks))
	p.Disks = make([]repo.Disk, len(c.Disks))
	if err := s.disks(ctx, c.Disks, plans, p.Disks, s.m.Disks); err != nil {
		return err
	}
	for _, cp := range c.Checkpoints {
		done, err := s.checkpoint(ctx, cp)
		if err != nil {
			return fmt.Errorf("checkpoint %s: %w", cp.Name, err)
		}
		p.Checkpoints = append(p.Checkpoints, done)
	}
	files, err := s.files(ctx, c.Files)
	p.Files = files
	return err
}

// planLeftOut adds to the plans of disks what is left out of them.
func (s *storing) planLeftOut(ctx context.Context, disks []SourceDisk, files iofs.FS, place string, plans []*plan) error {
	sets, err := s.leftOut(ctx, disks, files, place)
	if err != nil {
		return err
	}
	for i := range plans {
		plans[i].left = sets[i]
	}
	return nil
}

// plan guards against two disks of one id, which is what copies look like: the
// base of one is not the base of the other.
func (s *storing) plan(ctx context.Context, d SourceDisk) (*plan, error) {
	same := 0
	for _, other := range s.contents.Disks {
		if strings.EqualFold(other.Info().ID, d.Info().ID) {
			same++
		}
	}
	if same > 1 {
		return full("another disk of this machine has the same id"), nil
	}
	return s.past.plan(ctx, s.repo, d, s.o.Changed)
}

// unlisted refuses a change list that was made for this machine's latest point
// and names a disk that the machine does not have.
func (s *storing) unlisted() error {
	if s.o.Changed == nil || s.o.Changed.Point != s.past.latest {
		return nil
	}
	for name := range s.o.Changed.Disks {
		has := slices.ContainsFunc(s.contents.Disks, func(d SourceDisk) bool { return d.Info().Name == name })
		was := len(s.past.bases) > 0 && slices.ContainsFunc(s.past.bases[0].Disks, func(d repo.Disk) bool { return d.Name == name })
		if !has && !was {
			return fmt.Errorf("the change list names a disk %s, which this machine does not have", name)
		}
	}
	return nil
}

func (s *storing) checkpoint(ctx context.Context, cp SourceCheckpoint) (repo.Checkpoint, error) {
	done := repo.Checkpoint{ID: cp.ID, Name: cp.Name, Parent: cp.Parent, Time: cp.Time, VM: cp.VM, Disks: make([]repo.Disk, len(cp.Disks))}
	plans := make([]*plan, len(cp.Disks))
	reports := make([]DiskReport, len(cp.Disks))
	for i := range cp.Disks {
		plans[i] = full("disk of a checkpoint")
	}
	if err := s.planLeftOut(ctx, cp.Disks, cp.Files, "checkpoints/"+cp.Name, plans); err != nil {
		return done, err
	}
	if err := s.disks(ctx, cp.Disks, plans, done.Disks, reports); err != nil {
		return done, err
	}
	for i := range reports {
		reports[i].Checkpoint = cp.Name
	}
	s.m.Disks = append(s.m.Disks, reports...)
	var err error
	done.Files, err = s.files(ctx, cp.Files)
	return done, err
}

// disks stores disks, a few at a time, into the places of out and reports.
func (s *storing) disks(ctx context.Context, disks []SourceDisk, plans []*plan, out []repo.Disk, reports []DiskReport) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(s.o.Parallel)
	for i, d := range disks {
		g.Go(func() error {
			var err error
			out[i], reports[i], err = s.disk(ctx, d, plans[i])
			if err != nil {
				return fmt.Errorf("disk %s: %w", d.Info().Name, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// disk stores one disk and closes it.
func (s *storing) disk(ctx context.Context, d SourceDisk, p *plan) (out repo.Disk, rep DiskReport, err error) {
	defer func() { err = errors.Join(err, d.Close()) }()
	info := d.Info()
	out, err = identity(info, s.o.Rand, &s.mu)
	if err != nil {
		return out, rep, err
	}
	out.Image, rep, err = s.image(ctx, d, info.Name, out.BlockSize, p)
	var damaged *repo.CorruptError
	if err != nil && p.base != nil && errors.As(err, &damaged) && ctx.Err() == nil {
		// The base is damaged: the disk itself is still there to be read.
		again := full(fmt.Sprintf("restore point %.8s is damaged: %v", p.from, err))
		again.left = p.left
		out.Image, rep, err = s.image(ctx, d, info.Name, out.BlockSize, again)
		s.mu.Lock()
		s.point.Read = ReadFull
		s.mu.Unlock()
	}
	return out, rep, err
}

// image stores src as p says and counts it.
func (s *storing) image(ctx context.Context, src repo.Source, name string, block int64, p *plan) (repo.ImageRef, DiskReport, error) {
	meter := s.o.Progress.Begin(s.m.VM.Name, name, src.Size())
	ref, stats, err := s.w.StoreImage(ctx, src, repo.ImageOptions{
		Base: p.base, Changed: p.changed, LeftOut: p.left.All(), Block: block, Read: meter.Add,
	})
	meter.End(err)
	rep := DiskReport{Name: name, Read: ReadFull, Base: p.from, Why: p.why, Stats: stats}
	if p.base != nil {
		rep.Read, rep.Why = ReadIncremental, ""
	}
	if err != nil {
		return ref, rep, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	addStats(&s.m.Stats, stats)
	return ref, rep, nil
}
