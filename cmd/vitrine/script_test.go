package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"vitrine/backup/vmconfig"
	"vitrine/backup/vmconfig/vmconfigtest"
	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/raw"
	"vitrine/fs/vhdx"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"vitrine": main})
}

// TestScripts runs testdata/script. The scripts are the documentation of the
// command line by example; beside the commands of testscript they have
//
//	exits STATUS COMMAND ...   the command ends with this exit status
//	machine DIR NAME GUID DISK=SEED...
//	                           an exported machine whose disks are 1 MiB of noise;
//	                           without =SEED the disk is named and absent
//	noise FILE SEED [OFF LEN]  1 MiB of noise, or a part of the file overwritten
//	swap FILE                  the head of Linux swap is written over the file's
//	flip FILE                  flips a bit in the middle of the one file that matches
//	id NAME                    $NAME is the last restore point's id in the last output
//	first NAME                 likewise the first restore point's
//	expand FILE                replaces $NAMES in a file
//	count N PATTERN            the last output has N lines that match
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("VITRINE_REPO", filepath.Join(e.WorkDir, "repo"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(e.WorkDir, "cache"))
			e.Setenv("LocalAppData", filepath.Join(e.WorkDir, "cache"))
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "fuse" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
			if err != nil {
				return false, nil
			}
			return runtime.GOOS == "linux", f.Close()
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": scriptExits, "machine": scriptMachine, "noise": scriptNoise, "swap": scriptSwap, "flip": scriptFlip,
			"id": scriptID, "first": scriptFirst, "expand": scriptExpand, "count": scriptCount,
		},
	})
}

func scriptExits(ts *testscript.TestScript, _ bool, args []string) {
	want := scriptNumber(ts, args[0])
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	ts.Logf("%s%s", ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	if int64(got) != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

func scriptMachine(ts *testscript.TestScript, _ bool, args []string) {
	dir, name, guid := ts.MkAbs(args[0]), args[1], args[2]
	c := vmconfig.Config{ID: guid, Name: name, Type: vmconfig.TypeMachine, Generation: 2, Version: "9.0"}
	ts.Check(os.MkdirAll(filepath.Join(dir, "Virtual Machines"), 0o777))
	ts.Check(os.MkdirAll(filepath.Join(dir, "Virtual Hard Disks"), 0o777))
	for i, arg := range args[3:] {
		file, seed, there := strings.Cut(arg, "=")
		c.Disks = append(c.Disks, vmconfig.Disk{
			Controller: vmconfig.SCSI, Location: i, Kind: vmconfig.KindVirtual, Path: `D:\VMs\` + file,
		})
		if there {
			ts.Check(writeVHDX(filepath.Join(dir, "Virtual Hard Disks", file), guid, i, uint64(scriptNumber(ts, seed))))
		}
	}
	config := vmconfigtest.VMCX(vmconfigtest.Tree(c))
	ts.Check(os.WriteFile(filepath.Join(dir, "Virtual Machines", strings.ToUpper(guid)+".vmcx"), config, 0o666))
}

// writeVHDX writes 4 MiB of which the first is noise.
func writeVHDX(name, guid string, i int, seed uint64) error {
	b := make([]byte, 4<<20)
	disktest.Fill(b[:1<<20], seed)
	id, err := disk.ParseGUID(guid)
	if err != nil {
		return err
	}
	id[0], id[15] = ^id[0], byte(i)
	f, err := vhdx.NewFile(disktest.Memory(b), vhdx.Identity{
		Layout: vhdx.Layout1, DiskID: id, FileWriteID: id, DataWriteID: id,
		BlockSize: 1 << 20, LogicalSector: 512, PhysicalSector: 4096,
	})
	if err != nil {
		return err
	}
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	_, err = raw.Write(context.Background(), out, f, raw.WriteOptions{})
	return errors.Join(err, out.Close())
}

func scriptNoise(ts *testscript.TestScript, _ bool, args []string) {
	name := ts.MkAbs(args[0])
	off, n := int64(0), int64(1<<20)
	if len(args) == 4 {
		off, n = scriptNumber(ts, args[2]), scriptNumber(ts, args[3])
	}
	b := make([]byte, n)
	disktest.Fill(b, uint64(scriptNumber(ts, args[1])))
	ts.Check(os.MkdirAll(filepath.Dir(name), 0o777))
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
	ts.Check(err)
	_, err = f.WriteAt(b, off)
	ts.Check(errors.Join(err, f.Close()))
}

func scriptSwap(ts *testscript.TestScript, _ bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	info, err := f.Stat()
	ts.Check(err)
	b := make([]byte, 4096)
	binary.LittleEndian.PutUint32(b[1024:], 1)                                         // version
	binary.LittleEndian.PutUint32(b[1028:], uint32(info.Size()/4096-1))                // last page
	copy(b[1036:], "\xa5\xd5\xd4\x91\x7a\xb0\x4d\xe8\x98\xab\x3a\x8d\xf4\x36\x58\x24") // UUID
	copy(b[4086:], "SWAPSPACE2")
	_, err = f.WriteAt(b, 0)
	ts.Check(errors.Join(err, f.Close()))
}

func scriptFlip(ts *testscript.TestScript, _ bool, args []string) {
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%s matches %d files", args[0], len(found))
	}
	b, err := os.ReadFile(found[0])
	ts.Check(err)
	b[len(b)/2] ^= 4
	ts.Check(os.Chmod(found[0], 0o666))
	ts.Check(os.WriteFile(found[0], b, 0o666))
}

func scriptID(ts *testscript.TestScript, _ bool, args []string) {
	all := scriptIDs(ts)
	ts.Setenv(args[0], all[len(all)-1][1])
}

func scriptFirst(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], scriptIDs(ts)[0][1])
}

func scriptIDs(ts *testscript.TestScript) [][]string {
	all := regexp.MustCompile(`"(?:id|point)": ?"([0-9a-f]{32})"`).FindAllStringSubmatch(ts.ReadFile("stdout"), -1)
	if len(all) == 0 {
		ts.Fatalf("no id in the last output")
	}
	return all
}

func scriptExpand(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o666))
}

func scriptCount(ts *testscript.TestScript, _ bool, args []string) {
	want, re := scriptNumber(ts, args[0]), regexp.MustCompile(args[1])
	got := int64(0)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if re.MatchString(strings.TrimRight(line, "\n")) {
			got++
		}
	}
	if got != want {
		ts.Fatalf("%d lines match %s, want %d", got, args[1], want)
	}
}

func scriptNumber(ts *testscript.TestScript, s string) int64 {
	n, err := strconv.ParseInt(s, 0, 64)
	ts.Check(err)
	return n
}
