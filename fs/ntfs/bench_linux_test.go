package ntfs_test

import (
	"fmt"
	"io"
	iofs "io/fs"
	"os"
	"runtime"
	"testing"
	"time"
)

func BenchmarkReadBigFile(b *testing.B) {
	const size = 64 << 20
	w := &tree{t: b, files: make(map[string][]byte)}
	f := openImage(b, fresh(b, 128<<20, nil, "streams_interface=none,compression", func(dir string) {
		w.dir = dir
		w.write("plain", random(1, size))
		w.mkdir("packed")
		w.xattr("packed", "system.ntfs_attrib_be", []byte{0, 0, 8, 0x10})
		w.write("packed/text", text(16<<20))
	}))
	for _, name := range []string{"plain", "packed/text"} {
		b.Run(name, func(b *testing.B) {
			file, err := f.Open(name)
			if err != nil {
				b.Fatal(err)
			}
			info, err := file.Stat()
			if err != nil {
				b.Fatal(err)
			}
			buf := make([]byte, 1<<20)
			b.SetBytes(info.Size())
			b.ReportAllocs()
			for b.Loop() {
				for off := int64(0); off < info.Size(); off += int64(len(buf)) {
					if _, err := file.(io.ReaderAt).ReadAt(buf, off); err != nil && err != io.EOF {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

// A folder of 200,000 files takes ntfs-3g minutes to make.
func TestFolderOf200000FilesIsListed(t *testing.T) {
	if os.Getenv("VITRINE_SOAK") == "" {
		t.Skip("takes minutes: set VITRINE_SOAK=1")
	}
	const files = 200_000
	f := openImage(t, fresh(t, 512<<20, nil, "streams_interface=none", func(dir string) {
		for i := range files {
			file, err := os.Create(fmt.Sprintf("%s/file %06d", dir, i))
			if err != nil {
				t.Fatal(err)
			}
			file.Close()
		}
	}))
	began := time.Now()
	all, err := f.ReadDir(".")
	if err != nil || len(all) != files {
		t.Fatalf("%d entries: %v", len(all), err)
	}
	t.Log("names", time.Since(began))
	for _, e := range all {
		if _, err := e.Info(); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("and attributes", time.Since(began))
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	t.Log("heap", m.HeapAlloc>>20, "MiB")
	for i := 0; i < files; i += 7 {
		if _, err := iofs.Stat(f, fmt.Sprintf("FILE %06d", i)); err != nil {
			t.Fatal(err)
		}
	}
	t.Log("and every seventh by name", time.Since(began))
}
