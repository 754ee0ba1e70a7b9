package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// execute runs one command line and returns the exit status.
func execute(ctx context.Context, e *env, args []string) int {
	started := false
	root := newRoot(e, &started)
	root.SetArgs(helperArgs(root, args))
	err := root.ExecuteContext(ctx)
	if err != nil && !started {
		var usage *usageError
		if !errors.As(err, &usage) {
			err = &usageError{err, "vitrine --help lists the commands"}
		}
	}
	status := exitStatus(ctx, err, e.warned.Load())
	switch {
	case status == exitInterrupted:
		e.say("interrupted")
	case err != nil && !errors.Is(err, errReported):
		e.fail(err)
	}
	return status
}

// helperArgs turns what mount.fuse3 passes for a line of fstab, SOURCE DIR -o
// OPTIONS, into a mount in the background.
func helperArgs(root *cobra.Command, args []string) []string {
	if len(args) != 4 || args[2] != "-o" {
		return args
	}
	if c, _, err := root.Find(args[:1]); err == nil && c != root {
		return args
	}
	return []string{"mount", "--repo", args[0], "--background", "-o", args[3], "--", args[1]}
}

// newRoot builds the whole command line. started is set once a command's own
// code runs: errors before it are about the command line.
func newRoot(e *env, started *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "vitrine",
		Short: "back up Hyper-V machines and put every restore point on view",
		Long: `Vitrine backs up virtual machines into a deduplicated, encrypted repository
and mounts every restore point as ready VHDX files.`,
		Example: `  vitrine init --repo /backups
  vitrine backup --repo /backups /srv/hyper-v/export
  vitrine mount --repo /backups /mnt/vitrine`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
		PersistentPreRun: func(c *cobra.Command, _ []string) {
			*started = true
		},
	}
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetIn(e.in)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &usageError{err, c.CommandPath() + " --help shows the flags"}
	})
	help := root.HelpFunc()
	root.SetHelpFunc(func(c *cobra.Command, args []string) {
		plainHelp(e, c, args, help)
	})
	e.repo.register(root.PersistentFlags())
	root.AddCommand(
		newInit(e), newVMs(e), newBackup(e), newList(e), newShow(e),
		newMount(e), newUmount(e), newRestore(e), newLs(e), newCp(e), newFind(e),
		newCheck(e), newKey(e), newDoctor(e), newVersion(e),
	)
	return root
}

// plainHelp prints the help without what pflag says of every switch, that it
// may be followed by "=true" or "=false".
func plainHelp(e *env, c *cobra.Command, args []string, help func(*cobra.Command, []string)) {
	const noise = "[=true|false]"
	var b strings.Builder
	c.SetOut(&b)
	help(c, args)
	c.SetOut(e.out)
	fmt.Fprint(e.out, strings.ReplaceAll(b.String(), noise, strings.Repeat(" ", len(noise))))
}

// exactly wants one argument for each name.
func exactly(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		return argsError(c, names, args)
	}
}

// atLeast wants one argument for each name, and takes more.
func atLeast(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) >= len(names) {
			return nil
		}
		return argsError(c, names, args)
	}
}

func argsError(c *cobra.Command, names, args []string) error {
	if len(args) < len(names) {
		return &usageError{fmt.Errorf("%s is missing", strings.Join(names[len(args):], " and ")), "usage: " + c.UseLine()}
	}
	return &usageError{fmt.Errorf("%q is one argument too many", args[len(names)]), "usage: " + c.UseLine()}
}
