package ntfs_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/ntfs"
	"vitrine/fs/vhd"
	"vitrine/fs/vhdx"
)

// volume returns a real volume out of the image that holds it.
func volume(t testing.TB, file string) []byte {
	t.Helper()
	b := disktest.File(t, file)
	var d disk.Disk
	switch {
	case strings.Contains(file, ".vhdx"):
		im, err := vhdx.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if d, err = vhdx.Chain(im); err != nil {
			t.Fatal(err)
		}
	case strings.Contains(file, ".vhd"):
		im, err := vhd.Open(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if d, err = vhd.Chain(im); err != nil {
			t.Fatal(err)
		}
	default:
		d = disktest.Memory(b)
	}
	raw := make([]byte, d.Size())
	if err := disk.ReadFull(t.Context(), d, raw, 0); err != nil {
		t.Fatal(err)
	}
	if file == "ColinFinck-ntfs/testfs1" {
		return raw
	}
	const sector = 512
	size := int64(raw[446+12]) | int64(raw[446+13])<<8 | int64(raw[446+14])<<16 | int64(raw[446+15])<<24
	return raw[128*sector : (128+size)*sector]
}

func open(t testing.TB, b []byte) *ntfs.FS {
	t.Helper()
	f, err := ntfs.Open(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var samples = []struct {
	file, facts string
	dirty       bool
}{
	{file: "ColinFinck-ntfs/testfs1", facts: "colinfinck-testfs1"},
	{file: "dfir_ntfs/ntfs_index.raw.gz", facts: "dfir-ntfs_index-p1"},
	{file: "dissect.hypervisor/dynamic.vhdx.gz", facts: "dissect-dynamic.vhdx"},
	{file: "dissect.hypervisor/fixed.vhdx.gz", facts: "dissect-fixed.vhdx"},
	{file: "dissect.hypervisor/dynamic.vhd.gz", facts: "dissect-dynamic.vhd"},
	{file: "dissect.hypervisor/fixed.vhd.gz", facts: "dissect-fixed.vhd"},
}

func sum(t testing.TB, f iofs.FS, name string) (int64, string) {
	t.Helper()
	file, err := f.Open(name)
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.Copy(h, file)
	if err != nil {
		t.Error(err)
	}
	return n, fmt.Sprintf("%x", h.Sum(nil))
}

func TestRealVolumesHaveTheirKnownFiles(t *testing.T) {
	for _, tt := range samples {
		t.Run(tt.facts, func(t *testing.T) {
			f := open(t, volume(t, tt.file))
			want := make(map[string]bool)
			for line := range strings.Lines(string(disktest.File(t, "facts/"+tt.facts+".ntfs-3g.tsv"))) {
				col := strings.Split(strings.TrimRight(line, "\n"), "\t")
				name := strings.TrimPrefix(col[0], "/")
				want[name] = true
				if strings.HasPrefix(col[3], "err:") {
					continue // ntfs-3g shows indexes without data as unreadable
				}
				info, err := f.Lstat(name)
				if err != nil {
					t.Error(err)
					continue
				}
				if info.IsDir() != (col[1] == "d") {
					t.Errorf("%s: mode %v, want %s", name, info.Mode(), col[1])
				}
				if col[1] != "f" {
					continue
				}
				n, got := sum(t, f, name)
				if strconv.FormatInt(n, 10) != col[2] || got != col[3] || info.Size() != n {
					t.Errorf("%s: %d bytes %s, want %s bytes %s", name, n, got, col[2], col[3])
				}
			}
			err := iofs.WalkDir(f, ".", func(path string, d iofs.DirEntry, err error) error {
				if path != "." && !want[path] {
					t.Errorf("%s is listed, ntfs-3g does not know it", path)
				}
				delete(want, path)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			for name := range want {
				if !strings.HasPrefix(name, "$") || strings.HasPrefix(name, "$RECYCLE") {
					t.Errorf("%s is not listed", name)
				}
			}
			t.Log(f.Type(), f.Label(), f.UUID(), f.Notes(), f.HasShadowCopies(), f.Hibernated())
		})
	}
}

func TestRealVolumesHaveTheirKnownStreams(t *testing.T) {
	for _, tt := range samples[:2] {
		f := open(t, volume(t, tt.file))
		facts := "facts/" + strings.TrimSuffix(tt.facts, "-p1") + ".tsk-ntfs.tsv"
		for line := range strings.Lines(string(disktest.File(t, facts))) {
			col := strings.Split(strings.TrimRight(line, "\n"), "\t")
			id := strings.Split(col[1], "-")
			if id[1] != "128" || col[0] == "$BadClus:$Bad" {
				continue // a hole as large as the volume, which has no content for others
			}
			n, got := sum(t, f, col[0])
			if strconv.FormatInt(n, 10) != col[2] || got != col[3] {
				t.Errorf("%s: %d bytes %s, want %s bytes %s", col[0], n, got, col[2], col[3])
			}
		}
	}
}

func TestVolumesAreFileSystems(t *testing.T) {
	for _, tt := range samples {
		t.Run(tt.facts, func(t *testing.T) {
			f := open(t, volume(t, tt.file))
			if err := fstest.TestFS(f, listed(t, f)...); err != nil {
				t.Error(err)
			}
		})
	}
}

// listed returns the paths of all files.
func listed(t testing.TB, f iofs.FS) []string {
	var all []string
	err := iofs.WalkDir(f, ".", func(path string, d iofs.DirEntry, err error) error {
		if path != "." {
			all = append(all, path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return all
}

func TestFreeSpaceOfRealVolumesIsOutsideOfAllFiles(t *testing.T) {
	for _, tt := range samples {
		t.Run(tt.facts, func(t *testing.T) {
			f := open(t, volume(t, tt.file))
			free := new(disk.Set)
			for e, err := range f.Free(t.Context()) {
				if err != nil {
					t.Fatal(err)
				}
				free.Add(e.Off, e.End())
			}
			if free.Bytes() == 0 {
				t.Error("nothing is free")
			}
			err := iofs.WalkDir(f, ".", func(path string, d iofs.DirEntry, err error) error {
				if err != nil || d.IsDir() {
					return err
				}
				file, err := f.Open(path)
				if err != nil {
					return err
				}
				defer file.Close()
				for _, e := range file.(interface{ Extents() []disk.Extent }).Extents() {
					if free.Overlaps(e.Off, e.End()) {
						t.Errorf("%s lies in free space", path)
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestMissingNamesDoNotExist(t *testing.T) {
	f := open(t, volume(t, samples[0].file))
	for _, name := range []string{"none", "empty-file/x", "empty-file:none", "many_subdirs/1000", "../x"} {
		if _, err := f.Open(name); !errors.Is(err, iofs.ErrNotExist) && !errors.Is(err, iofs.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
