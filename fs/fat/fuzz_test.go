package fat_test

import (
	"bytes"
	"context"
	"io"
	iofs "io/fs"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/fat"
)

// explore reads what a volume offers, up to a limit, and ignores its errors.
func explore(v *fat.FS, limit int) {
	buf := make([]byte, 1<<16)
	iofs.WalkDir(v, ".", func(name string, d iofs.DirEntry, err error) error {
		if limit--; limit < 0 || strings.Count(name, "/") > 20 {
			return iofs.SkipAll
		}
		if err != nil {
			return nil
		}
		d.Info()
		v.Extents(name)
		if f, err := v.Open(name); err == nil {
			if r, ok := f.(io.ReaderAt); ok {
				for off := int64(0); off < 1<<20; off += int64(len(buf)) {
					if _, err := r.ReadAt(buf, off); err != nil {
						break
					}
				}
			}
			f.Close()
		}
		return nil
	})
	for _, err := range v.Free(context.Background()) {
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

// FuzzVolume changes bytes of real volumes in sectors that are not empty: each
// edit is three bytes of place and one of value. Checksums of exFAT sets are
// made right again by chance only.
func FuzzVolume(f *testing.F) {
	var images [][]byte
	for _, name := range []string{"exfat_win", "fat32_loop", "fat32_small", "fat_lfn_test"} {
		images = append(images, gunzip(f, filepath.Join(dataDir(f), "dfir_ntfs", name+".raw.gz")))
	}
	var places [][]int64
	for _, b := range images {
		var list []int64
		for at := 0; at+512 <= len(b); at += 512 {
			if !bytes.Equal(b[at:at+512], make([]byte, 512)) {
				list = append(list, int64(at))
			}
		}
		places = append(places, list)
	}
	f.Add(byte(0), []byte{0, 0, 0, 0})
	f.Add(byte(1), []byte{0, 0, 4, 1, 0, 1, 7, 9})
	f.Add(byte(2), bytes.Repeat([]byte{0, 2, 3, 4, 0, 0xff}, 20))
	f.Add(byte(3), []byte{0, 3, 16, 2})
	f.Fuzz(func(t *testing.T, which byte, edits []byte) {
		k := int(which) % len(images)
		p := &patched{images[k], make(map[int64]byte)}
		for ; len(edits) >= 4 && len(p.edits) < 64; edits = edits[4:] {
			sector := places[k][(int(edits[0])<<8|int(edits[1]))%len(places[k])]
			p.edits[sector+int64(edits[2])*2+int64(edits[3]&1)] = edits[3]
		}
		fat.Probe(p, int64(len(p.b)))
		v, err := fat.Open(p, int64(len(p.b)))
		if err != nil {
			return
		}
		explore(v, 60)
	})
}
