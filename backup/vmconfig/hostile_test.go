package vmconfig_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"testing"

	"vitrine/backup/vmconfig"
	"vitrine/backup/vmconfig/vmconfigtest"
)

var le = binary.LittleEndian

const (
	logAt   = 0x3000 // in files of vmconfigtest
	tableAt = 0x2000
)

// seal puts the CRC-32 of b, its field taken as zero, at field.
func seal(b []byte, field int) {
	le.PutUint32(b[field:], 0)
	le.PutUint32(b[field:], crc32.ChecksumIEEE(b))
}

func withEmptyLog(b []byte) []byte {
	b = append([]byte(nil), b...)
	log := b[le.Uint64(b[26:]):][:34]
	le.PutUint32(log[8:], 0)
	seal(log, 4)
	return b
}

// sealObject writes an entry of the object table.
func putObject(b []byte, slot int, kind byte, off uint64, size uint32) {
	e := b[tableAt+8+18*slot:][:18]
	e[0], e[17] = kind, 1
	le.PutUint64(e[5:], off)
	le.PutUint32(e[13:], size)
	seal(e, 1)
}

// firstTable is where the first key table begins.
func firstTable(b []byte) int { return int(le.Uint64(b[tableAt+8+5:])) }

// resealEntry gives the entry at off a right checksum again; its value is all
// that follows the name.
func resealEntry(b []byte, off int) {
	seal(b[off:off+int(le.Uint32(b[off+2:]))], 12)
}

func TestHostileContainersAreRefused(t *testing.T) {
	entry := func(b []byte) int { return firstTable(b) + 10 } // "configuration"
	second := func(b []byte) int { return entry(b) + int(le.Uint32(b[entry(b)+2:])) }
	headers := func(b []byte, change func(h []byte)) {
		for _, at := range []int{0, 4096} {
			change(b[at:])
			seal(b[at:at+46], 4)
		}
	}
	logHeader := func(b []byte, count uint32) {
		le.PutUint32(b[logAt+8:], count)
		seal(b[logAt:logAt+34], 4)
	}
	dirty := func(b []byte, change func(e []byte)) {
		copy(b, vmconfigtest.Dirty(b, tableAt, 64))
		e := b[logAt+34:][:28]
		change(e)
		seal(e, 20)
	}
	cases := map[string]func(b []byte){
		"both headers wrong":        func(b []byte) { b[8]++; b[4096+8]++ },
		"equal sequences":           func(b []byte) { copy(b[4096:], b[:46]); b[4096+14]++; seal(b[4096:4096+46], 4) },
		"version":                   func(b []byte) { headers(b, func(h []byte) { h[11] = 5 }) },
		"log outside":               func(b []byte) { headers(b, func(h []byte) { le.PutUint64(h[26:], 1<<63) }) },
		"log of one byte":           func(b []byte) { headers(b, func(h []byte) { le.PutUint64(h[34:], 1) }) },
		"log signature":             func(b []byte) { b[logAt]++ },
		"log checksum":              func(b []byte) { b[logAt+9]++ },
		"log count":                 func(b []byte) { logHeader(b, 1<<32-1) },
		"log count past its end":    func(b []byte) { logHeader(b, 4000) },
		"log entry checksum":        func(b []byte) { logHeader(b, 1) },
		"log target far away":       func(b []byte) { dirty(b, func(e []byte) { le.PutUint64(e, 1<<40) }) },
		"log target wraps":          func(b []byte) { dirty(b, func(e []byte) { le.PutUint64(e, 1<<64-8) }) },
		"log data outside":          func(b []byte) { dirty(b, func(e []byte) { le.PutUint64(e[12:], 1<<62) }) },
		"log data too large":        func(b []byte) { dirty(b, func(e []byte) { le.PutUint32(e[8:], 1<<32-1) }) },
		"log data checksum":         func(b []byte) { dirty(b, func(e []byte) { e[24]++ }) },
		"object table signature":    func(b []byte) { b[tableAt]++ },
		"object count":              func(b []byte) { le.PutUint32(b[tableAt+4:], 1<<32-1) },
		"object count past the end": func(b []byte) { le.PutUint32(b[tableAt+4:], 16000) },
		"object checksum":           func(b []byte) { b[tableAt+8+1]++ },
		"object outside":            func(b []byte) { putObject(b, 200, 2, 1<<62, 4096) },
		"object wraps":              func(b []byte) { putObject(b, 200, 3, 1<<64-1, 1<<32-1) },
		"table lists itself":        func(b []byte) { putObject(b, 200, 1, tableAt, 4096) },
		"table is none":             func(b []byte) { putObject(b, 200, 1, logAt, 4096) },
		"key table signature":       func(b []byte) { b[firstTable(b)]++ },
		"key table checksum":        func(b []byte) { b[firstTable(b)+4]++ },
		"key table index 0":         func(b []byte) { k := b[firstTable(b):][:10]; le.PutUint16(k[2:], 0); seal(k, 6) },
		"key table of no size":      func(b []byte) { putObject(b, 200, 2, uint64(firstTable(b)), 0) },
		"entry size 1":              func(b []byte) { le.PutUint32(b[entry(b)+2:], 1) },
		"entry size too large":      func(b []byte) { le.PutUint32(b[entry(b)+2:], 1<<32-1) },
		"entry checksum":            func(b []byte) { b[entry(b)+16]++ },
		"entry without a name":      func(b []byte) { b[entry(b)+20] = 0 },
		"name past the entry":       func(b []byte) { b[entry(b)+20] = 255 },
		"name with control":         func(b []byte) { b[entry(b)+22] = 7 },
		"value cut off":             func(b []byte) { b[entry(b)+20] += 11 },
		"own parent": func(b []byte) {
			le.PutUint16(b[entry(b)+6:], 1)
			le.PutUint32(b[entry(b)+8:], 10)
			resealEntry(b, entry(b))
		},
		"parents of each other": func(b []byte) {
			le.PutUint16(b[entry(b)+6:], 1)
			le.PutUint32(b[entry(b)+8:], uint32(second(b)-firstTable(b)))
			resealEntry(b, entry(b))
		},
		"parent that is none": func(b []byte) {
			le.PutUint32(b[second(b)+8:], 11)
			resealEntry(b, second(b))
		},
		"parent in no table": func(b []byte) {
			le.PutUint16(b[second(b)+6:], 999)
			resealEntry(b, second(b))
		},
		"object not listed": func(b []byte) {
			b[entry(b)], b[entry(b)+1] = 7, 1
			resealEntry(b, entry(b))
		},
	}
	for name, change := range cases {
		b := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
		change(b)
		_, err := tree(b)
		if _, ok := errors.AsType[*vmconfig.CorruptError](err); !ok {
			t.Errorf("%s: got %v, want a CorruptError", name, err)
		}
	}
}

func TestOneHeaderIsEnough(t *testing.T) {
	for _, at := range []int{0, 4096} {
		b := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
		b[at+5]++
		if _, err := parse(b); err != nil {
			t.Errorf("without the header at %d: %v", at, err)
		}
	}
}

func TestNewerHeaderCounts(t *testing.T) {
	for _, c := range []struct {
		first, second uint16
		good          int // the header that leads to the log
	}{{2, 1, 0}, {1, 2, 4096}, {0, 0xffff, 0}, {0xffff, 0, 4096}} {
		b := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
		le.PutUint16(b[8:], c.first)
		le.PutUint16(b[4096+8:], c.second)
		le.PutUint64(b[4096-c.good+26:], 1<<40) // the other one leads nowhere
		seal(b[:46], 4)
		seal(b[4096:4096+46], 4)
		if _, err := parse(b); err != nil {
			t.Errorf("sequences %d and %d: %v", c.first, c.second, err)
		}
	}
}

// A table is written anew in another place before the old one is given up.
func TestNewerKeyTableCounts(t *testing.T) {
	for _, c := range []struct {
		old, new uint16
		name     string
	}{{1, 2, "new"}, {2, 1, "old"}, {0xffff, 0, "new"}, {0, 0xffff, "old"}} {
		root := func(name string) *vmconfig.Node {
			return &vmconfig.Node{Children: []*vmconfig.Node{{Name: name}}}
		}
		b, again := vmconfigtest.VMCX(root("old")), vmconfigtest.VMCX(root("new"))
		table := again[firstTable(again):][:4096]
		putObject(b, 1, 2, uint64(len(b)), 4096)
		le.PutUint16(b[firstTable(b)+4:], c.old)
		seal(b[firstTable(b):][:10], 6)
		le.PutUint16(table[4:], c.new)
		seal(table[:10], 6)
		got, err := tree(append(b, table...))
		if err != nil || len(got.Children) != 1 || got.Children[0].Name != c.name {
			t.Errorf("sequences %d and %d: got %+v, %v", c.old, c.new, got, err)
		}
	}
}

func TestChildrenAreInTheOrderOfTheirInsertion(t *testing.T) {
	b := vmconfigtest.VMCX(&vmconfig.Node{Children: []*vmconfig.Node{{Name: "a"}, {Name: "b"}, {Name: "c"}}})
	off := firstTable(b) + 10
	for _, inserted := range []uint32{3, 1, 2} {
		le.PutUint32(b[off+16:], inserted)
		resealEntry(b, off)
		off += int(le.Uint32(b[off+2:]))
	}
	root, err := tree(b)
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, n := range root.Children {
		got += n.Name
	}
	if got != "bca" {
		t.Errorf("got %s, want bca", got)
	}
}

func TestValuesStayInTheirFileObject(t *testing.T) {
	b := vmconfigtest.VMCX(&vmconfig.Node{Children: []*vmconfig.Node{{Name: "ram", Value: make([]byte, 3000)}}})
	off := firstTable(b) + 10
	pointer := off + 21 + len("ram") + 1
	le.PutUint32(b[pointer:], 3001)
	resealEntry(b, off)
	if _, err := tree(b); err == nil {
		t.Error("a value longer than its object was accepted")
	}
}

func TestTruncatedContainersAreRefused(t *testing.T) {
	b := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
	for n := 0; n < len(b); n += 97 {
		if _, err := parse(b[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(b))
		}
	}
}

// Every bit of what is read is covered by a checksum or changes nothing.
func TestFlippedBitsNeverGiveAnotherMachine(t *testing.T) {
	b := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
	want := asJSON(t, mustParse(t, b))
	found := 0
	for off := firstTable(b); off < len(b); off++ {
		b[off] ^= 1 << (off % 8)
		if c, err := parse(b); err != nil {
			found++
		} else if got := asJSON(t, c); got != want {
			t.Fatalf("flip at %#x gives %s", off, got)
		}
		b[off] ^= 1 << (off % 8)
	}
	if found < 3000 {
		t.Errorf("only %d flips were found", found)
	}
}

func TestDeepAndWideTreesAreRefused(t *testing.T) {
	deep := &vmconfig.Node{Name: "x"}
	for range 70 {
		deep = &vmconfig.Node{Name: "x", Children: []*vmconfig.Node{deep}}
	}
	deep = &vmconfig.Node{Children: []*vmconfig.Node{deep}}
	cases := map[string][]byte{
		"deep vmcx":     vmconfigtest.VMCX(deep),
		"deep xml":      vmconfigtest.XML(deep),
		"wide xml":      []byte("<a>" + strings.Repeat("<b/>", 100_001) + "</a>"),
		"long xml":      []byte("<a>" + strings.Repeat("x", 5<<20) + "</a>"),
		"endless tag":   []byte("<" + strings.Repeat("a", 1<<20)),
		"entity":        []byte(`<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>`),
		"document type": []byte(`<!DOCTYPE a><a></a>`),
		"two roots":     []byte("<a></a><b></b>"),
		"no root":       []byte("<!-- -->"),
		"open":          []byte("<a><b></b>"),
		"crossed":       []byte("<a><b></a></b>"),
		"bad integer":   []byte(`<a><b type="integer">12x</b></a>`),
		"long integer":  []byte(`<a><b type="integer">` + strings.Repeat("9", 1<<20) + `</b></a>`),
		"bad base64":    []byte(`<a><b type="bytes">!</b></a>`),
		"half UTF-16":   []byte("\xff\xfe<\x00a"),
		"long UTF-16":   append([]byte("\xff\xfe"), make([]byte, 9<<20)...),
		"unknown bytes": []byte("<\x01"),
	}
	for name, b := range cases {
		_, err := tree(b)
		if _, ok := errors.AsType[*vmconfig.CorruptError](err); !ok {
			t.Errorf("%s: got %v, want a CorruptError", name, err)
		} else if len(err.Error()) > 1000 {
			t.Errorf("%s: message of %d bytes", name, len(err.Error()))
		}
	}
}

func TestHostileDrivesAreBounded(t *testing.T) {
	ide := &vmconfig.Node{Name: "_83f8638b-8dca-4152-9eda-2ca8b33039b4_"}
	for c := range 100 {
		controller := &vmconfig.Node{Name: fmt.Sprintf("controller%d", c)}
		for d := range 100 {
			controller.Children = append(controller.Children, &vmconfig.Node{Name: fmt.Sprintf("drive%d", d), Children: []*vmconfig.Node{{Name: "type", Value: "VHD"}}})
		}
		ide.Children = append(ide.Children, controller)
	}
	root := vmconfigtest.Tree(gen2())
	root.Children[0].Children = append(root.Children[0].Children, ide)
	if _, err := vmconfig.Describe(root); err == nil {
		t.Error("10,000 drives were accepted")
	}
}

func FuzzVMCX(f *testing.F) {
	for _, name := range []string{realVMCX, realVMRS, realIndex} {
		f.Add(testData(f, name))
	}
	b := vmconfigtest.VMCX(vmconfigtest.Tree(gen2()))
	f.Add(b)
	f.Add(vmconfigtest.Dirty(b, tableAt, 4096))
	f.Fuzz(check)
}

func FuzzXML(f *testing.F) {
	f.Add(testData(f, realXML))
	f.Add(vmconfigtest.XML(vmconfigtest.Tree(gen2())))
	f.Add([]byte("<a><b type=\"bool\">True</b></a>"))
	f.Fuzz(check)
}

// check holds what is true of every file: a tree that was read can be written
// and reads the same again, a description can always be made into JSON.
func check(t *testing.T, b []byte) {
	root, err := tree(b)
	if err != nil {
		return
	}
	if c, err := vmconfig.Describe(root); err == nil {
		asJSON(t, c)
	}
	want := dump(t, root)
	if len(want) > 1<<16 {
		return // more than the writer of tests holds
	}
	again, err := tree(vmconfigtest.VMCX(root))
	if err != nil {
		t.Fatalf("written again: %v", err)
	}
	if got := dump(t, again); got != want {
		t.Errorf("written again: got\n%s\nwant\n%s", got, want)
	}
}
