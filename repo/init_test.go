package repo_test

import (
	"context"
	"errors"
	"testing"

	"vitrine/repo"
	"vitrine/repo/mem"
	"vitrine/repo/storetest"
)

// TestInitGoesOnWhereOneDied kills init before each of its changes: the next
// one must make a repository, or find one that opens.
func TestInitGoesOnWhereOneDied(t *testing.T) {
	ctx := context.Background()
	o := repo.InitOptions{KDF: repo.KDF{Time: 1, Memory: 8, Threads: 1}, Options: repo.Options{
		CacheDir: t.TempDir(),
		Unlock: func(context.Context) (repo.Secret, error) {
			return repo.NewSecret(repo.Password, []byte("right")), nil
		}}}
	crash := storetest.NewCrash(t, mem.New(), nil)
	if _, _, err := repo.Init(ctx, crash, o); err != nil {
		t.Fatal(err)
	}
	for n := range crash.Len() {
		s := crash.At(n)
		r, err := repo.Open(ctx, s, o.Options)
		if errors.Is(err, repo.ErrNoRepository) {
			r, _, err = repo.Init(ctx, s, o)
		}
		if err != nil {
			t.Fatalf("after %d changes: %v", n, err)
		}
		if rep, err := r.Check(ctx, repo.CheckOptions{}); err != nil || len(rep.Findings) > 1 {
			t.Fatalf("after %d changes: %v, %+v", n, err, rep)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
