package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"vitrine/repo"
	"vitrine/repo/local"
)

type initOptions struct {
	noEncryption bool
	compression  string
	label        string
	json         bool
}

func newInit(e *env) *cobra.Command {
	var o initOptions
	c := &cobra.Command{
		Use:   "init",
		Short: "make a repository; print its recovery key once",
		Long: `Makes a repository in a folder that is empty or does not exist yet.

It is encrypted unless --no-encryption is given. The recovery key, which is
printed once and kept nowhere, opens it when the password is lost.`,
		Example: `  vitrine init --repo /backups
  vitrine init --repo /backups --password-file /root/backup-password`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runInit(c.Context(), e, o) },
	}
	c.Flags().BoolVar(&o.noEncryption, "no-encryption", false, "anyone who can read the files can read the machines; no protection against tampering")
	c.Flags().StringVar(&o.compression, "compression", string(repo.CompressFastest), "none, s2, fastest, default or better")
	c.Flags().StringVar(&o.label, "label", "", "what to call the first key slot")
	c.Flags().BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runInit(ctx context.Context, e *env, o initOptions) error {
	levels := []repo.Compression{repo.CompressNone, repo.CompressS2, repo.CompressFastest, repo.CompressDefault, repo.CompressBetter}
	known := false
	for _, l := range levels {
		known = known || o.compression == string(l)
	}
	if !known {
		return &usageError{fmt.Errorf("there is no compression %q", o.compression), "the levels are none, s2, fastest, default and better"}
	}
	dir, err := e.location()
	if err != nil {
		return err
	}
	if err := mustBeEmpty(dir); err != nil {
		return err
	}
	options := repo.InitOptions{
		Options: e.options(), NoEncryption: o.noEncryption,
		Label: o.label, Compression: repo.Compression(o.compression),
	}
	if !o.noEncryption {
		// Asked before the folder is made: a slip of the tongue leaves nothing.
		secret, err := e.repo.secret.readNew(ctx, e, e.getenv("VITRINE_PASSWORD"))
		if err != nil {
			return err
		}
		options.Unlock = func(context.Context) (repo.Secret, error) { return secret, nil }
	}
	s, err := local.Create(dir)
	if err != nil {
		return err
	}
	r, recovery, err := repo.Init(ctx, s, options)
	if err != nil {
		return err
	}
	err = printInit(e, o, r.ID(), dir, recovery)
	return errors.Join(err, r.Close())
}

func printInit(e *env, o initOptions, id repo.ID, dir, recovery string) error {
	if o.json {
		return e.printJSON(struct {
			ID       repo.ID `json:"id"`
			Location string  `json:"location"`
			Recovery string  `json:"recoveryKey,omitempty"`
		}{id, dir, recovery})
	}
	if recovery == "" {
		return e.printf("made repository %.8s in %s, without encryption\n", id, dir)
	}
	return e.printf(`made repository %.8s in %s

recovery key: %s

It opens the repository when the password is lost. It is shown only now: print
it, and keep it away from the repository.
`, id, dir, recovery)
}

// mustBeEmpty refuses a folder that holds anything.
func mustBeEmpty(dir string) error {
	if holdsRepository(dir) {
		return &hinted{fmt.Errorf("there is a repository in %s already", dir), "vitrine list --repo " + dir + " shows what is in it"}
	}
	list, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var names []string
	for _, entry := range list {
		if entry.Name() != "lost+found" {
			names = append(names, entry.Name())
		}
	}
	if len(names) > 0 {
		names = names[:min(len(names), 3)]
		return &hinted{fmt.Errorf("%s is not empty: it has %s", dir, strings.Join(names, ", ")), "a repository wants a folder of its own"}
	}
	return nil
}
