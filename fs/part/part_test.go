package part_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/part"
)

// show renders a table for comparing: a line for each partition, in sectors,
// with the number of its notes.
func show(t *part.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s\n", t.Scheme, t.Sector, t.ID)
	for _, p := range t.Partitions {
		fmt.Fprintf(&b, "%d %d+%d %s %q %d\n", p.Index, p.Start/int64(t.Sector), p.Size/int64(t.Sector), p.Type, p.Name, len(p.Notes))
	}
	return b.String()
}

// read reads a table and compares it; notes are words that the table's notes
// must hold, one for each.
func read(t *testing.T, r disk.Disk, sector int, want string, notes ...string) *part.Table {
	t.Helper()
	got, err := part.Read(r, r.Size(), sector)
	if err != nil {
		t.Fatal(err)
	}
	if want = strings.TrimLeft(want, "\n"); show(got) != want {
		t.Errorf("got\n%swant\n%s", show(got), want)
	}
	if len(got.Notes) != len(notes) {
		t.Errorf("got notes %q, want %q", got.Notes, notes)
		return got
	}
	for i, n := range notes {
		if !strings.Contains(got.Notes[i], n) {
			t.Errorf("note %d is %q, want %q in it", i, got.Notes[i], n)
		}
	}
	return got
}

// long is a disk that holds b and zeros behind it.
type long struct {
	b    []byte
	size int64
}

func (l long) Size() int64 { return l.size }

func (l long) NextData(off int64) (start, end int64, err error) { return off, l.size, nil }

func (l long) ReadAt(p []byte, off int64) (int, error) {
	n, err := disk.Clip(len(p), off, l.size)
	clear(p[:n])
	if n > 0 && off < int64(len(l.b)) {
		copy(p[:n], l.b[off:])
	}
	return n, err
}

func TestTablesMadeByOthers(t *testing.T) {
	open := func(name string) disk.Disk { return long{disktest.File(t, name), 1 << 40} }
	read(t, open("dfvfs/tsk_volume_system.raw"), 512, `
MBR 512 53f5a6ee
1 1+350 Linux "" 0
5 352+2528 Linux "" 0
`)
	read(t, open("dissect.volume/mbr.bin"), 0, `
MBR 512 baff7d5c
1 2048+1024000 NTFS or exFAT "" 0
2 1026048+124801024 NTFS or exFAT "" 0
`)
	read(t, open("dissect.volume/gpt.bin"), 512, `
GPT 512 299dd468-9fa2-4f82-9123-c79621ded58b
1 40+409600 EFI system "EFI System Partition" 0
2 411648+61026304 Windows data "" 0
`, "backup", "hybrid")
	want4k := `
GPT 4096 17d45e49-0ff0-48ac-95a3-95bda49da632
1 256+257 Linux "Linux filesystem" 0
2 768+257 Linux "Linux filesystem" 0
3 1280+2907 Linux "Linux filesystem" 0
`
	read(t, open("dissect.volume/gpt_4k.bin"), 4096, want4k, "backup")
	read(t, open("dissect.volume/gpt_4k.bin"), 512, want4k, "written for sectors of 4096", "backup")
	read(t, open("dissect.volume/gpt_hybrid.bin"), 512, `
GPT 512 2dbc85bd-9245-46b5-8a94-fb2c429beadc
1 2048+1025 Linux "Linux filesystem" 0
2 34+2014 Linux "Linux filesystem" 0
3 3073+990 Linux "Linux filesystem" 0
`, "backup", "hybrid")
}

// sgdisk makes a disk of 64 MiB with the table that the arguments ask for.
func sgdisk(t *testing.T, args ...string) []byte {
	t.Helper()
	tool, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skip("sgdisk is missing: install gdisk")
	}
	file := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(tool, append(args, file)...).CombinedOutput(); err != nil {
		t.Fatalf("sgdisk: %v\n%s", err, out)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const gptID = "5a2a5a3d-41bb-4b3d-9a3e-0123456789ab"

func freshGPT(t *testing.T) ([]byte, string) {
	return sgdisk(t, "-U", gptID, "-n", "1:2048:4095", "-t", "1:ef00", "-c", "1:Start é",
			"-n", "5:8192:16383", "-t", "5:8200", "-n", "3:16384:0", "-t", "3:8e00"), `
GPT 512 ` + gptID + `
1 2048+2048 EFI system "Start é" 0
3 16384+114655 Linux LVM "" 0
5 8192+8192 Linux swap "" 0
`
}

func TestFreshGPT(t *testing.T) {
	b, want := freshGPT(t)
	got := read(t, disktest.Memory(b), 512, want)
	if !got.Partitions[0].Type.EFI() || got.Partitions[1].Type.Role() != part.LVM || got.Partitions[2].Type.Role() != part.Swap {
		t.Errorf("roles: %v", got.Partitions)
	}
}

func TestDamagedPrimaryGPT(t *testing.T) {
	for name, at := range map[string]int{"magic": 512, "header": 512 + 60, "entries": 1024 + 40} {
		b, want := freshGPT(t)
		b[at] ^= 0x40
		t.Run(name, func(t *testing.T) { read(t, disktest.Memory(b), 512, want, "backup copy is used") })
	}
	b, want := freshGPT(t)
	b[len(b)-512+20] ^= 1
	read(t, disktest.Memory(b), 512, want, "backup copy of the GPT is of no use")
	b[600] ^= 1
	b[560] ^= 1
	read(t, disktest.Memory(b), 512, "MBR 512 \n", "neither")
}

func TestGPTCountsOnlyWithItsProtection(t *testing.T) {
	b, want := freshGPT(t)
	clear(b[:512])
	read(t, disktest.Memory(b), 512, want, "boot sector that protects")
	copy(b[1080:], "\x53\xef") // as mkfs.ext4 on the whole disk would leave it
	read(t, disktest.Memory(b), 512, "none 512 \n0 0+131072 whole disk \"\" 0\n")
	clear(b[512:2048])
	read(t, disktest.Memory(b), 512, "none 512 \n0 0+131072 whole disk \"\" 0\n")
}

func TestGPTCutShort(t *testing.T) {
	b, _ := freshGPT(t)
	got := read(t, disktest.Memory(b[:12<<20]), 512, `
GPT 512 `+gptID+`
1 2048+2048 EFI system "Start é" 0
3 16384+8192 Linux LVM "" 1
5 8192+8192 Linux swap "" 0
`, "backup")
	if n := got.Partitions[1].Notes; !strings.Contains(n[0], "behind the end") {
		t.Errorf("notes %q", n)
	}
	read(t, disktest.Memory(b[:6<<20]), 512, `
GPT 512 `+gptID+`
1 2048+2048 EFI system "Start é" 0
5 8192+4096 Linux swap "" 1
`, "partition 3", "backup")
}

// mbr returns a boot sector with the given entries: kind, first, sectors.
func mbr(entries ...[3]uint32) []byte {
	b := make([]byte, 512)
	copy(b[440:], "\x01\x02\x03\x04")
	for i, e := range entries {
		at := b[446+16*i:]
		at[4] = byte(e[0])
		for k := range 4 {
			at[8+k], at[12+k] = byte(e[1]>>(8*k)), byte(e[2]>>(8*k))
		}
	}
	b[510], b[511] = 0x55, 0xaa
	return b
}

// place puts sectors onto a disk.
func place(size int64, unit int, sectors map[int][]byte) disk.Disk {
	b := make([]byte, size)
	for at, s := range sectors {
		copy(b[at*unit:], s)
	}
	return disktest.Memory(b)
}

func TestLogicalPartitions(t *testing.T) {
	for _, unit := range []int{512, 4096} {
		read(t, place(4<<20, unit, map[int][]byte{
			0:   mbr([3]uint32{0x07, 8, 92}, [3]uint32{0x0f, 100, 800}, [3]uint32{0x83, 900, 50}),
			100: mbr([3]uint32{0x82, 1, 99}, [3]uint32{0x05, 100, 200}),
			200: mbr([3]uint32{}, [3]uint32{0x05, 300, 200}),
			400: mbr([3]uint32{0x8e, 2, 98}),
		}), unit, fmt.Sprintf(`
MBR %d 04030201
1 8+92 NTFS or exFAT "" 0
5 101+99 Linux swap "" 0
6 402+98 Linux LVM "" 0
3 900+50 Linux "" 0
`, unit))
	}
}

func TestBadLogicalChainsEnd(t *testing.T) {
	first := "MBR 512 04030201\n5 101+9 Linux \"\" 0\n"
	for name, c := range map[string]struct {
		second [3]uint32
		at     map[int][]byte
		want   string
	}{
		"itself":  {[3]uint32{5, 0, 10}, nil, "loops"},
		"circle":  {[3]uint32{5, 100, 10}, map[int][]byte{200: mbr([3]uint32{}, [3]uint32{5, 0, 10})}, "loops"},
		"nothing": {[3]uint32{5, 100, 10}, nil, "no boot record"},
		"outside": {[3]uint32{5, 801, 10}, nil, "leads out"},
		"behind":  {[3]uint32{5, 0xffffff, 10}, nil, "leads out"},
	} {
		t.Run(name, func(t *testing.T) {
			sectors := map[int][]byte{0: mbr([3]uint32{0x05, 100, 800}), 100: mbr([3]uint32{0x83, 1, 9}, c.second)}
			for at, b := range c.at {
				sectors[at] = b
			}
			read(t, place(1<<20, 512, sectors), 512, first, c.want)
		})
	}
	read(t, place(1<<20, 512, map[int][]byte{0: mbr([3]uint32{0x05, 0xfffffff0, 800})}), 512, "MBR 512 04030201\n", "behind the end")

	many := map[int][]byte{0: mbr([3]uint32{0x05, 1, 3000})}
	for i := range 1000 {
		many[1+i] = mbr([3]uint32{0x83, 1, 1}, [3]uint32{0x05, uint32(i + 1), 2})
	}
	got, err := part.Read(place(1<<20, 512, many), 1<<20, 512)
	if err != nil || len(got.Partitions) != 256 {
		t.Errorf("got %d partitions, %v; want 256", len(got.Partitions), err)
	}
}

func TestOverlapsAreNoted(t *testing.T) {
	got := read(t, place(1<<20, 512, map[int][]byte{
		0: mbr([3]uint32{0x07, 8, 100}, [3]uint32{0x83, 50, 100}, [3]uint32{0x83, 200, 10}, [3]uint32{0x83, 5000, 10}),
	}), 512, `
MBR 512 04030201
1 8+100 NTFS or exFAT "" 1
2 50+100 Linux "" 1
3 200+10 Linux "" 0
`, "partition 4")
	if n := got.Partitions[0].Notes[0]; !strings.Contains(n, "partition 2") {
		t.Errorf("note %q", n)
	}
}

func TestDisksWithoutATable(t *testing.T) {
	whole := "none 512 \n0 0+2048 whole disk \"\" 0\n"
	fat := mbr()
	copy(fat, "\xeb\x3c\x90mkfs.fat")
	copy(fat[54:], "FAT16   ")
	ntfs := mbr([3]uint32{1, 2, 3})
	copy(ntfs[3:], "NTFS    ")
	flags := mbr([3]uint32{0x83, 1, 1})
	flags[446] = 0x55
	lvm := make([]byte, 512)
	copy(lvm, "LABELONE")
	for name, b := range map[string][]byte{"zeros": {}, "FAT": fat, "NTFS": ntfs, "no table": flags, "LVM": lvm} {
		t.Run(name, func(t *testing.T) { read(t, place(1<<20, 512, map[int][]byte{0: b}), 512, whole) })
	}
	read(t, place(1<<20, 512, map[int][]byte{0: mbr(), 2: append(make([]byte, 56), 0x53, 0xef)}), 512, whole)
	read(t, place(1<<20, 512, map[int][]byte{0: mbr()}), 512, "MBR 512 04030201\n")
	read(t, disk.Zeros(0), 512, "none 512 \n")
	read(t, disk.Zeros(511), 512, "none 512 \n0 0+0 whole disk \"\" 0\n")
}

func TestIdentify(t *testing.T) {
	at := func(off int, magic string) disk.Disk {
		b := make([]byte, 2<<20)
		copy(b[off:], magic)
		return disktest.Memory(b)
	}
	for _, c := range []struct {
		kind string
		d    disk.Disk
	}{
		{"BitLocker", at(3, "-FVE-FS-")},
		{"LUKS", at(0, "LUKS\xba\xbe")},
		{"LVM", at(512, "LABELONE")},
		{"ReFS", at(3, "ReFS\x00\x00\x00\x00")},
		{"btrfs", at(65600, "_BHRfS_M")},
		{"Linux RAID", at(4096, "\xfc\x4e\x2b\xa9\x01\x00\x00\x00")},
		{"Linux RAID", at(2<<20-65536, "\xfc\x4e\x2b\xa9")},
		{"Linux RAID 1", at(2<<20-65536, "\xfc\x4e\x2b\xa9"+strings.Repeat("\x00", 24)+"\x01")},
		{"ZFS", at(192<<10, strings.Repeat("\x0c\xb1\xba\x00"+strings.Repeat("\x00", 1020), 4))},
		{"HFS+", at(1024, "H+\x00\x04")},
		{"APFS", at(32, "NXSB")},
		{"VMFS", at(1<<20, "\x0d\xd0\x01\xc0")},
		{"swap", at(4086, "SWAP-SPACE")},
	} {
		got, err := part.Identify(c.d, c.d.Size())
		if err != nil || len(got) != 1 || got[0].Kind != c.kind {
			t.Errorf("%s: got %v, %v", c.kind, got, err)
			continue
		}
		if got[0].Class == part.NotOpened && !strings.Contains(got[0].Advice, "attach the disk") {
			t.Errorf("%s: advice %q", c.kind, got[0].Advice)
		}
	}
	two := make([]byte, 1<<20)
	copy(two[1080:], "\x53\xef")
	copy(two[65600:], "_BHRfS_M")
	got, err := part.Identify(disktest.Memory(two), 1<<20)
	if err != nil || len(got) != 2 || got[0].Kind != "ext" || got[1].Kind != "btrfs" {
		t.Errorf("two signatures: got %v, %v", got, err)
	}
	if got, err := part.Identify(disk.Zeros(1<<20), 1<<20); err != nil || len(got) != 0 {
		t.Errorf("zeros: got %v, %v", got, err)
	}
}

func TestSwapHeaders(t *testing.T) {
	tool, err := exec.LookPath("mkswap")
	if err != nil {
		t.Skip("mkswap is missing: install util-linux")
	}
	for _, page := range []int64{4096, 8192, 16384, 32768, 65536} {
		file := filepath.Join(t.TempDir(), "swap")
		if err := os.WriteFile(file, make([]byte, 2<<20), 0o600); err != nil {
			t.Fatal(err)
		}
		const id = "a5d5d491-7ab0-4de8-98ab-3a8df4365824"
		if out, err := exec.Command(tool, "-p", fmt.Sprint(page), "-U", id, "-L", "paging", file).CombinedOutput(); err != nil {
			t.Fatalf("mkswap: %v\n%s", err, out)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want := part.SwapHeader{PageSize: page, Size: 2 << 20, Label: "paging", UUID: id}
		if got, err := part.ReadSwap(bytes.NewReader(b), 2<<20); err != nil || got == nil || *got != want {
			t.Errorf("page %d: got %+v, %v; want %+v", page, got, err, want)
		}
		for _, sleeping := range []string{"S1SUSPEND\x00", "S2SUSPEND\x00", "ULSUSPEND\x01", "LINHIB0001", "\xed\xc3\x02\xe9\x98\x56\xe5\x0c\x00\x00"} {
			copy(b[page-10:], sleeping)
			if got, err := part.ReadSwap(bytes.NewReader(b), 2<<20); err != nil || got == nil || !got.Hibernated {
				t.Errorf("page %d, %q: got %+v, %v", page, sleeping, got, err)
			}
		}
		copy(b[page-10:], "SWAPSPACE3")
		if got, err := part.ReadSwap(bytes.NewReader(b), 2<<20); err != nil || got != nil {
			t.Errorf("no signature: got %+v, %v", got, err)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"mbr.bin", "gpt.bin", "gpt_4k.bin", "gpt_hybrid.bin"} {
		b := disktest.File(f, "dissect.volume/"+name)
		f.Add(b[:min(len(b), 24<<10)], int64(1<<22))
	}
	f.Add(disktest.File(f, "dfvfs/tsk_volume_system.raw")[:512], int64(1474560))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		size = max(size, int64(len(b)))
		d := long{b, size}
		for _, sector := range []int{512, 4096} {
			table, err := part.Read(d, size, sector)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range table.Partitions {
				if p.Start < 0 || p.Size < 0 || p.Start > size-p.Size {
					t.Fatalf("partition %+v is not inside %d", p, size)
				}
			}
			if slices.ContainsFunc(table.Partitions, func(p part.Partition) bool { return len(p.Notes) > 16 }) {
				t.Fatal("too many notes")
			}
		}
		if _, err := part.Identify(d, size); err != nil {
			t.Fatal(err)
		}
	})
}
