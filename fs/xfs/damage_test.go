package xfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	iofs "io/fs"
	"path/filepath"
	"strings"
	"testing"

	"vitrine/fs/xfs"
)

// seal puts the right checksum into a superblock.
func seal(b []byte) {
	sector := binary.BigEndian.Uint16(b[102:])
	binary.LittleEndian.PutUint32(b[224:], 0)
	sum := crc32.Checksum(b[:sector], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(b[224:], sum)
}

func TestUnknownFeaturesAreRefusedByName(t *testing.T) {
	image := gunzip(t, filepath.Join(dataDir(t), "dissect.xfs/xfs.bin.gz"))
	for bit, want := range map[uint32]string{
		0x10:       "needsrepair",
		0x100:      "metadata directories",
		0x200:      "zoned",
		0x80000000: "incompat 0x80000000",
	} {
		b := bytes.Clone(image)
		binary.BigEndian.PutUint32(b[216:], binary.BigEndian.Uint32(b[216:])|bit)
		seal(b)
		_, err := xfs.Open(bytes.NewReader(b), int64(len(b)))
		var refused *xfs.FeatureError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || refused.Hint() == "" {
			t.Errorf("bit %#x: %v; want %s", bit, err, want)
		}
	}
	b := bytes.Clone(image)
	b[215] |= 0x40 // read-only compatible
	seal(b)
	v := openBytes(t, b)
	if ok, why := v.Consistent(); ok || !strings.Contains(why, "0x40") {
		t.Errorf("unknown read-only features: %v %q", ok, why)
	}
}

func TestBadSuperblocksAreRefused(t *testing.T) {
	image := gunzip(t, filepath.Join(dataDir(t), "dissect.xfs/xfs.bin.gz"))
	for name, change := range map[string]func(b []byte){
		"signature":   func(b []byte) { b[0] = 0 },
		"checksum":    func(b []byte) { b[108] ^= 1 },
		"block size":  func(b []byte) { b[6] = 0x20; seal(b) },
		"block log":   func(b []byte) { b[120] = 60; seal(b) },
		"sector size": func(b []byte) { b[102], b[103] = 1, 0; seal(b) },
		"inode size":  func(b []byte) { b[104] = 0; seal(b) },
		"per block":   func(b []byte) { b[123] = 9; seal(b) },
		"group size":  func(b []byte) { b[84] = 0x80; seal(b) },
		"group log":   func(b []byte) { b[124] = 31; seal(b) },
		"groups":      func(b []byte) { b[88] = 0xff; seal(b) },
		"blocks":      func(b []byte) { b[8] = 0xff; seal(b) },
		"directories": func(b []byte) { b[192] = 200; seal(b) },
		"unfinished":  func(b []byte) { b[126] = 1; seal(b) },
		"root":        func(b []byte) { b[56] = 0xff; seal(b) },
		"version":     func(b []byte) { b[101] = b[101]&0xf0 | 3; seal(b) },
	} {
		b := bytes.Clone(image)
		change(b)
		if _, err := xfs.Open(bytes.NewReader(b), int64(len(b))); err == nil {
			t.Errorf("a bad %s is accepted", name)
		}
	}
	for _, n := range []int{0, 1, 511, 512, 32767, 65536} {
		if _, err := xfs.Open(bytes.NewReader(image[:n]), int64(n)); err == nil {
			t.Errorf("%d bytes are a volume", n)
		}
	}
}

func TestDamageStaysWithItsFile(t *testing.T) {
	b := gunzip(t, filepath.Join(dataDir(t), "dissect.xfs/xfs.bin.gz"))
	v := openBytes(t, b)
	i, err := v.Stat("test_file")
	if err != nil {
		t.Fatal(err)
	}
	ino := i.Sys().(interface{ Inode() uint64 }).Inode()
	var id [8]byte
	binary.BigEndian.PutUint64(id[:], ino)
	at := -1 // where the inode lies: it carries its number
	for k := 0; k+512 <= len(b); k += 512 {
		if b[k] == 'I' && b[k+1] == 'N' && bytes.Equal(b[k+152:k+160], id[:]) {
			at = k
		}
	}
	if at < 0 {
		t.Fatal("the inode is not found")
	}
	b[at+60] ^= 0x40
	v = openBytes(t, b)
	var bad *xfs.CorruptError
	if _, err := iofs.ReadFile(v, "test_file"); !errors.As(err, &bad) || bad.Off != int64(at) || !strings.Contains(bad.Object, fmt.Sprint(ino)) {
		t.Errorf("got %v, want damage at %d", err, at)
	}
	if _, err := iofs.ReadFile(v, "test_dir/test_file"); err != nil {
		t.Errorf("another file: %v", err)
	}
	list, err := v.ReadDir(".")
	if err != nil || len(list) != 3 {
		t.Errorf("%d entries, %v", len(list), err)
	}
}

func TestCutVolumeGivesWhatItHas(t *testing.T) {
	b := gunzip(t, filepath.Join(dataDir(t), "dissect.xfs/xfs.bin.gz"))
	v, err := xfs.Open(bytes.NewReader(b[:len(b)/2]), int64(len(b)/2))
	if err != nil {
		return // what is needed to open lies behind the cut
	}
	if ok, _ := v.Consistent(); ok {
		t.Error("a cut volume's free space is trusted")
	}
	explore(v, 100)
}
