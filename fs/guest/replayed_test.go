package guest_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"vitrine/fs/disk/disktest"
	"vitrine/fs/guest"
)

// TestAVolumeInUseIsKept backs up a volume whose journal had to be replayed:
// nobody knows whether it was copied in one moment.
func TestAVolumeInUseIsKept(t *testing.T) {
	data := os.Getenv("VITRINE_TEST_DATA")
	if data == "" {
		data = filepath.Join("..", "..", "..", "shared", "data")
	}
	packed, err := os.ReadFile(filepath.Join(data, "ext4-view-rs", "test_disk_4k_block_journal.bin.zst"))
	if err != nil {
		t.Skipf("a volume with a dirty journal is missing: %v", err)
	}
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	image, err := z.DecodeAll(packed, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := guest.LeftOut(context.Background(), []guest.Disk{{Name: "d", R: disktest.Memory(image)}}, guest.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Disks[0].Bytes(); n != 0 || len(p.Left) != 0 || len(p.Kept) != 1 || p.Kept[0].Why == "" {
		t.Fatalf("%d bytes are left out: %+v; kept %+v", n, p.Left, p.Kept)
	}
}
