package ext4_test

import (
	"errors"
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"vitrine/fs/ext4"
)

// bulk is a volume with a big file and a folder of 200,000 files.
func bulk(b *testing.B) *ext4.FS {
	b.Helper()
	image := makeImage(b, 600, "-N", "210000", "-b", "4096")
	dir := mount(b, image, "")
	must(b, os.WriteFile(filepath.Join(dir, "big"), pattern(256<<20, 1), 0o644))
	must(b, os.Mkdir(filepath.Join(dir, "many"), 0o755))
	for i := range 200000 {
		must(b, unix.Mknod(filepath.Join(dir, "many", fmt.Sprintf("a file with the number %06d", i)), unix.S_IFREG|0o644, 0))
	}
	umount(b, dir)
	return openFile(b, image)
}

func BenchmarkVolume(b *testing.B) {
	fsys := bulk(b)
	b.Run("BigFile", func(b *testing.B) {
		f, err := fsys.Open("big")
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		buf := make([]byte, 1<<20)
		b.SetBytes(256 << 20)
		b.ReportAllocs()
		for b.Loop() {
			for off := int64(0); off < 256<<20; off += int64(len(buf)) {
				if _, err := f.(io.ReaderAt).ReadAt(buf, off); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("List", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			list, err := fsys.ReadDir("many")
			if err != nil || len(list) != 200000 {
				b.Fatal(len(list), err)
			}
			for _, d := range list {
				if _, err := d.Info(); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("Lookup", func(b *testing.B) {
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			if _, err := fsys.Lstat(fmt.Sprintf("many/a file with the number %06d", i%200000)); err != nil {
				b.Fatal(err)
			}
			i += 7919
		}
	})
	b.Run("Miss", func(b *testing.B) {
		for b.Loop() {
			if _, err := fsys.Lstat("many/" + strings.Repeat("x", 30)); !errors.Is(err, iofs.ErrNotExist) {
				b.Fatal(err)
			}
		}
	})
}
