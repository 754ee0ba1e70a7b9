package fstest

import (
	"encoding/json"
	"fmt"
	"time"

	"vitrine/repo"
)

// The places of the fixture "small" that checks name.
const (
	machineSQL  = "SQL01 (3f2a9c1e)"
	machineTwin = "sql01 (77aa0000)"
	machineOdd  = "a_b_c_"
	machineHalf = "half"
	machineWorn = "worn"
	machineLost = "10570000-0000-4000-8000-000000000005"
	idSQL       = repo.MachineID("3f2a9c1e-0000-4000-8000-000000000001")
	firstPoint  = "2026-11-20T22-00-05Z"
	lastPoint   = "2026-11-22T22-00-05Z"
	mib         = int64(1) << 20
	smallBlock  = mib
	hugeSize    = int64(64) << 40
	manyPoints  = 10_000
	streamSize  = 512 * mib
	vhdxSuffix  = ".vhdx"
)

var firstTime = time.Date(2026, 11, 20, 22, 0, 5, 0, time.UTC)

// Contents of the disks of "small".
var (
	osDisk = Content{Size: 16 * mib, Seed: 1, Data: [][2]int64{
		{0, 4096}, {1 * mib, 1*mib + 64<<10}, {3*mib - 4096, 3*mib + 4096}, {8 * mib, 10 * mib}, {16*mib - 8192, 16 * mib}}}
	dataDisk  = Content{Size: 3*mib + 512, Seed: 2, Data: [][2]int64{{2*mib + 8192, 3*mib + 512}}}
	emptyDisk = Content{Size: 5 * mib, Seed: 3}
	wornDisk  = Content{Size: 4 * mib, Seed: 4, Data: [][2]int64{{0, 4 * mib}}, Bad: [2]int64{2 * mib, 2*mib + 4096}}
	vmcx      = Text("not really a VMCX, but kept byte for byte")
)

// Fixture makes a repository by name:
//
//	files   one machine without disks
//	tiny    one machine, one small disk
//	small   machines with everything that a tree can show, damage included
//	huge    one disk of 64 TiB
//	many    10,000 restore points of four machines
//	wide    200,000 restore points of one machine
//	hosts   2,000 machines of one restore point each
//	stream  one disk full of data, for speed
func Fixture(name string) (*Repository, error) {
	r := NewRepository()
	switch name {
	case "files":
		p := point("00000000-0000-4000-8000-000000000009", "files", firstTime)
		p.Files = []repo.File{file(r, "a/b.vmcx", vmcx), file(r, "c", Content{Size: 100 << 10, Seed: 8, Data: [][2]int64{{4096, 12288}}})}
		p.VM = json.RawMessage(`{}`)
		r.Add(p)
	case "tiny":
		c := Content{Size: 300 << 10, Seed: 9, Data: [][2]int64{{4096, 12288}}}
		r.Add(point("00000000-0000-4000-8000-00000000000a", "tiny", firstTime, newDisk(r, "tiny.vhdx", c, smallBlock)))
	case "small":
		small(r)
	case "huge":
		c := Content{Size: hugeSize, Seed: 5, Data: [][2]int64{{0, mib}, {hugeSize / 2, hugeSize/2 + mib}, {hugeSize - mib, hugeSize}}}
		r.Add(point("00000000-0000-4000-8000-00000000000b", "huge", firstTime, newDisk(r, "huge.vhdx", c, 32*mib)))
	case "many":
		d := newDisk(r, "disk.vhdx", emptyDisk, smallBlock)
		for i := range manyPoints {
			m := i % 4
			p := point(repo.MachineID(fmt.Sprintf("%08x-0000-4000-8000-00000000000c", m)), fmt.Sprintf("many%d", m), firstTime.Add(time.Duration(i)*time.Minute), d)
			r.Add(p)
		}
	case "wide":
		d := newDisk(r, "disk.vhdx", emptyDisk, smallBlock)
		for i := range 200_000 {
			r.Add(point("00000000-0000-4000-8000-00000000000f", "wide", firstTime.Add(time.Duration(i)*time.Minute), d))
		}
	case "hosts":
		d := newDisk(r, "disk.vhdx", emptyDisk, smallBlock)
		for i := range 2000 {
			r.Add(point(repo.MachineID(fmt.Sprintf("%08x-0000-4000-8000-00000000000d", i)), fmt.Sprintf("host%04d", i), firstTime, d))
		}
	case "stream":
		c := Content{Size: streamSize, Seed: 6, Data: [][2]int64{{0, streamSize}}}
		r.Add(point("00000000-0000-4000-8000-00000000000e", "stream", firstTime, newDisk(r, "stream.vhdx", c, 2*mib)))
	default:
		return nil, fmt.Errorf("fstest: no fixture %q", name)
	}
	return r, nil
}

func point(id repo.MachineID, name string, when time.Time, disks ...repo.Disk) repo.RestorePoint {
	return repo.RestorePoint{
		Machine: id, Name: name, Time: when, Number: 1, Software: "fstest", Level: "host", Method: "folder",
		Consistency: "offline", Read: "full", Started: when, Finished: when.Add(time.Minute), Disks: disks,
	}
}

func newDisk(r *Repository, name string, c Content, block int64) repo.Disk {
	return repo.Disk{
		Name: name, ID: name, Format: "vhdx", Layout: 1,
		DiskID:    "a0000000-0000-4000-8000-000000000001",
		FileID:    "a0000000-0000-4000-8000-000000000002",
		DataID:    "a0000000-0000-4000-8000-000000000003",
		BlockSize: block, LogicalSector: 512, PhysicalSector: 4096,
		Image: r.Image(c, block),
	}
}

func file(r *Repository, name string, c Content) repo.File {
	return repo.File{Name: name, Time: firstTime.Add(-time.Hour), Image: r.Image(c, smallBlock)}
}

func small(r *Repository) {
	sql := point(idSQL, "SQL01", firstTime, newDisk(r, "SQL01-os.vhdx", osDisk, smallBlock), newDisk(r, "SQL01-data.vhdx", dataDisk, smallBlock))
	sql.Files = []repo.File{file(r, "Virtual Machines/3F2A9C1E.vmcx", vmcx), file(r, "vm.json", Text("theirs"))}
	sql.VM = json.RawMessage(`{"name":"SQL01","generation":2}`)
	sql.Warnings = []repo.Warning{{Object: "D:", Code: "disk-absent", Text: "not found"}}
	sql.Checkpoints = []repo.Checkpoint{
		{ID: "1", Name: "before: update", Time: firstTime.Add(-24 * time.Hour), Disks: []repo.Disk{newDisk(r, "SQL01-os.vhdx", emptyDisk, smallBlock)}, Files: []repo.File{file(r, "x.vmcx", vmcx)}},
		{ID: "2", Name: "before? update", Disks: []repo.Disk{newDisk(r, "SQL01-os.vhdx", emptyDisk, smallBlock)}},
	}
	for day := range 3 {
		p := sql
		p.Time = firstTime.AddDate(0, 0, day)
		r.Add(p)
	}
	r.Add(point("77aa0000-0000-4000-8000-000000000002", "sql01", firstTime, newDisk(r, "twin.vhdx", emptyDisk, smallBlock)))

	odd := point("0dd00000-0000-4000-8000-000000000003", "a/b:c?", firstTime,
		newDisk(r, `..\..\con.vhdx`, emptyDisk, smallBlock), newDisk(r, "same.vhdx", emptyDisk, smallBlock),
		newDisk(r, "SAME.VHDX", dataDisk, smallBlock), newDisk(r, "config", emptyDisk, smallBlock))
	odd.Files = []repo.File{file(r, "../../etc/passwd", vmcx), file(r, "a", vmcx), file(r, "a/b", vmcx), file(r, "", vmcx)}
	r.Add(odd)

	half := repo.MachineID("4a1f0000-0000-4000-8000-000000000004")
	r.Add(point(half, "half", firstTime, newDisk(r, "half.vhdx", dataDisk, smallBlock)))
	r.Break(r.Add(point(half, "half", firstTime.AddDate(0, 0, 2), newDisk(r, "half.vhdx", dataDisk, smallBlock))))

	r.Break(r.Add(point(machineLost, "lost", firstTime)))
	r.Add(point("30420000-0000-4000-8000-000000000006", "worn", firstTime, newDisk(r, "worn.vhdx", wornDisk, smallBlock)))
}
