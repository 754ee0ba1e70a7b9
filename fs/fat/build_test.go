package fat_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"testing"
	"unicode/utf16"
)

// bigDirectory makes an exFAT volume with count empty files in its root, which
// drivers need very long for.
func bigDirectory(t testing.TB, count int) []byte {
	t.Helper()
	b, err := os.ReadFile(mkfs(t, 64<<20, "mkfs.exfat", "-c", "4K"))
	check(t, err)
	u32 := binary.LittleEndian.Uint32
	shift := b[108]
	table, heap, root := int64(u32(b[80:]))<<shift, int64(u32(b[88:]))<<shift, int64(u32(b[96:]))
	place := func(cluster int64) int64 { return heap + (cluster-2)*4096 }

	var entries []byte
	for at := place(root); b[at] != 0; at += 32 {
		entries = append(entries, b[at:at+32]...)
	}
	for i := range count {
		units := utf16.Encode([]rune(fmt.Sprintf("entry number %d", i)))
		set := make([]byte, 32*(2+(len(units)+14)/15))
		set[0], set[1], set[4] = 0x85, byte(len(set)/32-1), 0x20
		set[32], set[33], set[35] = 0xc0, 1, byte(len(units))
		for k, u := range units {
			at := 64 + k/15*32
			set[at] = 0xc1
			binary.LittleEndian.PutUint16(set[at+2+k%15*2:], u)
		}
		reseal(set)
		entries = append(entries, set...)
	}
	copy(b[place(root):place(root)+4096], entries)
	last := root
	for at, next := 4096, root+100; at < len(entries); at, next = at+4096, next+1 {
		binary.LittleEndian.PutUint32(b[table+4*last:], uint32(next))
		clear(b[place(next) : place(next)+4096])
		copy(b[place(next):place(next)+4096], entries[at:])
		last = next
	}
	binary.LittleEndian.PutUint32(b[table+4*last:], 0xffffffff)
	return b
}

func TestBigDirectoryIsListedAndSearched(t *testing.T) {
	const count = 20_000
	v := openBytes(t, bigDirectory(t, count))
	list, err := v.ReadDir(".")
	if err != nil || len(list) != count {
		t.Fatalf("%d entries, %v", len(list), err)
	}
	for i := 0; i < count; i += 111 {
		if _, err := v.Stat(fmt.Sprintf("Entry Number %d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := v.Stat("entry number 20000"); err == nil {
		t.Error("a file is found that is not there")
	}
}
