package vhdx_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"vitrine/fs/vhdx"
	"vitrine/fs/vhdx/vhdxtest"
)

// holey is a file that knows its pages of zeros as holes, like a sparse file.
type holey struct{ *vhdxtest.File }

func (h holey) NextData(off int64) (start, end int64, err error) {
	const page = 4096
	zero := func(at int64) bool { return len(bytes.Trim(h.Get(at, min(page, h.Size()-at)), "\x00")) == 0 }
	at := off / page * page
	for at < h.Size() && zero(at) {
		at += page
	}
	if at >= h.Size() {
		return 0, 0, io.EOF
	}
	end = at
	for end < h.Size() && !zero(end) {
		end += page
	}
	return max(off, at), min(end, h.Size()), nil
}

// TestHolesOfTheFileAreHolesOfTheDisk reads disks out of sparse files: what
// they report is all there is, and far less than their blocks.
func TestHolesOfTheFileAreHolesOfTheDisk(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		spec := vhdxtest.Spec{Size: 64 * mib, BlockSize: 2 * mib, Blocks: map[int64]vhdxtest.Block{}}
		written := int64(0)
		for _, block := range rnd.Perm(32)[:rnd.IntN(32)] {
			content := make([]byte, spec.BlockSize)
			for range rnd.IntN(4) {
				at := rnd.Int64N(spec.BlockSize - 4096)
				for i := range int64(rnd.IntN(4096)) {
					content[at+i] = byte(rnd.Uint32())
				}
				written += 8192
			}
			spec.Blocks[int64(block)] = vhdxtest.Block{State: vhdxtest.Present, Data: content}
		}
		f := vhdxtest.Build(spec)
		plain := mustOpen(t, f)
		sparse, err := vhdx.Open(holey{f}, f.Size())
		if err != nil {
			t.Fatal(err)
		}
		if got, want := dataSum(t, sparse), contentSum(t, plain); got != want {
			t.Fatal("NextData leaves data out")
		}
		reported := int64(0)
		for at := int64(0); ; {
			start, end, err := sparse.NextData(at)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			reported += end - start
			at = end
		}
		if reported > written+int64(len(spec.Blocks))*4*(64<<10) {
			t.Fatalf("%d bytes are reported, %d were written", reported, written)
		}
	}
}
