package main

import (
	"context"
	"errors"
	"fmt"
	iofs "io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/spf13/pflag"

	"vitrine/repo"
	"vitrine/repo/local"
)

// repoFlags say which repository, and how it opens.
type repoFlags struct {
	location string
	secret   secretFlags
	cacheDir string
}

func (f *repoFlags) register(fs *pflag.FlagSet) {
	fs.StringVar(&f.location, "repo", "", "repository: a `LOCATION` such as /backups (or VITRINE_REPO)")
	fs.StringVar(&f.secret.passwordFile, "password-file", "", "read the password from `FILE`")
	fs.StringVar(&f.secret.passwordCommand, "password-command", "", "read the password from the output of `COMMAND`")
	fs.StringVar(&f.secret.keyFile, "key-file", "", "open the repository with the key in `FILE`")
	fs.StringVar(&f.secret.recoveryKeyFile, "recovery-key-file", "", "open the repository with the recovery key in `FILE`")
	fs.StringVar(&f.cacheDir, "cache-dir", "", "keep the index cache in `DIR`")
}

// options of an opened repository.
func (e *env) options() repo.Options {
	return repo.Options{
		Unlock:   func(ctx context.Context) (repo.Secret, error) { return e.repo.secret.read(ctx, e) },
		CacheDir: e.repo.cacheDir,
		Clock:    e.now,
		OnRecover: func(what string) {
			e.warn("%s", oneLine(what))
		},
	}
}

// open opens the repository that the command line names.
func (e *env) open(ctx context.Context) (*repo.Repo, error) {
	dir, err := e.location()
	if err != nil {
		return nil, err
	}
	if !holdsRepository(dir) {
		return nil, &hinted{fmt.Errorf("%s: %w", dir, repo.ErrNoRepository), "vitrine init --repo " + dir + " makes one"}
	}
	s, err := local.Open(dir)
	if err != nil {
		return nil, err
	}
	r, err := repo.Open(ctx, s, e.options())
	if errors.Is(err, repo.ErrWrongPassword) {
		return nil, &hinted{fmt.Errorf("%s: %w", dir, repo.ErrWrongPassword), "the recovery key opens it too, with --recovery-key-file"}
	}
	if err != nil {
		return nil, err
	}
	if !r.Encrypted() && e.repo.secret.given() {
		err := &hinted{fmt.Errorf("%s is not encrypted, but a key was given for it", dir), "if it ever was, somebody replaced its config; if it never was, leave the key away"}
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// location is the folder of the repository.
func (e *env) location() (string, error) {
	l := e.repo.location
	if l == "" {
		l = e.getenv("VITRINE_REPO")
	}
	if l == "" {
		return "", &usageError{errors.New("no repository was named"), "use --repo LOCATION, or set VITRINE_REPO"}
	}
	if scheme := regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`).FindStringSubmatch(l); scheme != nil {
		switch scheme[1] {
		case "s3", "azblob", "gs":
			return "", &hinted{fmt.Errorf("%s: repositories in the cloud are not supported yet", l), "use a folder, of a mounted bucket if need be"}
		}
		if _, err := os.Stat(l); err != nil {
			return "", &usageError{fmt.Errorf("%q is no kind of repository", scheme[1]), "a LOCATION is a folder"}
		}
	}
	return filepath.Clean(l), nil
}

// holdsRepository looks before a store is opened, which would leave its own
// folder in a place that is no repository.
func holdsRepository(dir string) bool {
	for _, name := range []string{"config", "copies/config"} {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name))); err == nil || !errors.Is(err, iofs.ErrNotExist) {
			return !errors.Is(err, iofs.ErrNotExist)
		}
	}
	return false
}
