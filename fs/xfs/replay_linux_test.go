package xfs_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"

	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vitrine/fs/xfs"
)

// crash stops a mounted volume as a failing machine would, with all that was
// done in the log and little of it in place.
func crash(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	check(t, err)
	defer f.Close()
	check(t, unix.Syncfs(int(f.Fd())))
	const goingDown, logFlush = 0x8004587d, 1
	check(t, unix.IoctlSetPointerInt(int(f.Fd()), goingDown, logFlush))
}

func copyFile(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.img")
	run(t, "cp", "--sparse=always", from, to)
	return to
}

func TestDirtyLogIsReplayedAsTheKernelReplaysIt(t *testing.T) {
	rounds := 3
	soak := os.Getenv("VITRINE_SOAK") == "1"
	if soak {
		rounds = 25 // enough for the log to begin anew
	}
	for i, c := range []struct {
		name string
		args []string
	}{
		{"default", nil},
		{"counts of 64 bits, reverse map", []string{"-i", "nrext64=1", "-m", "rmapbt=1"}},
		{"large log records", []string{"-l", "su=256k"}},
		{"old times, full chunks of inodes", []string{"-m", "bigtime=0,reflink=0", "-i", "sparse=0"}},
		{"large directory blocks", []string{"-n", "size=16384"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if i > 0 && !soak {
				t.Skip("takes long: set VITRINE_SOAK=1")
			}
			image := mkfs(t, 600<<20, c.args...)
			for round := range rounds {
				withMount(t, image, "", func(dir string) {
					churn(t, dir, round)
					crash(t, dir)
				})
				dirty := copyFile(t, image)
				var want map[string]string
				withMount(t, image, "", func(dir string) { want = kernels(t, dir) })
				v := openImage(t, dirty)
				if ok, _ := v.Consistent(); ok {
					t.Error("free space is trusted with a dirty log")
				}
				if notes := strings.Join(v.Notes(), " "); !strings.Contains(notes, "replayed in memory") {
					t.Fatalf("notes %q", notes)
				}
				same(t, ours(t, v), want)
				checkFree(t, image)
				if t.Failed() {
					t.FailNow()
				}
			}
		})
	}
}

// churn makes, changes and removes files of all kinds.
func churn(t *testing.T, dir string, round int) {
	top := fmt.Sprintf("%s/round-%d", dir, round)
	check(t, os.Mkdir(top, 0o755))
	fill(t, top, 1500)
	check(t, os.RemoveAll(top+"/dir-300"))
	check(t, os.Rename(top+"/dir-30", top+"/size-dir"))
	for i := range 200 {
		name := fmt.Sprintf("%s/size-dir/later-%d", top, i)
		check(t, os.WriteFile(name, noise(uint64(i), i*40), 0o644))
		if i%3 == 0 {
			check(t, os.Remove(name))
		}
	}
	if round == 0 {
		return
	}
	old := fmt.Sprintf("%s/round-%d", dir, round-1)
	check(t, os.RemoveAll(old+"/dir-1500"))
	check(t, os.Truncate(old+"/sparse", 5<<20))
	f, err := os.OpenFile(old+"/sparse", os.O_RDWR, 0)
	check(t, err)
	for i := range 100 {
		_, err := f.WriteAt(noise(uint64(i), 4096), int64(i)*9*4096+1<<20)
		check(t, err)
	}
	check(t, f.Close())
	exec.Command("cp", "--reflink=always", old+"/sparse", old+"/clone").Run()
	if c, err := os.OpenFile(old+"/clone", os.O_RDWR, 0); err == nil {
		_, err := c.WriteAt(noise(9, 50000), 123456)
		check(t, err)
		check(t, c.Close())
	}
	check(t, os.Rename(old, dir+"/kept-"+fmt.Sprint(round)))
}

// TestFrozenVolumeIsRead: a snapshot of a frozen volume has a dirty log.
func TestFrozenVolumeIsRead(t *testing.T) {
	need(t, "fsfreeze")
	image := mkfs(t, 320<<20)
	var want map[string]string
	var frozen string
	withMount(t, image, "", func(dir string) {
		churn(t, dir, 0)
		run(t, "fsfreeze", "-f", dir)
		defer run(t, "fsfreeze", "-u", dir)
		frozen = copyFile(t, image)
		want = kernels(t, dir)
	})
	same(t, ours(t, openImage(t, frozen)), want)
}

func TestDamagedLogIsExplained(t *testing.T) {
	image := mkfs(t, 320<<20)
	withMount(t, image, "", func(dir string) {
		churn(t, dir, 0)
		crash(t, dir)
	})
	b, err := os.ReadFile(image)
	check(t, err)
	place := run(t, "xfs_db", "-r", "-c", "sb 0", "-c", "p logstart blocksize agblklog agblocks", image)
	var start, size, log, blocks int64
	if _, err := fmt.Sscanf(strings.ReplaceAll(place, "\n", " "), "logstart = %d blocksize = %d agblklog = %d agblocks = %d", &start, &size, &log, &blocks); err != nil {
		t.Fatal(err)
	}
	off := ((start>>log)*blocks + start&(1<<log-1)) * size
	b[off+9000] ^= 1
	v := openBytes(t, b)
	if ok, why := v.Consistent(); ok || !strings.Contains(why, "log") {
		t.Errorf("%v %q", ok, why)
	}
	t.Log(v.Notes())
	for x, err := range v.Free(t.Context()) {
		if err == nil {
			t.Fatalf("%v is free", x)
		}
	}
	if _, err := v.ReadDir("."); err != nil && err != io.EOF {
		t.Error(err)
	}
}

// TestHostileLogIsSurvived changes bytes of records and makes their checksums
// right again.
func TestHostileLogIsSurvived(t *testing.T) {
	image := mkfs(t, 320<<20)
	withMount(t, image, "", func(dir string) {
		churn(t, dir, 0)
		crash(t, dir)
	})
	b, err := os.ReadFile(image)
	check(t, err)
	var records []int
	for at := 0; at+512 <= len(b); at += 512 {
		if binary.BigEndian.Uint32(b[at:]) == 0xfeedbabe && binary.BigEndian.Uint32(b[at+12:])-1 < 32<<10 {
			records = append(records, at)
		}
	}
	if len(records) < 10 {
		t.Fatalf("%d records", len(records))
	}
	random := rand.New(rand.NewPCG(1, 2))
	replayed := 0
	for range 150 {
		p := &patched{b, make(map[int64]byte)}
		at := records[random.IntN(len(records))]
		n := int(binary.BigEndian.Uint32(b[at+12:]))
		r := bytes.Clone(b[at : at+512+n])
		set := func(i int, x byte) {
			if r[i] != x {
				r[i] = x
				p.edits[int64(at+i)] = x
			}
		}
		for range 1 + random.IntN(8) {
			i := random.IntN(min(n, 1<<(3+random.IntN(13))))
			if i%512 >= 4 { // the cycle
				set(512+i, byte(random.Uint32())>>random.IntN(8))
			}
		}
		table := crc32.MakeTable(crc32.Castagnoli)
		crc := crc32.Update(0, table, r[:32])
		crc = crc32.Update(crc, table, make([]byte, 4))
		crc = crc32.Update(crc, table, r[36:328])
		crc = crc32.Update(crc, table, r[512:])
		var sum [4]byte
		binary.LittleEndian.PutUint32(sum[:], crc)
		for i, x := range sum {
			set(32+i, x)
		}
		v, err := xfs.Open(p, int64(len(b)))
		if err != nil {
			continue
		}
		if strings.Contains(strings.Join(v.Notes(), " "), "replayed in memory") {
			replayed++
		}
		explore(v, 20)
	}
	if replayed == 0 || replayed == 150 {
		t.Errorf("%d of 150 logs are replayed", replayed)
	}
}
