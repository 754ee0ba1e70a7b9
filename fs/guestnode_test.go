package fs

import (
	"errors"
	iofs "io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

// numbered is what a file system tells of an inode.
type numbered uint64

func (n numbered) Inode() uint64  { return uint64(n) }
func (n numbered) Links() int     { return 1 }
func (n numbered) Notice() string { return "" }

type panicFS struct{}

func (panicFS) Open(string) (iofs.File, error) { panic("out of range") }

// hostileFolder is a guest/ whose failures are collected.
func hostileFolder(failed *[]string) *guestFolder {
	t := &Tree{o: Options{Clock: time.Now, OnError: func(path string, err error) { *failed = append(*failed, path+": "+err.Error()) }}}
	return &guestFolder{t: t, path: "guest/", place: "vm/point/guest"}
}

func TestFolderInItselfIsDamage(t *testing.T) {
	var failed []string
	f := hostileFolder(&failed)
	root := &guestPlace{f: f, volume: "C", number: 5}
	a := &guestPlace{f: f, volume: "C", up: root, name: "a", number: 7}
	for number, loop := range map[uint64]bool{5: true, 7: true, 9: false, 0: false} {
		b := &guestPlace{f: f, volume: "C", up: a, name: "b", depth: 1}
		_, err := b.node(t.Context(), fstest.MapFS{"a/b": {Mode: iofs.ModeDir | 0o777, Sys: numbered(number)}}, false)
		if errors.Is(err, errLoop) != loop {
			t.Errorf("inode %d: %v", number, err)
		}
	}
	deep := &guestPlace{f: f, volume: "C", up: a, name: "b", depth: maxGuestDepth + 1}
	if _, err := deep.node(t.Context(), fstest.MapFS{"a/b": {Mode: iofs.ModeDir}}, false); err == nil {
		t.Error("folders may be as deep as they like")
	}
	if len(failed) != 3 || !strings.Contains(failed[0], "vm/point/guest/C/a/b") {
		t.Errorf("the status tells %q", failed)
	}
}

func TestPanicFailsAlone(t *testing.T) {
	var failed []string
	p := &guestPlace{f: hostileFolder(&failed), volume: "C"}
	if _, err := p.node(t.Context(), panicFS{}, false); err == nil || !strings.Contains(err.Error(), "out of range") || len(failed) != 1 {
		t.Errorf("%v, %q", err, failed)
	}
}

func TestGuestsHaveNoDevices(t *testing.T) {
	var failed []string
	for mode, notice := range map[iofs.FileMode]string{
		iofs.ModeDevice | 0o666: "a device", iofs.ModeDevice | iofs.ModeCharDevice: "a device",
		iofs.ModeNamedPipe: "a pipe", iofs.ModeSocket: "a socket", iofs.ModeIrregular: "a special file",
		iofs.ModeSetuid | iofs.ModeSetgid | 0o777: "",
	} {
		p := &guestPlace{f: hostileFolder(&failed), volume: "C", up: &guestPlace{}, name: "x"}
		n, err := p.node(t.Context(), fstest.MapFS{"x": {Mode: mode, Data: []byte("12345")}}, false)
		if err != nil {
			t.Fatal(err)
		}
		i, err := n.Stat(t.Context())
		if err != nil || i.Mode&^0o555 != 0 || !strings.Contains(i.Notice, notice) || (i.Notice != "") != (notice != "") || notice != "" && i.Size != 0 {
			t.Errorf("%v: %+v, %v", mode, i, err)
		}
		if notice == "" {
			continue
		}
		h, err := n.(File).Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var why *NoticeError
		if _, err := h.ReadAt(t.Context(), make([]byte, 1), 0); !errors.As(err, &why) {
			t.Errorf("%v is read: %v", mode, err)
		}
	}
}
