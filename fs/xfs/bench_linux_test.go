package xfs_test

import (
	"fmt"
	"io"
	"os"
	"testing"
)

func BenchmarkReadBigFile(b *testing.B) {
	const size = 256 << 20
	image := mkfs(b, 1<<30)
	withMount(b, image, "", func(dir string) { check(b, os.WriteFile(dir+"/big", noise(1, size), 0o644)) })
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
	image := mkfs(b, 2<<30)
	withMount(b, image, "", func(dir string) {
		for i := range count {
			f, err := os.Create(fmt.Sprintf("%s/entry number %d", dir, i))
			check(b, err)
			f.Close()
		}
	})
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			v := openImage(b, image)
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
		v := openImage(b, image)
		for i := 0; b.Loop(); i++ {
			_, err := v.Stat(fmt.Sprintf("entry number %d", i*7919%count))
			check(b, err)
		}
	})
}
