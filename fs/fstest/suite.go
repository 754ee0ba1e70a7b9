package fstest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Run runs the table of checks against every tree that start shows.
func Run(t *testing.T, start Start) {
	small := Setup{Fixture: "small"}
	table := []struct {
		name  string
		setup Setup
		check func(t *testing.T, s *Subject)
	}{
		{"Names", small, names},
		{"Types", small, types},
		{"Times", small, times},
		{"Sizes and blocks", small, sizes},
		{"Latest is a link to the newest restore point that opens", small, latest},
		{"Latest is a folder where links are not wanted", Setup{Fixture: "small", RealLatest: true}, latestFolder},
		{"Flat images at all edges", small, rawEdges},
		{"VHDX at all edges", small, vhdxEdges},
		{"Files byte for byte", small, files},
		{"Holes", small, holes},
		{"No holes when they are not wanted", Setup{Fixture: "small", Full: true}, full},
		{"Listings agree with stat", small, consistent},
		{"Inodes are unique", small, uniqueInodes},
		{"Absent names", small, absent},
		{"A damaged restore point says why", small, damagedPoint},
		{"A damaged range fails alone", small, damagedRange},
		{"Only chosen machines", Setup{Fixture: "small", Machines: []string{"HALF", string(idSQL)}}, chosen},
		{"A new restore point appears", small, appears},
		{"A forgotten restore point goes", small, goes},
		{"Status", small, status},
		{"A disk of 64 TiB", Setup{Fixture: "huge"}, huge},
		{"Ten thousand restore points", Setup{Fixture: "many"}, many},
		{"Two thousand machines", Setup{Fixture: "hosts"}, hosts},
		{"Many readers at a time", small, concurrent},
	}
	guests := guestImages(t)
	for name, check := range map[string]func(t *testing.T, s *Subject){
		"Files of guests": guestFiles, "Links of guests never leave their volume": guestLinks,
		"Holes of guests": guestHoles, "Files of NTFS": guestNTFS, "Folders of guests": guestFolders,
		"A damaged file of a guest fails alone": guestDamage,
	} {
		t.Run(name, func(t *testing.T) {
			if len(guests) == 0 {
				t.Skip("mke2fs is missing: install e2fsprogs")
			}
			check(t, start(t, Setup{Fixture: "guest", Images: guests}))
		})
	}
	for _, c := range table {
		t.Run(c.name, func(t *testing.T) { c.check(t, start(t, c.setup)) })
	}
	t.Run("Inodes outlive the mount", func(t *testing.T) { stableInodes(t, start) })
}

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func list(t *testing.T, s *Subject, dir string) []string {
	t.Helper()
	var names []string
	for _, e := range must[[]Entry](t)(s.ReadDir(dir)) {
		names = append(names, e.Name)
	}
	return names
}

func wantNames(t *testing.T, s *Subject, dir string, want ...string) {
	t.Helper()
	got := list(t, s, dir)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s holds\n%q, want\n%q", dir, got, want)
	}
}

func names(t *testing.T, s *Subject) {
	wantNames(t, s, ".", ".vitrine", "README.txt", machineSQL, machineTwin, machineOdd, machineHalf, machineWorn, machineLost)
	wantNames(t, s, ".vitrine", "status", "status.json")
	wantNames(t, s, machineSQL, firstPoint, "2026-11-21T22-00-05Z", lastPoint, "latest")
	p := machineSQL + "/" + lastPoint
	wantNames(t, s, p, "SQL01-os.vhdx", "SQL01-data.vhdx", "config", "guest", "raw", "checkpoints", "restore-point.json")
	wantNames(t, s, p+"/raw", "SQL01-os.raw", "SQL01-data.raw")
	wantNames(t, s, p+"/config", "vm.json", "vm (2).json", "Virtual Machines")
	wantNames(t, s, p+"/config/Virtual Machines", "3F2A9C1E.vmcx")
	wantNames(t, s, p+"/checkpoints", "before_ update", "before_ update (2)")
	wantNames(t, s, p+"/checkpoints/before_ update", "SQL01-os.vhdx", "guest", "raw", "config")
	odd := machineOdd + "/" + firstPoint
	wantNames(t, s, odd, ".._.._con.vhdx", "same.vhdx", "SAME (2).vhdx", "config.vhdx", "guest", "raw", "config", "restore-point.json")
	wantNames(t, s, odd+"/config", "_", "_ (2)", "a", "a (2)")
	wantNames(t, s, odd+"/config/_/_/etc", "passwd")
}

func types(t *testing.T, s *Subject) {
	for p, want := range map[string]iofs.FileMode{
		".": iofs.ModeDir | 0o555, "README.txt": 0o444, ".vitrine": iofs.ModeDir | 0o555, ".vitrine/status": 0o444,
		machineSQL: iofs.ModeDir | 0o555, machineSQL + "/latest": iofs.ModeSymlink | 0o777,
		machineSQL + "/" + lastPoint:                         iofs.ModeDir | 0o555,
		machineSQL + "/" + lastPoint + "/SQL01-os.vhdx":      0o444,
		machineSQL + "/" + lastPoint + "/raw/SQL01-os.raw":   0o444,
		machineSQL + "/" + lastPoint + "/restore-point.json": 0o444,
		machineSQL + "/" + lastPoint + "/checkpoints":        iofs.ModeDir | 0o555,
		machineLost + "/" + firstPoint + "/ERROR.txt":        0o444,
	} {
		st := must[Stat](t)(s.Lstat(p))
		if st.Mode != want {
			t.Errorf("%s: mode %v, want %v", p, st.Mode, want)
		}
		if st.Links < 1 || st.Mode.IsDir() && s.Dir == "" && p == machineSQL && st.Links != 5 {
			t.Errorf("%s: %d links", p, st.Links)
		}
	}
}

func times(t *testing.T, s *Subject) {
	last := firstTime.AddDate(0, 0, 2)
	for p, want := range map[string]time.Time{
		".": last, machineSQL: last, machineSQL + "/" + firstPoint: firstTime,
		machineSQL + "/" + firstPoint + "/SQL01-os.vhdx":                         firstTime,
		machineSQL + "/" + firstPoint + "/raw":                                   firstTime,
		machineSQL + "/" + firstPoint + "/config/Virtual Machines/3F2A9C1E.vmcx": firstTime.Add(-time.Hour),
		machineSQL + "/" + firstPoint + "/checkpoints/before_ update":            firstTime.Add(-24 * time.Hour),
	} {
		if got := must[Stat](t)(s.Lstat(p)).Time; !got.Equal(want) {
			t.Errorf("%s: time %v, want %v", p, got, want)
		}
	}
}

func latest(t *testing.T, s *Subject) {
	for machine, want := range map[string]string{machineSQL: lastPoint, machineHalf: firstPoint, machineLost: firstPoint} {
		if got := must[string](t)(s.Readlink(machine + "/latest")); got != want {
			t.Errorf("%s/latest leads to %s, want %s", machine, got, want)
		}
		if st := must[Stat](t)(s.Lstat(machine + "/latest")); st.Size != int64(len(want)) {
			t.Errorf("%s/latest: size %d, want %d", machine, st.Size, len(want))
		}
	}
}

func latestFolder(t *testing.T, s *Subject) {
	wantNames(t, s, machineSQL+"/latest", list(t, s, machineSQL+"/"+lastPoint)...)
	if st := must[Stat](t)(s.Lstat(machineSQL + "/latest")); st.Mode != iofs.ModeDir|0o555 {
		t.Errorf("latest has mode %v", st.Mode)
	}
	compareAt(t, s, machineSQL+"/latest/raw/SQL01-os.raw", osDisk, edges(osDisk))
	uniqueInodes(t, s)
}

func consistent(t *testing.T, s *Subject) {
	walk(t, s, ".", func(p string, e Entry, st Stat) {
		if st.Mode.Type() != e.Kind {
			t.Errorf("%s: listed as %v, is %v", p, e.Kind, st.Mode)
		}
		if st.Ino != e.Ino && !s.NoInodes {
			t.Errorf("%s: listed with inode %d, has %d", p, e.Ino, st.Ino)
		}
	})
	first, again := list(t, s, machineSQL), list(t, s, machineSQL)
	if !slices.Equal(first, again) {
		t.Errorf("two listings differ: %q and %q", first, again)
	}
}

// walk visits everything below dir.
func walk(t *testing.T, s *Subject, dir string, visit func(p string, e Entry, st Stat)) {
	t.Helper()
	for _, e := range must[[]Entry](t)(s.ReadDir(dir)) {
		p := path.Join(dir, e.Name)
		st, err := s.Lstat(p)
		if err != nil {
			t.Errorf("%s is listed: %v", p, err)
			continue
		}
		visit(p, e, st)
		if st.Mode.IsDir() {
			walk(t, s, p, visit)
		}
	}
}

func uniqueInodes(t *testing.T, s *Subject) {
	if s.NoInodes {
		t.Skip("this way to show a tree makes inode numbers up")
	}
	seen := map[uint64]string{1: "."}
	walk(t, s, ".", func(p string, _ Entry, st Stat) {
		if other, ok := seen[st.Ino]; ok || st.Ino == 0 || st.Ino == ^uint64(0) {
			t.Errorf("%s has inode %d like %q", p, st.Ino, other)
		}
		seen[st.Ino] = p
	})
}

func stableInodes(t *testing.T, start Start) {
	numbers := func(s *Subject) map[string]uint64 {
		if s.NoInodes {
			t.Skip("this way to show a tree makes inode numbers up")
		}
		got := make(map[string]uint64)
		walk(t, s, ".", func(p string, _ Entry, st Stat) { got[p] = st.Ino })
		return got
	}
	first, second := numbers(start(t, Setup{Fixture: "small"})), numbers(start(t, Setup{Fixture: "small"}))
	for p, ino := range first {
		if second[p] != ino {
			t.Errorf("%s had inode %d, now %d", p, ino, second[p])
		}
	}
}

func absent(t *testing.T, s *Subject) {
	for _, p := range []string{"none", machineSQL + "/none", machineSQL + "/" + lastPoint + "/none", "SQL01", machineSQL + "/" + lastPoint + "/raw/none"} {
		if _, err := s.Lstat(p); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("stat %s: %v, want not exist", p, err)
		}
		if _, err := s.Open(p); !errors.Is(err, iofs.ErrNotExist) {
			t.Errorf("open %s: %v, want not exist", p, err)
		}
	}
}

func damagedPoint(t *testing.T, s *Subject) {
	for _, dir := range []string{machineHalf + "/" + lastPoint, machineLost + "/" + firstPoint} {
		wantNames(t, s, dir, "ERROR.txt")
		if text := string(readAll(t, s, dir+"/ERROR.txt")); !strings.Contains(text, ErrDamaged.Error()) {
			t.Errorf("%s/ERROR.txt does not tell the cause: %q", dir, text)
		}
	}
	compareAt(t, s, machineHalf+"/"+firstPoint+"/raw/half.raw", dataDisk, edges(dataDisk))
}

func chosen(t *testing.T, s *Subject) {
	wantNames(t, s, ".", ".vitrine", "README.txt", "SQL01", machineHalf)
}

// eventually repeats ok until it holds or what changes had time to be seen.
func eventually(t *testing.T, s *Subject, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(s.Settle); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, s.Settle)
		}
	}
}

func appears(t *testing.T, s *Subject) {
	list(t, s, machineSQL)
	name := must[string](t)(s.Do("add"))
	eventually(t, s, "the new restore point is listed", func() bool { return slices.Contains(list(t, s, machineSQL), name) })
	eventually(t, s, "latest leads to it", func() bool { return must[string](t)(s.Readlink(machineSQL+"/latest")) == name })
	compareAt(t, s, machineSQL+"/"+name+"/raw/SQL01-os.raw", osDisk, edges(osDisk))
}

func goes(t *testing.T, s *Subject) {
	must[Stat](t)(s.Lstat(machineSQL + "/" + lastPoint))
	must[string](t)(s.Do("forget " + lastPoint))
	eventually(t, s, "the listing is without it", func() bool { return !slices.Contains(list(t, s, machineSQL), lastPoint) })
	eventually(t, s, "it is gone", func() bool {
		_, err := s.Lstat(machineSQL + "/" + lastPoint)
		return errors.Is(err, iofs.ErrNotExist)
	})
	eventually(t, s, "latest leads to another", func() bool { return must[string](t)(s.Readlink(machineSQL+"/latest")) != lastPoint })
}

func status(t *testing.T, s *Subject) {
	readAll(t, s, machineSQL+"/"+lastPoint+"/raw/SQL01-data.raw")
	var got struct{ Points, Machines, Reads, Bytes int64 }
	if err := json.Unmarshal(readAll(t, s, ".vitrine/status.json"), &got); err != nil {
		t.Fatal(err)
	}
	if got.Machines != 6 || got.Points != 9 || got.Reads == 0 || got.Bytes < dataDisk.Size {
		t.Errorf("status tells %+v", got)
	}
	if text := readAll(t, s, ".vitrine/status"); !bytes.Contains(text, []byte("restore points")) {
		t.Errorf("status says %q", text)
	}
}

func many(t *testing.T, s *Subject) {
	total := 0
	for m := range 4 {
		total += len(list(t, s, fmt.Sprintf("many%d", m))) - 1
	}
	if total != manyPoints {
		t.Errorf("%d restore points are listed, want %d", total, manyPoints)
	}
	last := TimeName(firstTime.Add((manyPoints - 1) * time.Minute))
	wantNames(t, s, "many3/"+last, "disk.vhdx", "guest", "raw", "restore-point.json")
	if opened := must[string](t)(s.Do("opened")); opened != "4" {
		t.Errorf("%s restore points were opened, want one per machine", opened)
	}
}

func hosts(t *testing.T, s *Subject) {
	if n := len(list(t, s, ".")); n != 2002 {
		t.Errorf("the root lists %d names, want 2002", n)
	}
	must[Stat](t)(s.Lstat("host1999/latest"))
}

func concurrent(t *testing.T, s *Subject) {
	const readers, reads = 16, 60
	var wg sync.WaitGroup
	for g := range readers {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			c, p := osDisk, machineSQL+"/"+lastPoint+"/raw/SQL01-os.raw"
			if g%2 == 1 {
				c, p = dataDisk, machineSQL+"/"+firstPoint+"/raw/SQL01-data.raw"
			}
			r, err := s.Open(p)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			for range reads {
				off, n := rnd.Int64N(c.Size), 1+rnd.IntN(300<<10)
				got, want := make([]byte, n), make([]byte, n)
				k, err := r.ReadAt(got, off)
				if err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("read %s at %d: %v", p, off, err)
					return
				}
				w, _ := c.Read(want, off)
				if k != w || !bytes.Equal(got[:k], want[:w]) {
					t.Errorf("read %s: %d bytes at %d differ", p, n, off)
					return
				}
			}
		})
	}
	wg.Wait()
}
