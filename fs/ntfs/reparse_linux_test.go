package ntfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	iofs "io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"vitrine/fs/ntfs"
)

func utf16le(s string) []byte {
	var b []byte
	for _, u := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}

// reparse builds a reparse point.
func reparse(tag uint32, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, tag)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(data)))
	return append(append(b, 0, 0), data...)
}

// symlink builds the reparse point of a symbolic link or, with mount, a junction.
func symlink(target string, mount bool) []byte {
	name := utf16le(target)
	b := binary.LittleEndian.AppendUint16(nil, 0)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	b = binary.LittleEndian.AppendUint16(b, uint16(len(name)))
	b = binary.LittleEndian.AppendUint16(b, 0)
	if mount {
		return reparse(0xA0000003, append(b, name...))
	}
	return reparse(0xA000000C, append(append(b, 1, 0, 0, 0), name...))
}

func TestLinksLeadWhereWindowsMeantThem(t *testing.T) {
	w := &tree{t: t, files: make(map[string][]byte)}
	links := []struct {
		name, target string
		mount        bool
		want         string
		leads        string // to the content "hello"
	}{
		{"Users/rel", `..\Data\hello.txt`, false, "../Data/hello.txt", "Users/rel"},
		{"Users/rooted", `\Data\hello.txt`, false, "../Data/hello.txt", "Users/rooted"},
		{"Users/abs", `\??\C:\Data\hello.txt`, false, "../Data/hello.txt", "Users/abs"},
		{"Documents and Settings", `\??\C:\Data`, true, "Data", "Documents and Settings/hello.txt"},
		{"Users/short", `\??\C:\data`, true, "../data", "Users/short/HELLO.TXT"},
		{"Users/top", `\??\C:\`, true, "../", "Users/top/Data/hello.txt"},
		{"Users/other", `\??\D:\Data`, true, "D:/Data", ""},
		{"Users/gone", `\??\C:\None\x`, true, "C:/None/x", ""},
		{"Users/volume", `\??\Volume{01234567-89ab-cdef-0123-456789abcdef}\`, true, "Volume{01234567-89ab-cdef-0123-456789abcdef}/", ""},
		{"Users/unc", `\??\UNC\server\share`, false, "UNC/server/share", ""},
		{"Users/unc2", `\\server\share`, false, "UNC/server/share", ""},
		{"Users/out", `..\..\..\..\Data\hello.txt`, false, "../../../../Data/hello.txt", "Users/out"},
		{"Users/loop", `loop`, false, "loop", ""},
	}
	f := openImage(t, fresh(t, 16<<20, nil, "streams_interface=windows", func(dir string) {
		w.dir = dir
		for _, d := range []string{"Windows", "Users", "Data"} {
			w.mkdir(d)
		}
		w.write("Data/hello.txt", []byte("hello"))
		for _, l := range links {
			if l.mount {
				w.mkdir(l.name)
			} else {
				w.write(l.name, nil)
			}
			w.xattr(l.name, "system.ntfs_reparse_data", symlink(l.target, l.mount))
		}
		if err := os.Symlink("../Data/hello.txt", w.path("Users/unix")); err != nil {
			t.Fatal(err)
		}
		w.write("Users/wsl", nil)
		w.xattr("Users/wsl", "system.ntfs_reparse_data", reparse(0xA000001D, []byte("\x02\x00\x00\x00/Data/hello.txt")))
	}))
	links = append(links, struct {
		name, target string
		mount        bool
		want, leads  string
	}{"Users/unix", "", false, "../Data/hello.txt", "Users/unix"}, struct {
		name, target string
		mount        bool
		want, leads  string
	}{"Users/wsl", "", false, "/Data/hello.txt", "Users/wsl"})
	for _, l := range links {
		info, err := f.Lstat(l.name)
		if err != nil || info.Mode().Type() != iofs.ModeSymlink {
			t.Errorf("%s: %v %v", l.name, info, err)
			continue
		}
		if got, err := f.ReadLink(l.name); got != l.want || err != nil {
			t.Errorf("%s leads to %q %v, want %q", l.name, got, err, l.want)
		}
		if l.leads == "" {
			if _, err := f.Stat(l.name); err == nil {
				t.Errorf("%s leads somewhere", l.name)
			}
		} else if got, err := iofs.ReadFile(f, l.leads); string(got) != "hello" {
			t.Errorf("%s: %q %v", l.leads, got, err)
		}
	}
	entries, err := f.ReadDir("Users")
	if err != nil || len(entries) != len(links)-1 {
		t.Errorf("%d entries, want %d: %v", len(entries), len(links)-1, err)
	}
	for _, e := range entries {
		if e.Type() != iofs.ModeSymlink {
			t.Errorf("%s is listed as %v", e.Name(), e.Type())
		}
	}
}

func TestContentKeptElsewhereIsExplainedAndNeverZeros(t *testing.T) {
	w := &tree{t: t, files: make(map[string][]byte)}
	cases := []struct {
		name   string
		tag    uint32
		filled bool
		word   string // of the notice, "" when the content is there
	}{
		{"dedup", 0x80000013, true, "deduplicated"},
		{"cloud", 0x9000301A, false, "cloud"},
		{"cloud here", 0x9000301A, true, ""},
		{"unknown", 0x80001234, false, "0x80001234"},
		{"unknown here", 0x80001234, true, ""},
		{"hsm", 0xC0000004, true, "remote"},
		{"wim", 0x80000017, true, "WIM"},
	}
	f := openImage(t, fresh(t, 16<<20, nil, "streams_interface=windows", func(dir string) {
		w.dir = dir
		for _, c := range cases {
			if c.filled {
				w.write(c.name, text(100_000))
			} else {
				w.write(c.name, nil)
				if err := os.Truncate(w.path(c.name), 100_000); err != nil {
					t.Fatal(err)
				}
			}
			data := make([]byte, 16)
			data[0], data[4] = 1, 1
			w.xattr(c.name, "system.ntfs_reparse_data", reparse(c.tag, data))
		}
	}))
	for _, c := range cases {
		info, err := f.Stat(c.name)
		if err != nil {
			t.Error(err)
			continue
		}
		notice := info.Sys().(*ntfs.Sys).Notice()
		if (notice == "") != (c.word == "") || !strings.Contains(notice, c.word) {
			t.Errorf("%s: notice %q", c.name, notice)
		}
		got, err := iofs.ReadFile(f, c.name)
		if c.word == "" {
			if !bytes.Equal(got, text(100_000)) {
				t.Errorf("%s: %d bytes %v", c.name, len(got), err)
			}
			continue
		}
		var why *ntfs.NoticeError
		if len(got) != 0 || !errors.As(err, &why) || why.Reason != notice {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
}

// packed returns the content of file as wimlib packs it: a resource of a WIM
// file has the form of the stream that the Windows Overlay Filter reads.
func packed(t testing.TB, method, chunk string, content []byte) []byte {
	t.Helper()
	if _, err := exec.LookPath("wimlib-imagex"); err != nil {
		t.Skip("wimlib-imagex is missing: install the package wimtools")
	}
	dir := t.TempDir()
	src, wim := filepath.Join(dir, "src"), filepath.Join(dir, "x.wim")
	if err := os.WriteFile(src, content, 0o644); err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(dir, "in")
	if err := errors.Join(os.Mkdir(in, 0o755), os.Rename(src, filepath.Join(in, "file"))); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("wimlib-imagex", "capture", in, wim, "--compress="+method, "--chunk-size="+chunk, "--no-acls").CombinedOutput()
	if err != nil {
		t.Fatalf("wimlib-imagex: %v\n%s", err, out)
	}
	b, err := os.ReadFile(wim)
	if err != nil {
		t.Fatal(err)
	}
	// The header names the lookup table; the entry of our size is the file's.
	le := binary.LittleEndian
	size, off := le.Uint64(b[48:])&(1<<56-1), le.Uint64(b[56:])
	for table := b[off : off+size]; len(table) >= 50; table = table[50:] {
		stored, at, whole, flags := le.Uint64(table)&(1<<56-1), le.Uint64(table[8:]), le.Uint64(table[16:]), table[7]
		if whole == uint64(len(content)) && flags&4 != 0 {
			return b[at : at+stored]
		}
	}
	t.Fatal("wimlib did not pack the file")
	return nil
}

// program makes bytes like those of an x86 program: calls for the filter of LZX.
func program(n int) []byte {
	b := random(9, n)
	for i := 0; i+40 < n; i += 40 {
		copy(b[i:], "\x55\x48\x89\xe5\x48\x83\xec\x20\xe8")
		binary.LittleEndian.PutUint32(b[i+9:], uint32(i*31%200_000)-uint32(i))
		copy(b[i+13:], "\x48\x8b\x45\xf8\x48\x89\xc7\xc9\xc3\x90\x90\x90\x90\x90\x90\x90\x90")
	}
	return b
}

func TestPackedSystemFilesAreRead(t *testing.T) {
	contents := map[string][]byte{
		"text":  text(1_000_001),
		"code":  program(300_000),
		"short": text(3000),
		"mixed": append(append(text(100_000), random(3, 100_000)...), make([]byte, 70_000)...),
		"exact": text(64 << 10),
	}
	methods := []struct {
		name, method, chunk string
		algorithm           byte
	}{{"XPRESS4K", "XPRESS", "4096", 0}, {"LZX", "LZX", "32768", 1}, {"XPRESS8K", "XPRESS", "8192", 2}, {"XPRESS16K", "XPRESS", "16384", 3}}
	w := &tree{t: t, files: make(map[string][]byte)}
	f := openImage(t, fresh(t, 32<<20, nil, "streams_interface=windows", func(dir string) {
		w.dir = dir
		for _, m := range methods {
			for name, content := range contents {
				name = m.name + " " + name
				stream := packed(t, m.method, m.chunk, content)
				w.write(name, nil)
				w.write(name+":WofCompressedData", stream)
				if err := os.Truncate(w.path(name), int64(len(content))); err != nil {
					t.Fatal(err)
				}
				w.xattr(name, "system.ntfs_reparse_data", reparse(0x80000017, []byte{1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, m.algorithm, 0, 0, 0}))
				w.files[name] = content
				delete(w.files, name+":WofCompressedData")
			}
		}
	}))
	w.check(f)
	info, err := f.Stat("LZX code")
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*ntfs.Sys); len(s.Streams()) != 0 || s.Notice() != "" || !info.Mode().IsRegular() {
		t.Errorf("streams %q, notice %q, mode %v", s.Streams(), s.Notice(), info.Mode())
	}
	if _, err := f.Extents("LZX code"); err == nil {
		t.Error("a packed file told where its content lies")
	}
	file, err := f.Open("LZX text")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := file.(io.ReaderAt).ReadAt(make([]byte, 10), 1_000_000); n != 1 || err != io.EOF {
		t.Errorf("at the end: %d %v", n, err)
	}
}
