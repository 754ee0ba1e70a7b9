package fs_test

import (
	"os"
	"testing"
	stdfstest "testing/fstest"
	"time"

	"vitrine/fs"
	"vitrine/fs/fstest"
)

func TestBareTree(t *testing.T) { fstest.Run(t, fstest.Bare) }

// frozen is a tree whose clock stands still, for the status tells the time.
func frozen(t *testing.T, s fstest.Setup) *fs.Tree {
	t.Helper()
	r, err := s.Repository()
	if err != nil {
		t.Fatal(err)
	}
	o := s.Options()
	o.Clock = func() time.Time { return time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC) }
	tree, err := fs.New(t.Context(), r, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

func TestStandardSuite(t *testing.T) {
	for _, real := range []bool{false, true} {
		tree := frozen(t, fstest.Setup{Fixture: "files", RealLatest: real})
		if err := stdfstest.TestFS(tree.FS(), "README.txt", "files/2026-11-20T22-00-05Z/config/a/b.vmcx", "files/2026-11-20T22-00-05Z/config/vm.json"); err != nil {
			t.Error(err)
		}
	}
}

func TestStandardSuiteWithDisks(t *testing.T) {
	if os.Getenv("VITRINE_SOAK") == "" {
		t.Skip("reads every byte of a VHDX by itself: set VITRINE_SOAK=1")
	}
	tree := frozen(t, fstest.Setup{Fixture: "tiny"})
	if err := stdfstest.TestFS(tree.FS(), "tiny/2026-11-20T22-00-05Z/tiny.vhdx", "tiny/2026-11-20T22-00-05Z/raw/tiny.raw"); err != nil {
		t.Error(err)
	}
}
