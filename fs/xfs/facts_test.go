package xfs_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"vitrine/fs/xfs"
)

// foreign are the images of others and the facts about them.
func foreign() map[string]string {
	return map[string]string{
		"dissect.xfs/xfs.bin.gz":               "dissect-xfs.kernel-xfs-ro_norecovery_nouuid.tsv",
		"dissect.xfs/xfs_symlink_test1.bin.gz": "dissect-xfs_symlink1.kernel-xfs-ro_norecovery_nouuid.tsv",
	}
}

func TestForeignVolumesReadAsTheKernelReadsThem(t *testing.T) {
	dir := dataDir(t)
	for image, table := range foreign() {
		t.Run(filepath.Base(image), func(t *testing.T) {
			v := openBytes(t, gunzip(t, filepath.Join(dir, image)))
			got := make(map[string]string)
			err := iofs.WalkDir(v, ".", func(name string, d iofs.DirEntry, err error) error {
				if err != nil || name == "." {
					return err
				}
				i, err := d.Info()
				if err != nil {
					return err
				}
				switch {
				case d.IsDir():
					got["/"+name] = "d\t0\t"
				case d.Type() == iofs.ModeSymlink:
					target, err := v.ReadLink(name)
					got["/"+name] = "l\t" + strconv.FormatInt(i.Size(), 10) + "\t" + target
					return err
				default:
					b, err := iofs.ReadFile(v, name)
					sum := sha256.Sum256(b)
					got["/"+name] = "f\t" + strconv.FormatInt(i.Size(), 10) + "\t" + hex.EncodeToString(sum[:])
					return err
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(filepath.Join(dir, "facts", table))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			want := make(map[string]string)
			for s := bufio.NewScanner(f); s.Scan(); {
				name, rest, _ := strings.Cut(s.Text(), "\t")
				want[name] = rest
			}
			same(t, got, want)
			for name := range want {
				if err := fstest.TestFS(v, name[1:]); err != nil {
					t.Error(err)
				}
				break
			}
		})
	}
}

func TestSymlinksAreFollowedInsideTheVolume(t *testing.T) {
	v := openBytes(t, gunzip(t, filepath.Join(dataDir(t), "dissect.xfs/xfs_symlink_test1.bin.gz")))
	got, err := iofs.ReadFile(v, "path/to/dir/with/file.ext")
	if err != nil || len(got) != 10 {
		t.Fatalf("got %q, %v; want 10 bytes", got, err)
	}
	through, err := iofs.ReadFile(v, "other/path/source/to/my/file.ext")
	if err != nil || string(through) != string(got) {
		t.Errorf("through a linked folder: %q, %v", through, err)
	}
}

func TestProbeWantsTheSignature(t *testing.T) {
	b := gunzip(t, filepath.Join(dataDir(t), "dissect.xfs/xfs.bin.gz"))
	if !xfs.Probe(strings.NewReader(string(b)), int64(len(b))) {
		t.Error("an XFS volume is not recognised")
	}
	b[0] = 'Y'
	if xfs.Probe(strings.NewReader(string(b)), int64(len(b))) || xfs.Probe(strings.NewReader("XFSB"), 4) {
		t.Error("something else is recognised")
	}
}
