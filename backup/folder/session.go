package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"sync/atomic"

	"vitrine/backup"
	"vitrine/fs/disk"
	"vitrine/repo"
)

// session keeps the files of one machine open.
type session struct {
	root     *os.Root
	opener   *opener
	marks    []marked
	contents *backup.Contents
	closed   bool
}

var _ backup.Session = (*session)(nil)

// open opens a machine as the scan found it. It fails with
// backup.ErrSourceChanged when a file changed since.
func (h *host) open(ctx context.Context, s *scan, m *machine) (_ *session, err error) {
	root, err := os.OpenRoot(h.dir)
	if err != nil {
		return nil, fmt.Errorf("folder: %w", err)
	}
	sess := &session{root: root, opener: newOpener(root, s.index)}
	defer func() {
		if err != nil {
			err = errors.Join(err, sess.Close())
		}
	}()
	c, err := m.open(ctx, sess.opener)
	if err != nil {
		return nil, err
	}
	if gone(m, c) {
		return nil, fmt.Errorf("folder: %s: %w", m.name, backup.ErrSourceChanged)
	}
	for _, l := range sess.opener.layers {
		if c.files[l.name] {
			sess.marks = append(sess.marks, l.marked)
		}
	}
	if err := sess.markConfigs(ctx, m, c); err != nil {
		return nil, err
	}
	sess.contents, err = sess.offer(m, c)
	return sess, err
}

// gone reports whether a disk that the scan could read cannot be read now.
func gone(m *machine, c *contents) bool { return len(c.disks) < len(m.summary) }

// markConfigs takes the marks of all configuration files and compares those
// that were read with what the scan saw.
func (s *session) markConfigs(ctx context.Context, m *machine, c *contents) error {
	names := slices.Clone(c.configFiles)
	for _, p := range c.checkpoints {
		names = append(names, p.configFiles...)
	}
	read := make(map[string]mark)
	if m.config != nil {
		read[m.config.name] = m.config.marked.mark
	}
	for _, p := range m.checkpoints {
		read[p.name] = p.marked.mark
	}
	for _, name := range names {
		f, err := s.root.Open(name)
		if errors.Is(err, iofs.ErrNotExist) {
			return fmt.Errorf("folder: %s: %w: it is gone", name, backup.ErrSourceChanged)
		}
		if err != nil {
			return fmt.Errorf("folder: %s: %w", name, err)
		}
		now, err := markFile(ctx, name, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("folder: %s: %w", name, err)
		}
		if old, ok := read[name]; ok && old != now.mark {
			return fmt.Errorf("folder: %s: %w", name, backup.ErrSourceChanged)
		}
		s.marks = append(s.marks, now)
	}
	return nil
}

// offer puts together what the engine is given.
func (s *session) offer(m *machine, c *contents) (*backup.Contents, error) {
	out := &backup.Contents{
		Consistency: backup.ConsistencyUnknown,
		Disks:       s.sources(c.disks),
		Files:       s.files(c.configFiles),
		Warnings:    c.warnings,
	}
	if c.unfinished() {
		out.Consistency = backup.ConsistencyCrash
	}
	for _, p := range m.problems {
		switch p.Code { // what only the scan can see
		case "id-collision", "disk-claimed-twice", "configuration-damaged", "checkpoint-alone":
			out.Warnings = append(out.Warnings, p)
		}
	}
	out.Warnings = unique(out.Warnings)
	if m.config != nil {
		var err error
		if out.VM, err = describe(m.config.vm); err != nil {
			return nil, err
		}
	}
	for _, p := range c.checkpoints {
		vm, err := describe(p.vm)
		if err != nil {
			return nil, err
		}
		out.Checkpoints = append(out.Checkpoints, backup.SourceCheckpoint{
			ID: p.id, Name: p.name, Parent: p.parent, Time: p.time,
			Disks: s.sources(p.disks), Files: s.files(p.configFiles), VM: vm,
		})
	}
	return out, nil
}

func unique(list []repo.Warning) []repo.Warning {
	seen := make(map[repo.Warning]bool)
	var out []repo.Warning
	for _, w := range list {
		if !seen[w] {
			seen[w] = true
			out = append(out, w)
		}
	}
	return out
}

func (s *session) sources(disks []openDisk) []backup.SourceDisk {
	var list []backup.SourceDisk
	for _, d := range disks {
		list = append(list, &sourceDisk{chain: d.chain, info: d.info})
	}
	return list
}

func (s *session) files(names []string) iofs.FS {
	if len(names) == 0 {
		return nil
	}
	return newFileSet(s.root, path.Dir(names[0]), names)
}

// Contents is the machine as it was when the session was opened.
func (s *session) Contents() *backup.Contents { return s.contents }

// Verify compares all files with what they were.
func (s *session) Verify(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("folder: verify: %w", iofs.ErrClosed)
	}
	var errs []error
	for _, m := range s.marks {
		if err := ctx.Err(); err != nil {
			return err
		}
		errs = append(errs, m.verify(s.root))
	}
	return errors.Join(errs...)
}

// Commit has nothing to do: a folder tracks no changes.
func (s *session) Commit(ctx context.Context) error {
	if s.closed {
		return fmt.Errorf("folder: commit: %w", iofs.ErrClosed)
	}
	return ctx.Err()
}

// Close closes all files.
func (s *session) Close() error {
	if s.closed {
		return fmt.Errorf("folder: close: %w", iofs.ErrClosed)
	}
	s.closed = true
	return errors.Join(s.opener.close(), s.root.Close())
}

// sourceDisk is a disk of a session. Its files belong to the session, since
// disks of checkpoints share them.
type sourceDisk struct {
	chain  *chain
	info   backup.DiskInfo
	closed atomic.Bool
}

var (
	_ backup.SourceDisk    = (*sourceDisk)(nil)
	_ disk.ContextReaderAt = (*sourceDisk)(nil)
)

func (d *sourceDisk) Info() backup.DiskInfo { return d.info }
func (d *sourceDisk) Size() int64           { return d.chain.Size() }

func (d *sourceDisk) ReadAt(p []byte, off int64) (int, error) {
	return d.ReadAtContext(context.Background(), p, off)
}

// ReadAtContext gives up when ctx ends.
func (d *sourceDisk) ReadAtContext(ctx context.Context, p []byte, off int64) (int, error) {
	if d.closed.Load() {
		return 0, fmt.Errorf("folder: read %s: %w", d.info.Source, iofs.ErrClosed)
	}
	n, err := disk.ReadAt(ctx, d.chain.Disk, p, off)
	return n, d.wrap(err)
}

func (d *sourceDisk) NextData(off int64) (start, end int64, err error) {
	if d.closed.Load() {
		return 0, 0, fmt.Errorf("folder: read %s: %w", d.info.Source, iofs.ErrClosed)
	}
	start, end, err = d.chain.NextData(off)
	return start, end, d.wrap(err)
}

// Changed knows nothing: files in a folder have no change tracking.
func (d *sourceDisk) Changed(context.Context, string) (iter.Seq2[int64, int64], error) {
	return nil, fmt.Errorf("folder: %s: %w", d.info.Source, backup.ErrNoTracking)
}

// Close ends reading of this disk; its files stay open for others.
func (d *sourceDisk) Close() error {
	d.closed.Store(true)
	return nil
}

// wrap names the file in errors, but for io.EOF, which is none.
func (d *sourceDisk) wrap(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return fmt.Errorf("folder: %s: %w", d.info.Source, err)
}
