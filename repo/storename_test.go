package repo_test

import (
	"errors"
	iofs "io/fs"
	"strings"
	"testing"

	"vitrine/repo"
)

func TestStoreNamesAreHeldToTheContract(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, name := range []string{
		"config", "config.2", "keys/00ff", "a/tmp/b", "tmpx", "com", "com10", "a.b.c", "_-",
		"points/3f2a9c1e-0000-4000-8000-000000000001/2026-11-22T22-00-05Z-00ff",
		long, long + "/" + long,
	} {
		if err := repo.CheckStoreName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".tmp-1", "a/.b", "a.", "a./b",
		"A", "aB", "a b", "a:b", `a\b`, "a\x00b", "a\nb", "é", "a+b", "a*", "lost+found", ".DS_Store",
		"Thumbs.db", "packs/Thumbs.db", "desktop.ini", "tmp", "tmp/a", "con", "a/nul", "nul.txt", "com1", "lpt9.x", "aux.b/c",
		long + "a", strings.Repeat("a/", 512) + "a",
	} {
		if err := repo.CheckStoreName(name); !errors.Is(err, iofs.ErrInvalid) {
			t.Errorf("%q: got %v, want ErrInvalid", name, err)
		}
	}
}
