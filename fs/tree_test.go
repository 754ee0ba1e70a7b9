package fs_test

import (
	"os"
	"testing"
	stdfstest "testing/fstest"

	"vitrine/fs/fstest"
)

func TestBareTree(t *testing.T) { fstest.Run(t, fstest.Bare) }

func TestStandardSuite(t *testing.T) {
	for _, real := range []bool{false, true} {
		tree, _ := fstest.Tree(t, fstest.Setup{Fixture: "files", RealLatest: real})
		if err := stdfstest.TestFS(tree.FS(), "README.txt", "files/2026-11-20T22-00-05Z/config/a/b.vmcx", "files/2026-11-20T22-00-05Z/config/vm.json"); err != nil {
			t.Error(err)
		}
	}
}

func TestStandardSuiteWithDisks(t *testing.T) {
	if os.Getenv("VITRINE_SOAK") == "" {
		t.Skip("reads every byte of a VHDX by itself: set VITRINE_SOAK=1")
	}
	tree, _ := fstest.Tree(t, fstest.Setup{Fixture: "tiny"})
	if err := stdfstest.TestFS(tree.FS(), "tiny/2026-11-20T22-00-05Z/tiny.vhdx", "tiny/2026-11-20T22-00-05Z/raw/tiny.raw"); err != nil {
		t.Error(err)
	}
}
