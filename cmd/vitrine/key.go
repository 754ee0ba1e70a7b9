package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"vitrine/backup"
	"vitrine/repo"
)

func newKey(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:     "key",
		Short:   "add, list and remove what opens the repository",
		Example: "  vitrine key list --repo /backups",
		Args:    exactly(),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newKeyAdd(e), newKeyList(e), newKeyRemove(e))
	return c
}

type keyAddOptions struct {
	secret   secretFlags
	recovery bool
	label    string
}

func newKeyAdd(e *env) *cobra.Command {
	var o keyAddOptions
	c := &cobra.Command{
		Use:   "add",
		Short: "add a password, a key file or a recovery key",
		Long: `Adds a key slot. The new secret is asked for on the terminal, or read as the
flags say; --recovery makes a new recovery key and prints it once.`,
		Example: `  vitrine key add --repo /backups --label anna
  vitrine key add --repo /backups --new-key-file /media/usb/vitrine.key
  vitrine key add --repo /backups --recovery`,
		Args: exactly(),
		RunE: func(c *cobra.Command, _ []string) error { return runKeyAdd(c.Context(), e, o) },
	}
	f := c.Flags()
	f.StringVar(&o.secret.passwordFile, "new-password-file", "", "read the new password from `FILE`")
	f.StringVar(&o.secret.passwordCommand, "new-password-command", "", "read the new password from the output of `COMMAND`")
	f.StringVar(&o.secret.keyFile, "new-key-file", "", "the new key is the content of `FILE`")
	f.BoolVar(&o.recovery, "recovery", false, "make a new recovery key")
	f.StringVar(&o.label, "label", "", "what to call the key slot")
	return c
}

func runKeyAdd(ctx context.Context, e *env, o keyAddOptions) error {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	if !r.Encrypted() {
		return errors.New("the repository is not encrypted: it has no keys")
	}
	if o.recovery {
		return addRecovery(ctx, e, r, o.label)
	}
	secret, err := o.secret.readNew(ctx, e, "")
	if err != nil {
		return err
	}
	slot, err := r.AddKey(ctx, secret, o.label, repo.KDF{})
	if err != nil {
		return err
	}
	return e.printf("added key %.8s (%s)\n", slot.ID, slot.Kind)
}

func addRecovery(ctx context.Context, e *env, r *repo.Repo, label string) error {
	secret, text, err := repo.NewRecoveryKey(rand.Reader)
	if err != nil {
		return err
	}
	if label == "" {
		label = "recovery"
	}
	slot, err := r.AddKey(ctx, secret, label, repo.KDF{})
	if err != nil {
		return err
	}
	return e.printf("added key %.8s (%s)\n\nrecovery key: %s\n\nIt is shown only now: print it, and keep it away from the repository.\n", slot.ID, slot.Kind, text)
}

func newKeyList(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "list the key slots",
		Example: "  vitrine key list --repo /backups",
		Args:    exactly(),
		RunE:    func(c *cobra.Command, _ []string) error { return runKeyList(c.Context(), e, asJSON) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runKeyList(ctx context.Context, e *env, asJSON bool) error {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	slots, err := r.Keys(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return e.printJSON(append([]repo.KeySlot{}, slots...))
	}
	if len(slots) == 0 {
		return nil
	}
	var rows [][]string
	for _, s := range slots {
		rows = append(rows, []string{fmt.Sprintf("%.8s", s.ID), string(s.Kind), s.Created.UTC().Format(backup.TimeLayout), s.Label})
	}
	return e.printf("%s", table([]string{"ID", "KIND", "CREATED", "LABEL"}, rows))
}

func newKeyRemove(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "remove ID",
		Short: "remove a key slot",
		Long: `Removes the key slot whose id begins so. What it opened cannot be opened with it
any more; who has a copy of the repository and of the secret can still read that
copy.`,
		Example: "  vitrine key remove --repo /backups 3f2a9c1e",
		Args:    exactly("ID"),
		RunE:    func(c *cobra.Command, args []string) error { return runKeyRemove(c.Context(), e, args[0]) },
	}
}

func runKeyRemove(ctx context.Context, e *env, prefix string) error {
	r, err := e.open(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	slots, err := r.Keys(ctx)
	if err != nil {
		return err
	}
	var found []repo.KeySlot
	for _, s := range slots {
		if prefix != "" && strings.HasPrefix(s.ID.String(), strings.ToLower(prefix)) {
			found = append(found, s)
		}
	}
	const hint = "vitrine key list shows the key slots"
	switch len(found) {
	case 0:
		return &hinted{fmt.Errorf("there is no key %q", prefix), hint}
	case 1:
		return r.RemoveKey(ctx, found[0].ID)
	}
	return &hinted{fmt.Errorf("%q means %d keys", prefix, len(found)), hint}
}
