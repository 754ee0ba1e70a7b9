package raw_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/raw"
)

// file writes data with holes where it has whole pages of zeros.
func file(t testing.TB, data []byte) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(int64(len(data))); err != nil {
		t.Fatal(err)
	}
	for x, err := range disk.Data(disktest.Memory(data)) {
		if err == nil {
			_, err = f.WriteAt(data[x.Off:x.End()], x.Off)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func open(t testing.TB, f *os.File, now time.Time) *raw.Disk {
	t.Helper()
	d, err := raw.Open(f, now)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDiskKeepsTheContract(t *testing.T) {
	sparse := disktest.Sparse(1, 20<<20+100, 6)
	for name, data := range map[string][]byte{
		"sparse": sparse, "holes only": make([]byte, 3<<20), "empty": nil, "one byte": {1}, "full": disktest.Random(1, 70001),
	} {
		for age, now := range map[string]time.Time{"live": time.Now(), "settled": time.Now().Add(time.Hour)} {
			t.Run(name+" "+age, func(t *testing.T) {
				f := file(t, data)
				disktest.Run(t, func(t *testing.T) (disk.Disk, disktest.Oracle) {
					return open(t, f, now), bytes.NewReader(data)
				})
			})
		}
	}
}

// sparseFile is 32 MiB of which 64 KiB in the middle are data.
func sparseFile(t testing.TB) *os.File {
	data := make([]byte, 32<<20)
	disktest.Fill(data[16<<20:16<<20+64<<10], 1)
	return file(t, data)
}

func dataBytes(t testing.TB, d disk.Disk) (n int64) {
	t.Helper()
	for x, err := range disk.Data(d) {
		if err != nil {
			t.Fatal(err)
		}
		n += x.Len
	}
	return n
}

func TestHolesAreBelievedOnlyWhenSettled(t *testing.T) {
	f := sparseFile(t)
	if got := dataBytes(t, open(t, f, time.Now().Add(time.Hour))); got > 1<<20 {
		t.Skipf("the file system of %s has no holes: set TMPDIR to a folder on ext4, XFS, Btrfs or tmpfs", f.Name())
	}
	for name, now := range map[string]time.Time{
		"just written":      time.Now(),
		"a moment ago":      time.Now().Add(30 * time.Second),
		"in the future":     time.Now().Add(-time.Hour),
		"long in the clock": time.Now().Add(-20 * 365 * 24 * time.Hour),
	} {
		if got, want := dataBytes(t, open(t, f, now)), int64(32<<20); got != want {
			t.Errorf("%s: %d bytes of data, want %d", name, got, want)
		}
	}
}

func TestOldModificationTimeAloneDoesNotSettleAFile(t *testing.T) {
	f := sparseFile(t)
	old := time.Now().Add(-24 * time.Hour)
	if err := os.Chtimes(f.Name(), old, old); err != nil {
		t.Fatal(err)
	}
	if got, want := dataBytes(t, open(t, f, time.Now())), int64(32<<20); got != want {
		t.Errorf("%d bytes of data, want %d", got, want)
	}
}

func TestHolesAreDoubtedOnceTheFileChanges(t *testing.T) {
	f := sparseFile(t)
	d := open(t, f, time.Now().Add(time.Hour))
	if dataBytes(t, d) > 1<<20 {
		t.Skipf("the file system of %s has no holes: set TMPDIR to a folder on ext4, XFS, Btrfs or tmpfs", f.Name())
	}
	later := time.Now().Add(time.Second)
	if err := os.Chtimes(f.Name(), later, later); err != nil {
		t.Fatal(err)
	}
	if got, want := dataBytes(t, d), int64(32<<20); got != want {
		t.Errorf("%d bytes of data, want %d", got, want)
	}
}

func TestFileThatShrinksIsAnErrorAndNoZeros(t *testing.T) {
	f := file(t, disktest.Random(1, 1<<20))
	d := open(t, f, time.Now())
	if err := f.Truncate(1000); err != nil {
		t.Fatal(err)
	}
	n, err := d.ReadAt(make([]byte, 4096), 0)
	if n != 1000 || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %d, %v; want 1000, %v", n, err, io.ErrUnexpectedEOF)
	}
}

func TestOpenRefusesWhatIsNoDisk(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, f := range []*os.File{dir, r} {
		if _, err := raw.Open(f, time.Now()); err == nil {
			t.Errorf("%s opens as a disk", f.Name())
		}
	}
}
