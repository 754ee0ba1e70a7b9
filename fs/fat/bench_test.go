package fat_test

import (
	"fmt"
	"io"
	"os"
	"testing"
)

func BenchmarkReadBigFile(b *testing.B) {
	need(b, "mkfs.vfat", "mcopy")
	const size = 256 << 20
	image := mkfs(b, 512<<20, "mkfs.vfat", "-F", "32")
	dir := b.TempDir()
	check(b, os.WriteFile(dir+"/big", noise(1, size), 0o644))
	copyIn(b, image, dir)
	v := openImage(b, image)
	f, err := v.Open("big")
	check(b, err)
	buf := make([]byte, 1<<20)
	b.SetBytes(size)
	b.ReportAllocs()
	for b.Loop() {
		_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.NewSectionReader(f.(io.ReaderAt), 0, size), buf)
		check(b, err)
	}
}

func BenchmarkListBigDirectory(b *testing.B) {
	const count = 200_000
	v := openBytes(b, bigDirectory(b, count))
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			list, err := v.ReadDir(".")
			check(b, err)
			for _, e := range list {
				_, err := e.Info()
				check(b, err)
			}
			if len(list) != count {
				b.Fatal(len(list))
			}
		}
	})
	b.Run("find", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			_, err := v.Stat(fmt.Sprintf("entry number %d", i*7919%count))
			check(b, err)
		}
	})
}
