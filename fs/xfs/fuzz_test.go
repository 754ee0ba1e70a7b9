package xfs_test

import (
	"bytes"
	"context"
	"io"
	iofs "io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/xfs"
)

// explore reads what a volume offers, up to a limit, and ignores its errors.
func explore(v *xfs.FS, limit int) {
	ctx := context.Background()
	buf := make([]byte, 1<<16)
	iofs.WalkDir(v, ".", func(name string, d iofs.DirEntry, err error) error {
		if limit--; limit < 0 || strings.Count(name, "/") > 20 {
			return iofs.SkipAll
		}
		if err != nil {
			return nil
		}
		d.Info()
		v.ReadLink(name)
		v.Extents(name)
		if f, err := v.Open(name); err == nil {
			if r, ok := f.(io.ReaderAt); ok && !d.IsDir() {
				for off := int64(0); off < 1<<20; off += int64(len(buf)) {
					if _, err := r.ReadAt(buf, off); err != nil {
						break
					}
				}
				f.(interface {
					NextData(int64) (int64, int64, error)
				}).NextData(0)
			}
			f.Close()
		}
		return nil
	})
	for _, err := range v.Free(ctx) {
		if err != nil {
			break
		}
	}
}

// patched is an image with some bytes replaced, without a copy of the rest.
type patched struct {
	b     []byte
	edits map[int64]byte
}

func (p *patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := bytes.NewReader(p.b).ReadAt(b, off)
	for at, x := range p.edits {
		if at >= off && at < off+int64(n) {
			b[at-off] = x
		}
	}
	return n, err
}

// FuzzVolume changes bytes of a small volume without checksums, where most
// structures lie: each edit is three bytes of place, in units that reach the
// whole image, and one of value.
func FuzzVolume(f *testing.F) {
	images := [][]byte{gunzip(f, filepath.Join(dataDir(f), "dissect.xfs/xfs.bin.gz"))}
	if image := protoImage(f); image != nil {
		images = append(images, image)
	}
	var metadata [][]int64
	for _, b := range images {
		var places []int64 // sectors that are not empty
		for at := 0; at+512 <= len(b); at += 512 {
			if !bytes.Equal(b[at:at+512], make([]byte, 512)) {
				places = append(places, int64(at))
			}
		}
		metadata = append(metadata, places)
	}
	f.Add(byte(0), []byte{0, 0, 0, 0})
	f.Add(byte(1), []byte{0, 0, 4, 1, 0, 1, 7, 9})
	f.Add(byte(1), bytes.Repeat([]byte{1, 2, 3, 4, 0xff}, 20))
	f.Fuzz(func(t *testing.T, which byte, edits []byte) {
		k := int(which) % len(images)
		p := &patched{images[k], make(map[int64]byte)}
		for ; len(edits) >= 4 && len(p.edits) < 64; edits = edits[4:] {
			sector := metadata[k][(int(edits[0])<<8|int(edits[1]))%len(metadata[k])]
			p.edits[sector+int64(edits[2])*2+int64(edits[3]&1)] = edits[3]
		}
		v, err := xfs.Open(p, int64(len(p.b)))
		if err != nil {
			return
		}
		explore(v, 60)
	})
}

// protoImage is a version 4 volume with files and directories of all forms;
// nil where it cannot be made.
func protoImage(f testing.TB) []byte {
	if !has("mkfs.xfs") {
		return nil
	}
	dir := f.TempDir()
	var proto strings.Builder
	proto.WriteString("/dev/null\n0 0\nd--755 7 8\n")
	proto.WriteString("link l--777 0 0 " + strings.Repeat("many/", 60) + "\n")
	full := filepath.Join(dir, "content")
	if err := os.WriteFile(full, bytes.Repeat([]byte("content"), 3000), 0o600); err != nil {
		f.Fatal(err)
	}
	proto.WriteString("file ---644 0 0 " + full + "\nmany d--755 0 0\n")
	for i := range 300 {
		proto.WriteString(strings.Repeat("e", 30+i%7) + string(rune('a'+i%26)) + string(rune('a'+i/26)) + " ---644 0 0 /dev/null\n")
	}
	proto.WriteString("$\n$\n")
	list := filepath.Join(dir, "proto")
	if err := os.WriteFile(list, []byte(proto.String()), 0o600); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(mkfs(f, 320<<20, "-m", "crc=0", "-p", list))
	if err != nil {
		f.Fatal(err)
	}
	return b
}
