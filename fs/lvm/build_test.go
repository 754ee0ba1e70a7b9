package lvm_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"vitrine/fs/disk"
	"vitrine/fs/disk/disktest"
	"vitrine/fs/lvm"
)

// Members made by hand: extents of 64 KiB, the first at 64 KiB, metadata in
// the 32 KiB behind the label.
const (
	unit      = 64 << 10
	areaAt    = 4096
	areaSize  = 32 << 10
	firstAt   = 64 << 10
	magic     = " LVM2 x[5A%r0N*>"
	thinChunk = 64 << 10
)

func sum(b []byte) uint32 { return ^crc32.Update(^uint32(0xf597a6cf), crc32.IEEETable, b) }

func id(n int) string { return fmt.Sprintf("%032d", n) }

func dashed(s string) string {
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// member returns a disk with a label and text in its metadata area, written
// from off on, which wraps; content follows.
func member(n int, text string, off int, extents int, seed uint64) []byte {
	b := make([]byte, firstAt+extents*unit)
	disktest.Fill(b[firstAt:], seed)
	le := binary.LittleEndian
	l := b[512:1024]
	copy(l, "LABELONE")
	le.PutUint64(l[8:], 1)
	le.PutUint32(l[20:], 32)
	copy(l[24:], "LVM2 001")
	copy(l[32:], id(n))
	le.PutUint64(l[64:], uint64(len(b)))
	le.PutUint64(l[72:], firstAt)
	if text != "" {
		le.PutUint64(l[104:], areaAt)
		le.PutUint64(l[112:], areaSize)
	}
	le.PutUint32(l[16:], sum(l[20:]))
	if text == "" {
		return b
	}
	h := b[areaAt:][:512]
	copy(h[4:], magic)
	le.PutUint32(h[20:], 1)
	le.PutUint64(h[24:], areaAt)
	le.PutUint64(h[32:], areaSize)
	le.PutUint64(h[40:], uint64(off))
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], sum([]byte(text)))
	le.PutUint32(h, sum(h[4:]))
	for i := range len(text) {
		at := off + i
		if at >= areaSize {
			at -= areaSize - 512
		}
		b[areaAt+at] = text[i]
	}
	return b
}

// describe returns the text of group vg0 with members of the given numbers of
// extents and the volumes.
func describe(seq int, volumes string, extents ...int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "vg0 {\nid = \"VG\"\nseqno = %d\nformat = \"lvm2\" # informational\nstatus = [\"READ\", \"WRITE\"]\nextent_size = %d\nphysical_volumes {\n", seq, unit/512)
	for i, n := range extents {
		fmt.Fprintf(&b, "pv%d {\nid = \"%s\"\ndevice = \"/dev/sd%c\"\npe_start = %d\npe_count = %d\n}\n", i, dashed(id(i)), 'b'+i, firstAt/512, n)
	}
	fmt.Fprintf(&b, "}\nlogical_volumes {\n%s}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\ndescription = \"a \\\"quoted\\\" # word\"\n", volumes)
	return b.String()
}

// volume returns the text of a visible volume of segments.
func volume(name string, segments ...string) string {
	return fmt.Sprintf("%s {\nid = \"%s\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nsegment_count = %d\n%s}\n", name, name, len(segments), strings.Join(segments, ""))
}

func hidden(name string, segments ...string) string {
	return strings.Replace(volume(name, segments...), `, "VISIBLE"`, "", 1)
}

// seg returns the text of a segment.
func seg(start, count int, kind, more string) string {
	return fmt.Sprintf("segment%d {\nstart_extent = %d\nextent_count = %d\ntype = \"%s\"\n%s\n}\n", start+1, start, count, kind, more)
}

// stripes gives the keys of a striped segment: pairs of a name and an extent.
func stripes(size int, legs ...any) string {
	var list []string
	for i := 0; i < len(legs); i += 2 {
		list = append(list, fmt.Sprintf("%q, %d", legs[i], legs[i+1]))
	}
	s := fmt.Sprintf("stripe_count = %d\nstripes = [%s]", len(list), strings.Join(list, ", "))
	if len(list) > 1 {
		s += fmt.Sprintf("\nstripe_size = %d", size/512)
	}
	return s
}

// open opens the only group on the members.
func open(t *testing.T, members ...[]byte) *lvm.Group {
	t.Helper()
	f := find(t, members...)
	if len(f.Groups) != 1 {
		t.Fatalf("got %d groups and %v, want one", len(f.Groups), f.Loose)
	}
	return f.Groups[0]
}

func find(t *testing.T, members ...[]byte) *lvm.Found {
	t.Helper()
	var disks []disk.Disk
	for _, m := range members {
		disks = append(disks, disktest.Memory(m))
	}
	f, err := lvm.Open(context.Background(), disks)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func get(t *testing.T, g *lvm.Group, name string) *lvm.Volume {
	t.Helper()
	for _, v := range g.Volumes {
		if v.Name == name {
			return v
		}
	}
	t.Fatalf("no volume %s in %v", name, g.Volumes)
	return nil
}

// opened opens a volume that must open.
func opened(t *testing.T, g *lvm.Group, name string) disk.Disk {
	t.Helper()
	d, err := get(t, g, name).Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return d
}
