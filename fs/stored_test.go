package fs_test

import (
	"bytes"
	"testing"
	"time"

	"vitrine/fs"
	"vitrine/fs/fstest"
	"vitrine/fs/vhdx"
	"vitrine/repo"
	"vitrine/repo/mem"
)

// source makes a stored image of a content.
type source struct{ fstest.Content }

func (s source) Size() int64 { return s.Content.Size }

func (s source) ReadAt(p []byte, off int64) (int, error) { return s.Read(p, off) }

// What a real repository holds comes out of the tree, and the presented VHDX
// is read as one by the code that reads those of others.
func TestARealRepository(t *testing.T) {
	ctx := t.Context()
	r, _, err := repo.Init(ctx, mem.New(), repo.InitOptions{NoEncryption: true, Options: repo.Options{CacheDir: t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w, err := r.NewWriter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c := fstest.Content{Size: 40 << 20, Seed: 7, Data: [][2]int64{{0, 1 << 20}, {5<<20 + 4096, 9 << 20}, {39 << 20, 40 << 20}}}
	ref, _, err := w.StoreImage(ctx, source{c}, repo.ImageOptions{Block: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	when := time.Date(2026, 11, 22, 22, 0, 5, 0, time.UTC)
	err = w.Commit(ctx, &repo.RestorePoint{
		Machine: "3f2a9c1e-0000-4000-8000-000000000001", Name: "SQL01", Time: when, Started: when, Finished: when,
		Disks: []repo.Disk{{
			Name: "os.vhdx", Format: "vhdx", Layout: vhdx.Layout1,
			DiskID: "a0000000-0000-4000-8000-000000000001", FileID: "a0000000-0000-4000-8000-000000000002", DataID: "a0000000-0000-4000-8000-000000000003",
			BlockSize: 1 << 20, LogicalSector: 512, PhysicalSector: 4096, Image: ref,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tree, err := fs.New(ctx, fs.Repo(r), fs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	want := make([]byte, c.Size)
	if _, err := c.Read(want, 0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, c.Size)
	raw, _ := open(t, tree, "SQL01/2026-11-22T22-00-05Z/raw/os.raw")
	if _, err := raw.ReadAt(ctx, got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the flat image differs")
	}
	file, info := open(t, tree, "SQL01/2026-11-22T22-00-05Z/os.vhdx")
	img, err := vhdx.Open(readerAt{t, file}, info.Size)
	if err != nil {
		t.Fatal(err)
	}
	clear(got)
	if _, err := img.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the disk in the VHDX differs")
	}
	if s := tree.Status(); s.Cache.Misses == 0 {
		t.Errorf("the status knows nothing of the cache: %+v", s.Cache)
	}
}

func open(t *testing.T, tree *fs.Tree, path string) (fs.Handle, fs.Info) {
	t.Helper()
	n, err := fs.Walk(t.Context(), tree.Root(), path)
	if err != nil {
		t.Fatal(err)
	}
	i, err := n.Stat(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h, err := n.(fs.File).Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h, i
}

type readerAt struct {
	t *testing.T
	h fs.Handle
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) { return r.h.ReadAt(r.t.Context(), p, off) }
