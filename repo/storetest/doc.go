// Package storetest tests stores, and what is built on them.
//
//	Run        the conformance suite that every store passes
//	Faulty     a store that fails and lies by a plan
//	Crash      remembers every change; gives the store as a crash would leave it
//	Counting   counts calls and bytes
//	Poison     overwrites what its caller gave to Put
//
// The wrappers pass on what they do not change and are as safe for concurrent
// use as the store below them. Production code does not import this package.
package storetest

import (
	"context"
	"io"
	"testing"

	"vitrine/repo"
)

// Op is a method of a store.
type Op string

// The methods. AnyOp, in a Fault, is all of them.
const (
	AnyOp    Op = ""
	OpPut    Op = "put"
	OpGet    Op = "get"
	OpList   Op = "list"
	OpDelete Op = "delete"
)

// Read returns the whole object and fails the test when it cannot.
func Read(t testing.TB, s repo.Store, name string) []byte {
	t.Helper()
	b, err := read(t.Context(), s, name, 0, -1)
	if err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return b
}

// Names lists the names that begin with prefix and fails the test when it
// cannot.
func Names(t testing.TB, s repo.Store, prefix string) []string {
	t.Helper()
	names, err := list(t.Context(), s, prefix)
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return names
}

// Copy puts every object of one store into another.
func Copy(t testing.TB, to, from repo.Store) {
	t.Helper()
	for _, name := range Names(t, from, "") {
		if err := to.Put(t.Context(), name, Read(t, from, name)); err != nil {
			t.Fatalf("copy: %v", err)
		}
	}
}

func read(ctx context.Context, s repo.Store, name string, off, n int64) ([]byte, error) {
	r, err := s.Get(ctx, name, off, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return b, err
}

func list(ctx context.Context, s repo.Store, prefix string) ([]string, error) {
	var names []string
	for in, err := range s.List(ctx, prefix) {
		if err != nil {
			return names, err
		}
		names = append(names, in.Name)
	}
	return names, nil
}
