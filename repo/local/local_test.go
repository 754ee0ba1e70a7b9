package local_test

import (
	"testing"

	"vitrine/repo"
	"vitrine/repo/local"
	"vitrine/repo/storetest"
)

func TestLocalIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) repo.Store {
		s, err := local.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}
