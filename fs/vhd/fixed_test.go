package vhd_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/vhd"
)

var testID = disk.GUID{0x29, 0xb8, 0xb7, 0xe7, 0x6d, 0xe6, 0x49, 0xba, 0xac, 0x19, 0x6e, 0xbd, 0xab, 0x26, 0xce, 0xa3}

func present(t testing.TB, d disk.Disk) *vhd.FixedFile {
	t.Helper()
	f, err := vhd.NewFixedFile(d, testID)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFixedFileBytesNeverChange(t *testing.T) {
	f := present(t, disktest.Memory(disktest.Sparse(1, 3<<20, 3)))
	footer := make([]byte, 512)
	if n, err := f.ReadAt(footer, f.Size()-512); n != 512 || err != nil && err != io.EOF {
		t.Fatal(n, err)
	}
	const want = "636f6e656374697800000002" + "00010000" + "ffffffffffffffff" + "00000000" + // cookie, features, version, header, time
		"77696e20" + "000a0000" + "5769326b" + "0000000000300000" + "0000000000300000" + // creator, sizes
		"005a0411" + "00000002" + "ffffe7fa" + "29b8b7e76de649baac196ebdab26cea3" // geometry, type, checksum, identity
	if got := hex.EncodeToString(footer[:84]); got != want {
		t.Errorf("footer:\n got %s\nwant %s", got, want)
	}
	if !bytes.Equal(footer[84:], make([]byte, 428)) {
		t.Error("the rest of the footer is not zero")
	}
}

func TestFixedFileKeepsTheContract(t *testing.T) {
	for _, size := range []int64{512, 1<<20 + 512, 70001, 1} {
		data := disktest.Sparse(uint64(size), size, 2)
		disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
			f := present(t, disktest.Memory(data))
			footer := make([]byte, 512)
			if _, err := f.ReadAt(footer, f.Size()-512); err != nil && err != io.EOF {
				t.Fatal(err)
			}
			padded := append(bytes.Clone(data), make([]byte, (512-size%512)%512)...)
			return f, bytes.NewReader(append(padded, footer...))
		})
	}
}

func TestFixedFileIsReadBack(t *testing.T) {
	want := disktest.Sparse(1, 3<<20, 3)
	f := present(t, disktest.Memory(want))
	m, err := vhd.Open(f, f.Size())
	if err != nil {
		t.Fatal(err)
	}
	if m.Type() != vhd.Fixed || m.ID() != testID {
		t.Errorf("got a %v disk %v", m.Type(), m.ID())
	}
	disktest.Run(t, func(*testing.T) (disk.Disk, disktest.Oracle) { return m, bytes.NewReader(want) })
	if start, _, err := m.NextData(0); err != nil || start == 0 && want[0] == 0 {
		t.Errorf("holes of the file are lost: data at %d, %v", start, err)
	}
}

func TestFixedFileRefusesWhatNoVHDHolds(t *testing.T) {
	for size, ok := range map[int64]bool{0: false, 1: true, 2040 << 30: true, 2040<<30 + 1: false, 64 << 40: false} {
		if _, err := vhd.NewFixedFile(disk.Zeros(size), testID); (err == nil) != ok {
			t.Errorf("%d bytes: got %v", size, err)
		}
	}
}

// tool skips the test when a program is missing.
func tool(t *testing.T, name, install string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is missing: install %s", name, install)
	}
	return path
}

func output(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(name), strings.Join(args, " "), err, out)
	}
	return string(out)
}

func write(t *testing.T, d disk.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhd")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := out.Truncate(d.Size()); err != nil {
		t.Fatal(err)
	}
	err = disk.ReadExtents(t.Context(), d, make([]byte, 1<<20), func(p []byte, off int64) error {
		_, err := out.WriteAt(p, off)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFixedFileIsAcceptedByQEMU(t *testing.T) {
	qemu := tool(t, "qemu-img", "qemu-utils")
	for _, size := range []int64{1 << 20, 5<<20 + 512, 127<<30 + 3<<20, 2040 << 30} {
		d := disktest.Scattered(1, size&^4095, 20)
		var info struct {
			Size   int64  `json:"virtual-size"`
			Format string `json:"format"`
		}
		path := write(t, present(t, d))
		if err := json.Unmarshal([]byte(output(t, qemu, "info", "--output=json", "-f", "vpc", path)), &info); err != nil {
			t.Fatal(err)
		}
		if info.Size != d.Size() || info.Format != "vpc" {
			t.Errorf("got %+v of %d bytes", info, d.Size())
		}
		if size > 1<<30 {
			continue
		}
		raw := filepath.Join(t.TempDir(), "disk.raw")
		output(t, qemu, "convert", "-f", "vpc", "-O", "raw", path, raw)
		got, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(got); hex.EncodeToString(sum[:]) != hash(t, d) {
			t.Errorf("%d bytes: QEMU reads something else", size)
		}
	}
}

func TestFixedFileIsAcceptedByLibvhdi(t *testing.T) {
	vhdiinfo := tool(t, "vhdiinfo", "libvhdi-utils")
	got := output(t, vhdiinfo, write(t, present(t, disktest.Memory(disktest.Random(1, 9<<20)))))
	for _, want := range []string{"Fixed", "(" + strconv.Itoa(9<<20) + " bytes)"} {
		if !strings.Contains(got, want) {
			t.Errorf("vhdiinfo does not say %q:\n%s", want, got)
		}
	}
}

func TestDynamicDisksReadAsQEMUReadsThem(t *testing.T) {
	qemu, io := tool(t, "qemu-img", "qemu-utils"), tool(t, "qemu-io", "qemu-utils")
	rng := rand.New(rand.NewPCG(4, 4))
	for range 6 {
		dir := t.TempDir()
		path, raw := filepath.Join(dir, "disk.vhd"), filepath.Join(dir, "disk.raw")
		size := (rng.Int64N(96) + 1) << 20
		output(t, qemu, "create", "-q", "-f", "vpc", "-o", "subformat=dynamic,force_size=on", path, strconv.FormatInt(size, 10))
		args := []string{"-f", "vpc"}
		for range 12 {
			off := rng.Int64N(size/512-1) * 512
			n := min((rng.Int64N(600)+1)*512, size-off)
			args = append(args, "-c", "write -P "+strconv.Itoa(rng.IntN(255)+1)+" "+strconv.FormatInt(off, 10)+" "+strconv.FormatInt(n, 10))
		}
		output(t, io, append(args, path)...)
		output(t, qemu, "convert", "-f", "vpc", "-O", "raw", path, raw)
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(raw)
		if err != nil {
			t.Fatal(err)
		}
		disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) { return open(t, file), bytes.NewReader(want) })
	}
}
