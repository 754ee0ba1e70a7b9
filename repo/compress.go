package repo

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Compression is how chunks are compressed.
type Compression string

// The levels, fastest first. Fastest is the default.
const (
	CompressNone    Compression = "none"
	CompressS2      Compression = "s2"
	CompressFastest Compression = "fastest"
	CompressDefault Compression = "default"
	CompressBetter  Compression = "better"
)

// method is how one slot is compressed.
type method byte

const (
	methodRaw  method = 0
	methodZstd method = 1
	methodS2   method = 2
)

// maxChunk bounds the raw length of a slot: the parts of a map may be longer
// than a chunk of data, but not as long as this.
const maxChunk = 1<<24 - 1

// codecs compresses and decompresses chunks; safe for concurrent use.
type codecs struct {
	write method
	enc   *zstd.Encoder
	dec   *zstd.Decoder
}

// newCodecs never offers SpeedBestCompression: it has written frames that
// could not be decoded, twice (klauspost/compress #875, #922).
func newCodecs(c Compression, workers int) (*codecs, error) {
	var level zstd.EncoderLevel
	m := methodZstd
	switch c {
	case CompressNone:
		m, level = methodRaw, zstd.SpeedFastest
	case CompressS2:
		m, level = methodS2, zstd.SpeedFastest
	case CompressFastest:
		level = zstd.SpeedFastest
	case CompressDefault:
		level = zstd.SpeedDefault
	case CompressBetter:
		level = zstd.SpeedBetterCompression
	default:
		return nil, fmt.Errorf("repo: unknown compression %q", string(c))
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(workers), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, fmt.Errorf("repo: zstd: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(workers), zstd.WithDecodeAllCapLimit(true),
		zstd.WithDecoderMaxMemory(maxChunk+1))
	if err != nil {
		return nil, fmt.Errorf("repo: zstd: %w", err)
	}
	return &codecs{write: m, enc: enc, dec: dec}, nil
}

// encode appends the compressed form of raw to dst, or raw itself where
// compression does not pay or does not decode to the same bytes again.
// scratch is room for the decoded copy; it is returned for the next call.
func (c *codecs) encode(dst, raw, scratch []byte) (out []byte, m method, sc []byte) {
	n := len(dst)
	m = c.write
	switch m {
	case methodZstd:
		dst = c.enc.EncodeAll(raw, dst)
	case methodS2:
		dst = append(dst, s2.Encode(nil, raw)...)
	}
	if m == methodRaw || len(dst)-n > len(raw)-len(raw)/32 {
		return append(dst[:n], raw...), methodRaw, scratch
	}
	if cap(scratch) < len(raw) {
		scratch = make([]byte, len(raw))
	}
	back, err := c.decode(scratch[:0], dst[n:], m, len(raw))
	if err != nil || !bytes.Equal(back, raw) {
		return append(dst[:n], raw...), methodRaw, scratch
	}
	return dst, m, scratch
}

var errLength = errors.New("the chunk has the wrong length")

// decode appends the raw form of a slot to dst. raw is its length as the
// directory gives it; nothing longer is ever made.
func (c *codecs) decode(dst, b []byte, m method, raw int) ([]byte, error) {
	n := len(dst)
	if cap(dst)-n < raw {
		grown := make([]byte, n, n+raw)
		copy(grown, dst)
		dst = grown
	}
	switch m {
	case methodRaw:
		dst = append(dst, b...)
	case methodZstd:
		out, err := c.dec.DecodeAll(b, dst[:n:n+raw])
		if err != nil {
			return nil, err
		}
		dst = out
	case methodS2:
		if k, err := s2.DecodedLen(b); err != nil || k != raw {
			return nil, errLength
		}
		if _, err := s2.Decode(dst[n:n+raw], b); err != nil {
			return nil, err
		}
		dst = dst[:n+raw]
	default:
		return nil, fmt.Errorf("unknown compression method %d", m)
	}
	if len(dst)-n != raw {
		return nil, errLength
	}
	return dst, nil
}
