package repo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"vitrine/repo"
	"vitrine/repo/mem"
	"vitrine/repo/storetest"
)

// scene is a world with every kind of object in it.
type scene struct {
	*world
	kinds map[string][]place // by kind of object, or of part
	hurt  *mem.Store         // a copy of the store, damaged for one case at a time
}

// place is where a kind lies: in an object, all of it or some bytes.
type place struct {
	name     string
	off, len int64
}

func newScene(t *testing.T, encrypted bool) *scene {
	ctx := t.Context()
	s := &scene{world: newWorld(t, mem.New(), encrypted), kinds: map[string][]place{}}
	s.fill(t)
	if encrypted {
		if _, err := s.mustOpen(t, s.store).AddKey(ctx, repo.NewSecret(repo.KeyFile, []byte("file")), "", cheap); err != nil {
			t.Fatal(err)
		}
	}
	// Two packs of data are rewritten elsewhere, as prune does.
	r := s.mustOpen(t, s.store)
	img, err := r.OpenImage(ctx, s.points[1].point.Disks[0].Image)
	if err != nil {
		t.Fatal(err)
	}
	packs, err := r.MapPacks(ctx, img)
	if err != nil {
		t.Fatal(err)
	}
	moved := 0
	for _, name := range storetest.Names(t, s.store, "packs/") {
		id := packID(t, name)
		if !packs[id] || moved == 2 {
			continue
		}
		moved++
		places, err := r.Places(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		to, err := r.Rewrite(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		slots := uint32(len(places) - 2)
		if err := r.PutMoved(ctx, id, slots, repo.MovedRun{N: slots, Pack: to}); err != nil {
			t.Fatal(err)
		}
		must(t, s.store.Delete(ctx, name))
	}
	if moved < 2 {
		t.Fatalf("%d packs to rewrite", moved)
	}
	r = s.mustOpen(t, s.store)
	other := repo.PackID{Lease: repo.ID{1}, Pack: repo.ID{2}}
	for _, n := range []string{"a", "b"} {
		must(t, r.Condemn(ctx, n, other))
		if _, err := r.MountLease(ctx); err != nil {
			t.Fatal(err)
		}
	}
	must(t, r.AddNote(ctx, repo.Note{Point: s.points[0].point.ID, Machine: machineA, Name: "web", Kind: "verified"}))
	s.sort(t, r)
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func packID(t testing.TB, name string) repo.PackID {
	t.Helper()
	id, err := repo.ParsePackID(strings.TrimPrefix(name, "packs/"))
	must(t, err)
	return id
}

// sort lists the places of every kind.
func (s *scene) sort(t *testing.T, r *repo.Repo) {
	ctx := t.Context()
	for info, err := range s.store.List(ctx, "") {
		must(t, err)
		add := func(kind string, off, n int64) { s.kinds[kind] = append(s.kinds[kind], place{info.Name, off, n}) }
		top, rest, _ := strings.Cut(info.Name, "/")
		switch top {
		case "copies":
			sub, _, _ := strings.Cut(rest, "/")
			add("copy of "+sub, 0, info.Size)
		case "index":
			b := storetest.Read(t, s.store, info.Name)
			clear := int64(b[12]) | int64(b[13])<<8
			add("index clear", 48, clear)
			add("index sealed", 48+clear, info.Size-48-clear)
			add("index", 0, info.Size)
		case "packs":
			places, err := r.Places(ctx, packID(t, info.Name))
			must(t, err)
			for _, p := range places {
				add("pack "+p.What, p.Off, p.Len)
			}
			add("pack", 0, info.Size)
		default:
			add(top, 0, info.Size)
		}
	}
}

// hurt is a damage done to a copy of the store.
type hurt struct {
	text  string
	names []string // what check must name, one of them is enough for each element "a|b"
	do    func(s *mem.Store)
}

func replace(t *testing.T, s *mem.Store, name string, b []byte) {
	must(t, s.Delete(t.Context(), name))
	must(t, s.Put(t.Context(), name, b))
}

// hurts lists the damages of one kind.
func (s *scene) hurts(t *testing.T, kind string) []hurt {
	var out []hurt
	places := s.kinds[kind]
	change := func(p place, what string, f func(b []byte) []byte) {
		out = append(out, hurt{fmt.Sprintf("%s %s", p.name, what), []string{p.name}, func(m *mem.Store) {
			replace(t, m, p.name, f(storetest.Read(t, m, p.name)))
		}})
	}
	some := places
	if !soak() && len(some) > 2 {
		some = []place{places[0], places[len(places)-1]}
	}
	for _, p := range some {
		bits := []int64{0, p.len * 8 / 3, p.len*8 - 1}
		if soak() {
			for k := range int64(40) {
				bits = append(bits, p.len*8*k/40)
			}
		}
		for _, bit := range bits {
			change(p, fmt.Sprintf("bit %d of [%d,%d)", bit, p.off, p.off+p.len), func(b []byte) []byte {
				b[p.off+bit/8] ^= 1 << (bit % 8)
				return b
			})
		}
		if p.off != 0 || strings.Contains(kind, " ") && !strings.HasPrefix(kind, "copy") {
			continue // part of an object
		}
		for _, n := range []int64{0, 1, p.len / 2, p.len - 1} {
			change(p, fmt.Sprintf("cut to %d", n), func(b []byte) []byte { return b[:n] })
		}
		for _, n := range []int{1, 4096} {
			change(p, fmt.Sprintf("%d more bytes", n), func(b []byte) []byte { return append(b, make([]byte, n)...) })
		}
		switch {
		case strings.HasPrefix(kind, "notes"), strings.HasPrefix(kind, "leases"), strings.HasPrefix(kind, "condemned"):
			// These come and go: a missing one is no damage.
		case kind == "index" && !s.bound(p.name):
			// No restore point names what prune lists: its packs have directories.
		default:
			out = append(out, hurt{p.name + " deleted", []string{p.name}, func(m *mem.Store) { must(t, m.Delete(t.Context(), p.name)) }})
		}
	}
	if len(places) > 1 && places[0].name != places[1].name && places[0].off == 0 {
		a, b := places[0].name, places[1].name
		out = append(out, hurt{fmt.Sprintf("%s and %s swapped", a, b), []string{a, b}, func(m *mem.Store) {
			x, y := storetest.Read(t, m, a), storetest.Read(t, m, b)
			replace(t, m, a, y)
			replace(t, m, b, x)
		}})
	}
	return out
}

// bound tells whether a restore point names an index object.
func (s *scene) bound(name string) bool {
	return slices.ContainsFunc(s.points, func(tr truth) bool { return slices.Contains(tr.point.Index, name) })
}

// TestCheckFindsAllDamage damages every kind of object in every way: check
// names the object and exactly the ranges that cannot be read.
func TestCheckFindsAllDamage(t *testing.T) {
	ciphers(t, func(t *testing.T, encrypted bool) {
		s := newScene(t, encrypted)
		s.holds(t, s.store, s.points)
		kinds := []string{"config", "copy of config", "pack head", "pack directory", "pack data", "pack segment", "pack table", "pack",
			"index clear", "index sealed", "index", "points", "notes", "leases", "moved", "condemned"}
		if encrypted {
			kinds = append(kinds, "keys", "copy of keys")
		}
		for kind := range s.kinds {
			if !slices.Contains(kinds, kind) {
				t.Errorf("a kind of object that is not tried: %s", kind)
			}
		}
		s.hurt = mem.New()
		storetest.Copy(t, s.hurt, s.store)
		for _, kind := range kinds {
			hurts := s.hurts(t, kind)
			if len(hurts) < 3 {
				t.Errorf("%s: %d damages", kind, len(hurts))
			}
			for _, h := range hurts {
				s.suffers(t, kind, h)
			}
		}
	})
}

func (s *scene) suffers(t *testing.T, kind string, h hurt) {
	ctx := t.Context()
	m := s.hurt
	h.do(m)
	defer func() { // heal it again
		for _, name := range h.names {
			replace(t, m, name, storetest.Read(t, s.store, name))
		}
	}()
	if strings.HasSuffix(h.text, "swapped") && bytes.Equal(storetest.Read(t, m, h.names[0]), storetest.Read(t, s.store, h.names[0])) {
		return
	}
	r, err := s.open(t, m)
	if err != nil {
		t.Errorf("%s: %s: open: %v", kind, h.text, err)
		return
	}
	defer r.Close()
	rep, err := r.Check(ctx, repo.CheckOptions{ReadData: true})
	if err != nil {
		t.Errorf("%s: %s: check: %v", kind, h.text, err)
		return
	}
	for _, name := range h.names {
		if !slices.ContainsFunc(rep.Findings, func(f repo.Finding) bool {
			// A moved record that is gone leaves a pack that is missing.
			return f.Object == name || f.Object == "packs/"+strings.TrimPrefix(name, "moved/") || strings.HasPrefix(f.Object, "points/") && strings.Contains(f.Object, "*-") && strings.HasSuffix(name, f.Object[strings.Index(f.Object, "*-")+1:])
		}) {
			t.Errorf("%s: %s: not found: %+v", kind, h.text, rep.Findings)
		}
	}
	if err := s.exact(ctx, r, rep); err != nil {
		t.Errorf("%s: %s: %v\n%+v", kind, h.text, err, rep.Findings)
	}
}

// exact compares what check says is affected with what cannot be read.
func (s *scene) exact(ctx context.Context, r *repo.Repo, rep *repo.CheckReport) error {
	type where struct {
		point repo.PointID
		image string
	}
	named := map[where][][2]int64{}
	for _, f := range rep.Findings {
		for _, a := range f.Affected {
			named[where{a.Point, a.Image}] = append(named[where{a.Point, a.Image}], [2]int64{a.Start, a.End})
			if a.Name == "" || a.Machine == "" {
				return fmt.Errorf("a finding without its machine: %+v", a)
			}
		}
	}
	for k := range s.points {
		tr := &s.points[k]
		p, err := r.OpenPoint(ctx, tr.info())
		if whole := len(named[where{tr.point.ID, ""}]) > 0; whole != (err != nil) {
			return fmt.Errorf("point %d: opens with %v, named %v", k, err, whole)
		}
		if err != nil {
			continue
		}
		for ref, name := range p.Images() {
			i, err := r.OpenImage(ctx, *ref)
			if err != nil {
				return err
			}
			if err := exactly(i, tr.images[name], named[where{tr.point.ID, name}]); err != nil {
				return fmt.Errorf("point %d %s: %w", k, name, err)
			}
		}
	}
	return nil
}

// exactly reads every page that has data, and some that have none.
func exactly(i *repo.Image, d *testDisk, named [][2]int64) error {
	try := slices.Clone(d.sorted())
	for off := int64(0); off < d.size; off += 1 << 30 {
		try = append(try, off/page, (off+512<<20)/page)
	}
	got, want := make([]byte, page), make([]byte, page)
	for _, p := range try {
		off := p * page
		if off >= d.size {
			continue
		}
		n := min(page, d.size-off)
		in := slices.ContainsFunc(named, func(x [2]int64) bool { return x[0] <= off && off+n <= x[1] })
		_, err := i.ReadAt(got[:n], off)
		if in != (err != nil) {
			return fmt.Errorf("page at %d: named %v, read says %v", off, in, err)
		}
		if _, derr := d.ReadAt(want[:n], off); derr != nil {
			return derr
		}
		if err == nil && !bytes.Equal(got[:n], want[:n]) {
			return fmt.Errorf("page at %d: WRONG DATA", off)
		}
	}
	return nil
}

// TestCheckFindsAMapThatPointsElsewhere forges maps whose runs name other
// chunks, all of them whole and validly sealed: check finds it without reading
// data, and no read passes them for what was meant.
func TestCheckFindsAMapThatPointsElsewhere(t *testing.T) {
	ciphers(t, func(t *testing.T, encrypted bool) {
		ctx := t.Context()
		w := newWorld(t, mem.New(), encrypted)
		d := newTestDisk(8 << 20)
		d.write(0, random(1, 6<<20)) // chunks of the greatest length are many
		w.backup(t, &job{machine: machineA, name: "web", disks: map[string]*testDisk{"os.vhdx": d}})
		tr := w.points[0]
		forge := map[string]func(runs []repo.Run) error{
			"another slot": func(runs []repo.Run) error {
				for k := range runs {
					if runs[k].Slots > 1 {
						runs[k].Slots--
						runs[k].Slot++
						return nil
					}
				}
				return errors.New("no run to change")
			},
			"another pack": func(runs []repo.Run) error {
				for k := range runs {
					for l := range runs {
						if runs[k].Kind == "data" && runs[l].Kind == "data" && runs[k].Pages == runs[l].Pages && runs[k].Slots == runs[l].Slots && runs[k].Pack != runs[l].Pack {
							runs[k].Pack, runs[k].Slot = runs[l].Pack, runs[l].Slot
							return nil
						}
					}
				}
				return errors.New("no run to change")
			},
		}
		for name, change := range forge {
			t.Run(name, func(t *testing.T) {
				m := mem.New()
				storetest.Copy(t, m, w.store)
				r := w.mustOpen(t, m)
				q, err := r.ForgeMap(ctx, &tr.point, tr.point.Disks[0].Image, change)
				must(t, err)
				r = w.mustOpen(t, m)
				rep, err := r.Check(ctx, repo.CheckOptions{})
				must(t, err)
				var hits []repo.Affected
				for _, f := range rep.Findings {
					for _, a := range f.Affected {
						if a.Point != q.ID || a.Image != "forged.vhdx" {
							t.Errorf("affected: %+v", a)
						}
						hits = append(hits, a)
					}
				}
				if len(hits) != 1 {
					t.Fatalf("findings: %+v", rep.Findings)
				}
				var ranges [][2]int64
				for _, a := range hits {
					ranges = append(ranges, [2]int64{a.Start, a.End})
				}
				i, err := r.OpenImage(ctx, q.Disks[0].Image)
				must(t, err)
				must(t, exactly(i, d, ranges))
			})
		}
	})
}
