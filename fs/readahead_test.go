package fs

import (
	"math/rand/v2"
	"testing"
)

const gib = int64(1) << 30

// drive feeds reads to a readAhead and returns the bytes it wants fetched.
func drive(r *readAhead, size int64, reads ...[2]int64) (asked int64, last [2]int64) {
	for _, x := range reads {
		if at, n := r.read(x[0], x[1], size); n > 0 {
			asked += n
			last = [2]int64{at, n}
		}
	}
	return asked, last
}

func inOrder(from, n, step int64) (list [][2]int64) {
	for off := from; off < from+n*step; off += step {
		list = append(list, [2]int64{off, step})
	}
	return list
}

func TestReadAheadGrowsToItsLimit(t *testing.T) {
	var r readAhead
	if asked, _ := drive(&r, gib, inOrder(0, 2, 4096)...); asked != 0 {
		t.Errorf("two reads ask for %d bytes", asked)
	}
	if asked, _ := drive(&r, gib, inOrder(8192, 1, 4096)...); asked != 2*minWindow {
		t.Errorf("the third read asks for %d bytes, want %d", asked, 2*minWindow)
	}
	asked, last := drive(&r, gib, inOrder(12288, 20_000, 4096)...)
	end := int64(12288 + 20_000*4096)
	if ahead := last[0] + last[1] - end; ahead <= maxWindow/2-4096 || ahead > maxWindow {
		t.Errorf("it is %d bytes ahead", ahead)
	}
	if asked > 20_000*4096+maxWindow {
		t.Errorf("%d bytes are asked for twice", asked-20_000*4096)
	}
}

func TestReadAheadAsksForEveryByteOnce(t *testing.T) {
	var r readAhead
	next := int64(0)
	for i, x := range inOrder(0, 500, 128<<10) {
		if at, n := r.read(x[0], x[1], gib); n > 0 {
			if next != 0 && at != next {
				t.Fatalf("read %d asks for %d, want %d", i, at, next)
			}
			next = at + n
		}
	}
}

func TestReadAheadStopsAtTheEnd(t *testing.T) {
	var r readAhead
	size := int64(3 << 20)
	for _, x := range inOrder(0, 24, 128<<10) {
		if at, n := r.read(x[0], x[1], size); at+n > size {
			t.Errorf("it asks for [%d,%d) of %d", at, at+n, size)
		}
	}
}

func TestReadAheadSeesOrderThroughParallelReads(t *testing.T) {
	var r readAhead
	reads := inOrder(0, 64, 128<<10)
	for i := 0; i+3 < len(reads); i += 4 {
		reads[i], reads[i+3] = reads[i+3], reads[i]
	}
	if asked, _ := drive(&r, gib, reads...); asked < 8<<20 {
		t.Errorf("shuffled reads ask for %d bytes", asked)
	}
}

func TestReadAheadFollowsSeveralPlaces(t *testing.T) {
	var r readAhead
	var reads [][2]int64
	for i := range int64(30) {
		for place := range int64(streams) {
			reads = append(reads, [2]int64{place*gib/8 + i*64<<10, 64 << 10})
		}
	}
	if asked, _ := drive(&r, gib, reads...); asked < streams*2<<20 {
		t.Errorf("%d places ask for %d bytes", streams, asked)
	}
}

func TestReadAheadLeavesRandomReadsAlone(t *testing.T) {
	var r readAhead
	rnd := rand.New(rand.NewPCG(1, 1))
	var reads [][2]int64
	for range 10_000 {
		reads = append(reads, [2]int64{rnd.Int64N(100*gib) &^ 4095, 4096})
	}
	if asked, _ := drive(&r, 100*gib, reads...); asked > 10_000*4096/10 {
		t.Errorf("random reads ask for %d bytes", asked)
	}
	if asked, _ := drive(&r, 100*gib, [2]int64{99 * gib, 4096}, [2]int64{98 * gib, 4096}, [2]int64{97 * gib, 4096}); asked != 0 {
		t.Errorf("reading backwards asks for %d bytes", asked)
	}
}
