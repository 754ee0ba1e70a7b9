package main

import (
	"context"
	"errors"
	iofs "io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"

	"vitrine/fs"
	"vitrine/fs/mount"
	"vitrine/repo"
)

type mountOptions struct {
	machines   []string
	background bool
	allowOther bool
	lists      []string // behind -o

	nonEmpty bool
	full     bool
	uid, gid *int
	umask    uint32
	forward  []string
}

func newMount(e *env) *cobra.Command {
	var o mountOptions
	c := &cobra.Command{
		Use:   "mount DIR",
		Short: "put every restore point on view",
		Long: `Shows all restore points below DIR, an empty folder: a folder for each machine, in
it one for each restore point with its disks as VHDX files, its configuration and
its checkpoints. Nothing in it can be changed. New restore points appear by
themselves.

It serves until Ctrl-C or "vitrine umount DIR"; with --background it returns as
soon as the tree can be used.

Behind -o: allow_other, nonempty, uid=, gid=, umask=, vm=NAME, sparse=no (shows
holes as allocated, for servers that refuse sparse files), password-file=,
key-file=, cache-dir=, background, and what the system understands. In fstab:

  /backups /mnt/vitrine fuse.vitrine noauto,password-file=/root/backup-password 0 0`,
		Example: `  vitrine mount --repo /backups /mnt/vitrine
  vitrine mount --repo /backups --vm SQL01 --background /mnt/vitrine`,
		Args: exactly("DIR"),
		RunE: func(c *cobra.Command, args []string) error { return runMount(c.Context(), e, o, args[0]) },
	}
	f := c.Flags()
	f.StringArrayVar(&o.machines, "vm", nil, "show only the machine `NAME`; may be repeated")
	f.BoolVar(&o.background, "background", false, "return when the tree can be used")
	f.BoolVar(&o.allowOther, "allow-other", false, "let other users in")
	f.StringArrayVarP(&o.lists, "options", "o", nil, "mount `OPTIONS`, separated by commas")
	return c
}

func runMount(ctx context.Context, e *env, o mountOptions, dir string) error {
	for _, l := range o.lists {
		if err := o.applyList(&e.repo, l); err != nil {
			return err
		}
	}
	child := e.getenv(childEnv) != ""
	if o.background && !child {
		return mountInBackground(ctx, e)
	}
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	lease, err := r.MountLease(ctx)
	held := "none"
	switch {
	case err == nil:
		held = lease.ID().String()
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, iofs.ErrPermission) || errors.Is(err, syscall.EROFS):
		e.say("note: the repository cannot be written: mounted without a lease, which prune would heed")
	default:
		e.say("note: mounted without a lease, which prune would heed: %s", oneLine(err.Error()))
	}
	err = serve(ctx, e, o, r, dir, held, child)
	if lease != nil {
		err = errors.Join(err, lease.End(context.WithoutCancel(ctx)))
	}
	return err
}

// serve mounts and waits for the end, which is no error however it comes.
func serve(ctx context.Context, e *env, o mountOptions, r *repo.Repo, dir, lease string, child bool) (err error) {
	keepOut, err := e.keepOut()
	if err != nil {
		return err
	}
	tree, err := fs.New(ctx, fs.Repo(r), fs.Options{
		Machines: o.machines, Full: o.full, RealLatest: runtime.GOOS == "windows", Clock: e.now, Lease: lease,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tree.Close()) }()
	points, err := tree.Chosen(ctx)
	if err != nil {
		return err
	}
	m, err := mount.Mount(ctx, tree, dir, mount.Options{
		AllowOther: o.allowOther, UID: o.uid, GID: o.gid, Umask: o.umask, NonEmpty: o.nonEmpty,
		KeepOut: keepOut, Forward: o.forward,
		OnBusy: func(b *mount.BusyError) { e.warn("%s; it is detached if that lasts", oneLine(b.Error())) },
		OnError: func(err error) {
			tree.Failed(err)
			e.warn("%s", oneLine(err.Error()))
		},
	})
	if err != nil {
		return err
	}
	if child {
		if err := detach(); err != nil {
			return errors.Join(err, m.Unmount())
		}
	} else {
		e.say("serving repository %.8s at %s (%s); Ctrl-C or \"vitrine umount %s\" ends it", r.ID(), m.Dir(), plural(points, "restore point"), dir)
	}
	m.Wait()
	return nil
}

// keepOut are the folders that the mount point must have nothing to do with.
func (e *env) keepOut() ([]string, error) {
	dir, err := e.location()
	if err != nil {
		return nil, err
	}
	out := []string{dir}
	if e.repo.cacheDir != "" {
		return append(out, e.repo.cacheDir), nil
	}
	if user, err := os.UserCacheDir(); err == nil {
		out = append(out, filepath.Join(user, "vitrine"))
	}
	return out, nil
}

func newUmount(e *env) *cobra.Command {
	var lazy bool
	c := &cobra.Command{
		Use:     "umount DIR",
		Aliases: []string{"unmount"},
		Short:   "end a mount",
		Long: `Ends the mount at DIR, of whichever process, also one that was left by a process
that died.`,
		Example: "  vitrine umount /mnt/vitrine",
		Args:    exactly("DIR"),
		RunE: func(c *cobra.Command, args []string) error {
			return mount.Unmount(args[0], mount.UnmountOptions{Lazy: lazy})
		},
	}
	c.Flags().BoolVar(&lazy, "lazy", false, "detach a mount that is in use; it ends with its last user")
	return c
}
