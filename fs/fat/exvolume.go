package fat

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"unicode/utf16"

	"vitrine/fs/disk"
)

// bootSectors is how many sectors a boot region of exFAT has: the last one
// holds the checksum of the others.
const bootSectors = 12

// openExFAT opens exFAT, by the second boot region when the first is damaged.
func (v *FS) openExFAT(ctx context.Context) error {
	g, err := v.readExBoot(ctx, 0)
	if err != nil {
		shift := uint(9)
		var ok bool
		for ; shift <= 12 && !ok; shift++ {
			var second error
			if g, second = v.readExBoot(ctx, bootSectors<<shift); second == nil && g.sector == 1<<shift {
				ok = true
			}
		}
		if !ok {
			return err
		}
		v.question("the boot region is damaged; the second one is used")
	}
	v.g = g
	if g.dirty {
		v.question("the volume was not unmounted cleanly")
	}
	if g.failed {
		v.question("the volume has had errors on its medium")
	}
	v.root = node{name: ".", id: rootID, dir: true, first: g.root}
	return v.readSystem(ctx)
}

// readExBoot reads and checks the boot region at byte off.
func (v *FS) readExBoot(ctx context.Context, off int64) (geometry, error) {
	b := make([]byte, 512)
	if err := disk.ReadFull(ctx, v.r, b, off); err != nil {
		return geometry{}, fmt.Errorf("fat: read boot region: %w", err)
	}
	g, err := parseExBoot(b, off)
	if err != nil {
		return g, err
	}
	region := make([]byte, bootSectors*g.sector)
	if err := disk.ReadFull(ctx, v.r, region, off); err != nil {
		return geometry{}, fmt.Errorf("fat: read boot region: %w", err)
	}
	body, sums := region[:(bootSectors-1)*g.sector], region[(bootSectors-1)*g.sector:]
	var sum uint32
	for i, c := range body {
		if i != 106 && i != 107 && i != 112 { // flags and use change without it
			sum = (sum<<31 | sum>>1) + uint32(c)
		}
	}
	for ; len(sums) > 0; sums = sums[4:] {
		if binary.LittleEndian.Uint32(sums) != sum {
			return geometry{}, damaged("boot region", off, "wrong checksum")
		}
	}
	return g, nil
}

// parseExBoot decodes and checks an exFAT boot sector.
func parseExBoot(b []byte, off int64) (geometry, error) {
	u16, u32, u64 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	bad := func(what string, n any) (geometry, error) {
		return geometry{}, damaged("boot sector", off, fmt.Sprintf("%s %v", what, n))
	}
	shift, per, tables, flags := uint(b[108]), uint(b[109]), int64(b[110]), u16(b[106:])
	switch {
	case !isExFAT(b):
		return bad("no signature", "")
	case bytes.IndexFunc(b[11:64], func(r rune) bool { return r != 0 }) >= 0:
		return bad("old parameters where zeros belong", "")
	case shift < 9 || shift > 12:
		return bad("sector size shift", shift)
	case per > 25-shift:
		return bad("cluster size shift", per)
	case tables != 1 && tables != 2:
		return bad("number of tables", tables)
	case u16(b[104:])>>8 != 1:
		return bad("version", u16(b[104:]))
	case u64(b[72:]) > 1<<62>>shift:
		return bad("sectors", u64(b[72:]))
	}
	clusters := u32(b[92:])
	g := geometry{
		kind: exfat, sector: 1 << shift, cluster: 1 << (shift + per),
		table: int64(u32(b[80:])) << shift, tableSize: int64(u32(b[84:])) << shift,
		heap: int64(u32(b[88:])) << shift, root: u32(b[96:]), serial: u32(b[100:]),
		length: int64(u64(b[72:])) << shift, last: clusters + 1,
		dirty: flags&2 != 0, failed: flags&4 != 0, second: flags&1 != 0 && tables == 2,
	}
	switch {
	case clusters == 0 || clusters > 0xfffffff5:
		return bad("clusters", clusters)
	case g.tableSize < (int64(clusters)+2)*4:
		return bad("a table too small for clusters", clusters)
	case g.table < 24<<shift || g.heap < g.table+tables*g.tableSize || g.heap+int64(clusters)*g.cluster > g.length:
		return bad("table and clusters overlap or do not fit, cluster heap at sector", u32(b[88:]))
	case !g.valid(g.root):
		return bad("root cluster", g.root)
	}
	if g.second {
		g.table += g.tableSize
	}
	return g, nil
}

// readSystem reads from the root directory what concerns the whole volume.
func (v *FS) readSystem(ctx context.Context) error {
	s := v.stream(v.root)
	wanted := byte(0)
	if v.g.second {
		wanted = 1
	}
	haveTable := false
	for {
		e, _, err := s.next(ctx)
		if err != nil {
			v.question(fmt.Sprintf("the root directory is damaged: %v", err))
			break
		}
		if e == nil {
			break
		}
		n := node{first: binary.LittleEndian.Uint32(e[20:]), size: int64(binary.LittleEndian.Uint64(e[24:]) &^ (1 << 63))}
		n.valid = n.size
		switch e[0] {
		case exLabel:
			units := make([]uint16, min(int(e[1]), 11))
			for i := range units {
				units[i] = binary.LittleEndian.Uint16(e[2+2*i:])
			}
			v.label = string(utf16.Decode(units))
		case exBitmap:
			if e[1]&1 == wanted {
				n.name = "allocation bitmap"
				v.bitmap = n
			}
		case exUpcase:
			haveTable = true
			n.name = "up-case table"
			if err := v.readUpcase(ctx, n, binary.LittleEndian.Uint32(e[4:])); err != nil {
				v.question(err.Error())
			}
		}
	}
	if !haveTable {
		v.question("the volume has no up-case table")
	}
	if v.bitmap.size < (int64(v.g.last)-1+7)/8 {
		v.question("the volume has no whole allocation bitmap")
	}
	return nil
}

// readUpcase reads the table of upper-case letters.
func (v *FS) readUpcase(ctx context.Context, n node, want uint32) error {
	if n.size == 0 || n.size > 2*65536 || n.size%2 != 0 {
		return damaged("up-case table", 0, fmt.Sprintf("%d bytes", n.size))
	}
	b := make([]byte, n.size)
	c := v.chain(n)
	if err := c.fill(ctx, b, 0); err != nil {
		return err
	}
	var sum uint32
	for _, x := range b {
		sum = (sum<<31 | sum>>1) + uint32(x)
	}
	off := v.g.place(n.first)
	if sum != want {
		return damaged("up-case table", off, "wrong checksum")
	}
	upper := make([]uint16, 65536)
	for i := range upper {
		upper[i] = uint16(i)
	}
	for at := 0; len(b) >= 2; b = b[2:] {
		u := binary.LittleEndian.Uint16(b)
		if u == 0xffff && len(b) >= 4 { // a run of letters that stay
			at += int(binary.LittleEndian.Uint16(b[2:]))
			b = b[2:]
			continue
		}
		if at >= len(upper) {
			return damaged("up-case table", off, "more than 65536 letters")
		}
		upper[at] = u
		at++
	}
	v.upcase = upper
	return nil
}
