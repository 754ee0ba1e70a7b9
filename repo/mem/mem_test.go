package mem_test

import (
	"testing"
	"time"

	"vitrine/repo"
	"vitrine/repo/mem"
	"vitrine/repo/storetest"
)

func TestMemIsAStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) repo.Store { return mem.New() })
	storetest.Run(t, func(t *testing.T) repo.Store { return new(mem.Store) })
}

func TestTimesAreThoseOfTheClock(t *testing.T) {
	at := time.Date(2026, 11, 22, 22, 0, 5, 0, time.UTC)
	s := &mem.Store{Clock: func() time.Time { return at }}
	if err := s.Put(t.Context(), "a", nil); err != nil {
		t.Fatal(err)
	}
	for in, err := range s.List(t.Context(), "") {
		if err != nil || !in.Time.Equal(at) {
			t.Errorf("got %v, %v; want %v", in.Time, err, at)
		}
	}
}
