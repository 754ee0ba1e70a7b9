package ntfs

import (
	"errors"
	"fmt"
	"io"

	"vitrine/fs/disk"
)

// wofInfo says how the Windows Overlay Filter packed a file: CompactOS and
// "compact /exe". Its chunks are in an alternate stream, the file's own data is
// one hole.
type wofInfo struct {
	chunk int64
	lzx   bool
}

var wofStream = encode("WofCompressedData", false)

const maxWofRead = 1 << 20

// readWOF decodes a reparse point of the filter.
func (n *node) readWOF(b []byte) error {
	if len(b) >= 8 && le.Uint32(b[4:]) == 1 {
		n.notice = "kept in a WIM image (WIMBoot): its content is not in the file"
		return nil
	}
	if len(b) < 16 || le.Uint32(b) != 1 || le.Uint32(b[4:]) != 2 || le.Uint32(b[8:]) != 1 {
		n.notice = "packed by an unknown version of the Windows Overlay Filter"
		return nil
	}
	switch algorithm := le.Uint32(b[12:]); algorithm {
	case 0:
		n.packed = &wofInfo{chunk: 4 << 10}
	case 1:
		n.packed = &wofInfo{chunk: 32 << 10, lzx: true}
	case 2:
		n.packed = &wofInfo{chunk: 8 << 10}
	case 3:
		n.packed = &wofInfo{chunk: 16 << 10}
	default:
		n.notice = fmt.Sprintf("packed by the Windows Overlay Filter with algorithm %d, which is unknown", algorithm)
	}
	return nil
}

// wofContent unpacks such a file.
type wofContent struct {
	*wofInfo
	in   *stream
	size int64
	data int64 // where the chunks begin, behind the table of their ends
	wide bool  // table of 8-byte numbers
}

var _ content = (*wofContent)(nil)

func (n *node) openWOF() (content, error) {
	in, err := n.stream(atData, wofStream)
	if err != nil {
		if errors.Is(err, errNoAttribute) {
			return nil, damage(recordName(n.num), "packed file without its packed data")
		}
		return nil, err
	}
	w := &wofContent{wofInfo: n.packed, in: in, size: n.size, wide: n.size > 1<<32-1}
	if chunks := (w.size + w.chunk - 1) / w.chunk; chunks > 0 {
		w.data = (chunks - 1) * w.width()
	}
	if w.data > in.size {
		return nil, damage(in.object(), "table of %d bytes in %d", w.data, in.size)
	}
	return w, nil
}

func (w *wofContent) width() int64 {
	if w.wide {
		return 8
	}
	return 4
}

// Size is the number of bytes of the unpacked file.
func (w *wofContent) Size() int64 { return w.size }

// NextData says that all of a packed file is data.
func (w *wofContent) NextData(off int64) (start, end int64, err error) {
	switch {
	case off < 0:
		return 0, 0, errNegative
	case off >= w.size:
		return 0, 0, io.EOF
	}
	return off, w.size, nil
}

// ReadAt unpacks the chunks that p touches; up to a MiB of them is read at once.
func (w *wofContent) ReadAt(p []byte, off int64) (int, error) {
	n, eof := disk.Clip(len(p), off, w.size)
	p = p[:n]
	for done := 0; done < n; {
		at := off + int64(done)
		first := at / w.chunk
		last := min((off+int64(n)-1)/w.chunk, first+maxWofRead/w.chunk-1)
		k, err := w.readChunks(p[done:], at, first, last)
		if done += k; err != nil {
			return done, err
		}
	}
	return n, eof
}

// readChunks fills p, which begins at byte off in chunk first, with what the
// chunks up to last have of it.
func (w *wofContent) readChunks(p []byte, off, first, last int64) (int, error) {
	fs := w.in.fs
	key := cacheKey{packedBlock, w.in.record, w.in.typ, w.in.name, first}
	if v, ok := fs.cache.get(key); ok {
		return copy(p, v.([]byte)[off-first*w.chunk:]), nil
	}
	ends, err := w.table(first, last)
	if err != nil {
		return 0, err
	}
	buf := fs.buffer()
	defer fs.buffers.Put(buf)
	base := ends[0]
	packed := grow(buf, ends[len(ends)-1]-base)
	if err := w.in.readFull(packed, w.data+base); err != nil {
		return 0, err
	}
	done := 0
	for i := first; i <= last && done < len(p); i++ {
		src := packed[ends[i-first]-base : ends[i-first+1]-base]
		size := min(w.chunk, w.size-i*w.chunk)
		skip := off + int64(done) - i*w.chunk
		out, whole := p[done:], skip == 0 && int64(len(p)-done) >= size
		if whole {
			out = out[:size]
		} else {
			out = make([]byte, size)
		}
		if err := w.unpack(out, src); err != nil {
			return done, damage(w.in.object(), "packed chunk %d: %v", i, err)
		}
		if whole {
			done += len(out)
			continue
		}
		done += copy(p[done:], out[skip:])
		fs.cache.put(cacheKey{packedBlock, w.in.record, w.in.typ, w.in.name, i}, out, size)
	}
	return done, nil
}

// table returns where, behind the table, the chunks first to last begin, and
// where the last one ends.
func (w *wofContent) table(first, last int64) ([]int64, error) {
	width, total := w.width(), w.in.size-w.data
	chunks := (w.size + w.chunk - 1) / w.chunk
	// The table has the ends of all chunks but the last.
	from, to := max(first-1, 0), min(last+1, chunks-1)
	b := make([]byte, max(to-from, 0)*width)
	if err := w.in.readFull(b, from*width); err != nil {
		return nil, err
	}
	ends := make([]int64, 0, last-first+2)
	if first == 0 {
		ends = append(ends, 0)
	}
	for ; len(b) > 0; b = b[width:] {
		if w.wide {
			ends = append(ends, int64(le.Uint64(b)))
		} else {
			ends = append(ends, int64(le.Uint32(b)))
		}
	}
	if last == chunks-1 {
		ends = append(ends, total)
	}
	for i, e := range ends {
		if e < 0 || e > total || i > 0 && (e <= ends[i-1] || e-ends[i-1] > w.chunk) {
			return nil, damage(w.in.object(), "packed chunk %d ends at %d of %d", first+int64(i)-1, e, total)
		}
	}
	return ends, nil
}

// unpack decodes one chunk. One that packing did not make smaller is as it is.
func (w *wofContent) unpack(dst, src []byte) error {
	switch {
	case len(src) == len(dst):
		copy(dst, src)
		return nil
	case len(src) > len(dst):
		return errors.New("longer than what it holds")
	case w.lzx:
		return lzx(dst, src)
	}
	return xpress(dst, src)
}
