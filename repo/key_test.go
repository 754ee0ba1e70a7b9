package repo_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"vitrine/repo"
	"vitrine/repo/mem"
	"vitrine/repo/storetest"
)

func password(s string) repo.Secret { return repo.NewSecret(repo.Password, []byte(s)) }

// openWith opens a repository with a secret and tells what stood in.
func openWith(t testing.TB, s repo.Store, secret repo.Secret) (*repo.Repo, []string, error) {
	var told []string
	asked := 0
	r, err := repo.Open(t.Context(), s, repo.Options{CacheDir: t.TempDir(), OnRecover: func(m string) { told = append(told, m) },
		Unlock: func(context.Context) (repo.Secret, error) { asked++; return secret, nil }})
	if asked > 1 {
		t.Errorf("the secret was asked for %d times", asked)
	}
	return r, told, err
}

// initKeys makes an encrypted repository with the password "first".
func initKeys(t testing.TB, s repo.Store) (r *repo.Repo, recovery string) {
	t.Helper()
	r, recovery, err := repo.Init(t.Context(), s, repo.InitOptions{KDF: cheap, Label: "mine", Options: repo.Options{
		CacheDir: t.TempDir(), Unlock: func(context.Context) (repo.Secret, error) { return password("first"), nil }}})
	must(t, err)
	t.Cleanup(func() { r.Close() })
	return r, recovery
}

func TestKeySlotsComeAndGo(t *testing.T) {
	ctx := t.Context()
	s := mem.New()
	r, _ := initKeys(t, s)
	id := r.ID()
	slots, err := r.Keys(ctx)
	if err != nil || len(slots) != 2 {
		t.Fatalf("slots of a new repository: %v, %v", slots, err)
	}
	for _, b := range []repo.Secret{password("second"), repo.NewSecret(repo.KeyFile, bytes.Repeat([]byte{0}, 1<<20))} {
		if _, err := r.AddKey(ctx, b, "more", cheap); err != nil {
			t.Fatal(err)
		}
		if r, _, err := openWith(t, s, b); err != nil || r.ID() != id {
			t.Errorf("open with a new key: %v", err)
		}
	}
	for _, bad := range []repo.Secret{password("First"), password(""), password(" first"), password("second\n"), repo.NewSecret(repo.KeyFile, []byte("first")), repo.NewSecret(repo.RecoveryKey, []byte("first"))} {
		if _, _, err := openWith(t, s, bad); !errors.Is(err, repo.ErrWrongPassword) {
			t.Errorf("open with a wrong secret of kind %s: %v", bad.Kind, err)
		}
	}
	// The password is changed: the old one opens nothing, the copies neither.
	for _, k := range slots {
		if k.Kind == repo.Password {
			must(t, r.RemoveKey(ctx, k.ID))
			if err := r.RemoveKey(ctx, k.ID); err == nil {
				t.Error("a slot was removed twice")
			}
		}
	}
	if _, _, err := openWith(t, s, password("first")); !errors.Is(err, repo.ErrWrongPassword) {
		t.Errorf("open with a removed password: %v", err)
	}
	if _, _, err := openWith(t, s, password("second")); err != nil {
		t.Errorf("open with the new password: %v", err)
	}
	slots, err = r.Keys(ctx)
	must(t, err)
	for i, k := range slots {
		if err := r.RemoveKey(ctx, k.ID); (err != nil) != (i == len(slots)-1) {
			t.Errorf("remove slot %d of %d: %v", i+1, len(slots), err)
		}
	}
	if slots, err = r.Keys(ctx); err != nil || len(slots) != 1 {
		t.Errorf("left: %v, %v", slots, err)
	}
}

func TestARecoveryKeyIsReadAsPeopleTypeIt(t *testing.T) {
	s := mem.New()
	_, recovery := initKeys(t, s)
	typed := []string{recovery, strings.ToLower(recovery), strings.ReplaceAll(recovery, "-", ""), strings.ReplaceAll(recovery, "-", " "),
		"  " + recovery + "\r\n", strings.NewReplacer("O", "0", "I", "1", "B", "8").Replace(recovery), strings.ReplaceAll(recovery, "-", "\n")}
	for _, text := range typed {
		k, err := repo.ParseRecoveryKey(text)
		must(t, err)
		if _, _, err := openWith(t, s, k); err != nil {
			t.Errorf("%q does not open", text)
		}
	}
	for i := range recovery { // any one letter wrong
		if recovery[i] == '-' {
			continue
		}
		b := []byte(recovery)
		b[i] = 'A'
		if b[i] == recovery[i] {
			b[i] = 'C'
		}
		if _, err := repo.ParseRecoveryKey(string(b)); err == nil && i < len(recovery)-1 {
			t.Errorf("letter %d wrong: accepted", i)
		}
	}
	for _, bad := range []string{"", "A", recovery[:len(recovery)-5], recovery + "-AAAA", "ä"} {
		if _, err := repo.ParseRecoveryKey(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// rewriteSlot changes the open part of a key slot.
func rewriteSlot(t *testing.T, b []byte, change func(k *repo.KeySlot)) []byte {
	n := binary.LittleEndian.Uint32(b[12:])
	var k repo.KeySlot
	must(t, json.Unmarshal(b[48:48+n], &k))
	change(&k)
	clear, err := json.Marshal(k)
	must(t, err)
	out := slices.Concat(b[:48], clear, b[48+n:])
	binary.LittleEndian.PutUint32(out[12:], uint32(len(clear)))
	return out
}

func TestHostileKeySlotsCostNothing(t *testing.T) {
	s := mem.New()
	initKeys(t, s)
	for _, kdf := range []repo.KDF{{Time: 1, Memory: 1 << 31, Threads: 1}, {Time: 1<<32 - 1, Memory: 8, Threads: 1}, {Time: 0, Memory: 8, Threads: 1},
		{Time: 1, Memory: 0, Threads: 1}, {Time: 1, Memory: 8, Threads: 0}, {Time: 1, Memory: 8, Threads: 255}, {Time: 16, Memory: 1<<20 + 1, Threads: 1}} {
		m := mem.New()
		storetest.Copy(t, m, s)
		for _, name := range append(storetest.Names(t, m, "keys/"), storetest.Names(t, m, "copies/keys/")...) {
			replace(t, m, name, rewriteSlot(t, storetest.Read(t, m, name), func(k *repo.KeySlot) { k.KDF = kdf }))
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := openWith(t, m, password("first"))
		runtime.ReadMemStats(&after)
		if !errors.Is(err, repo.ErrWrongPassword) || !strings.Contains(err.Error(), "argon2id") {
			t.Errorf("%+v: %v", kdf, err)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
			t.Errorf("%+v: %d bytes were allocated", kdf, n)
		}
	}
}

// TestEitherCopyOpensTheRepository damages config and key slots bit by bit.
func TestEitherCopyOpensTheRepository(t *testing.T) {
	for _, encrypted := range []bool{true, false} {
		s := mem.New()
		w := newWorld(t, s, encrypted)
		secret := password("correct horse")
		id, created := w.repo.ID(), w.repo.Created()
		victims := [][]string{{"config"}, {"copies/config"}}
		if encrypted {
			victims = append(victims, storetest.Names(t, s, "keys/"), storetest.Names(t, s, "copies/keys/"),
				append(storetest.Names(t, s, "keys/"), "config"))
		}
		for _, names := range victims {
			step := 37
			if soak() {
				step = 1
			}
			for bit := 0; bit < 500*8; bit += step {
				m := mem.New()
				storetest.Copy(t, m, s)
				first := false
				for _, name := range names {
					b := storetest.Read(t, m, name)
					if bit/8 < len(b) {
						b[bit/8] ^= 1 << (bit % 8)
						first = first || !strings.HasPrefix(name, "copies/")
					}
					replace(t, m, name, b)
				}
				r, told, err := openWith(t, m, secret)
				if err != nil {
					t.Errorf("%v with bit %d flipped: %v", names, bit, err)
					continue
				}
				if r.ID() != id || !r.Created().Equal(created) {
					t.Errorf("%v with bit %d flipped: opens as %s of %s", names, bit, r.ID(), r.Created())
				}
				if config := slices.Contains(names, "config"); config && first && len(told) == 0 {
					t.Errorf("%v with bit %d flipped: nobody is told", names, bit)
				}
				r.Close()
			}
		}
	}
}

func TestNewerFormatsAreRefused(t *testing.T) {
	s := mem.New()
	initKeys(t, s)
	future := func(t *testing.T, m *mem.Store, name string) {
		b := storetest.Read(t, m, name)
		b[4] = 2
		replace(t, m, name, append(b, 0))
	}
	for _, names := range [][]string{{"config", "copies/config"}, {"config"}} {
		m := mem.New()
		storetest.Copy(t, m, s)
		for _, name := range names {
			future(t, m, name)
		}
		_, _, err := openWith(t, m, password("first"))
		var f *repo.FormatError
		if !errors.As(err, &f) || f.Version != 2 || f.Hint() == "" {
			t.Errorf("%v of format 2: %v", names, err)
		}
	}
	if _, _, err := openWith(t, mem.New(), password("first")); !errors.Is(err, repo.ErrNoRepository) {
		t.Errorf("open an empty store: %v", err)
	}
	if _, err := repo.Open(t.Context(), s, repo.Options{}); !errors.Is(err, repo.ErrWrongPassword) {
		t.Errorf("open without a secret: %v", err)
	}
}

// TestInitUnderFaults makes every operation of Init go wrong: it fails, or the
// repository opens.
func TestInitUnderFaults(t *testing.T) {
	hits := 0
	for _, op := range []storetest.Op{storetest.OpPut, storetest.OpGet, storetest.OpList} {
		for _, f := range faults(op) {
			for n := 1; n < 30; n++ {
				f.N = n
				m := mem.New()
				faulty := storetest.NewFaulty(m, f)
				_, recovery, err := repo.Init(t.Context(), faulty, repo.InitOptions{KDF: cheap, Options: repo.Options{CacheDir: t.TempDir(),
					Unlock: func(context.Context) (repo.Secret, error) { return password("first"), nil }}})
				if faulty.Hit() {
					hits++
				}
				if err != nil {
					if !faulty.Hit() {
						t.Fatal(err)
					}
					continue
				}
				k, err := repo.ParseRecoveryKey(recovery)
				must(t, err)
				for _, secret := range []repo.Secret{password("first"), k} {
					r, told, err := openWith(t, m, secret)
					if err != nil || len(told) > 0 {
						t.Fatalf("%+v: made, but: %v %v", f, err, told)
					}
					rep, err := r.Check(t.Context(), repo.CheckOptions{})
					if err != nil || !rep.Clean() {
						t.Errorf("%+v: made, but: %v %+v", f, err, rep)
					}
				}
				if !faulty.Hit() {
					break
				}
			}
		}
	}
	if hits < 30 {
		t.Errorf("%d faults were hit", hits)
	}
}
