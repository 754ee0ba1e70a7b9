package fs

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLinksOfGuestsStayInside(t *testing.T) {
	for _, c := range []struct {
		depth        int
		target, want string
	}{
		{0, "a", "a"}, {0, "./a//b/", "./a//b/"}, {0, "", ""}, {0, ".", "."},
		{0, "..", "."}, {0, "../a", "a"}, {0, "/", "."}, {0, "//a/./b", "a/b"}, {0, "/../../a", "a"},
		{2, "..", ".."}, {2, "../..", "../.."}, {2, "../../..", "../../"}, {2, "../../../../x", "../../x"},
		{2, "/", "../../"}, {2, "/x", "../../x"}, {2, "/x/../../../y", "../../y"},
		{1, "a/../../..", "../"}, {1, "a/../b", "b"}, {1, "a/..", "."}, {1, "x/../../../../etc", "../etc"},
	} {
		if got := insideTarget(c.depth, c.target); got != c.want {
			t.Errorf("depth %d: %q leads to %q, want %q", c.depth, c.target, got, c.want)
		}
	}
}

// However a link is written, the kernel meets all its ".." first, and never
// more of them than there are folders above.
func TestNoTargetLeavesTheVolume(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	parts := []string{"..", "..", "a", "b", ".", "", "..."}
	for range 20_000 {
		var p []string
		for range r.IntN(9) {
			p = append(p, parts[r.IntN(len(parts))])
		}
		target, depth, names, ups := strings.Join(p, "/"), r.IntN(4), 0, 0
		for part := range strings.SplitSeq(insideTarget(depth, target), "/") {
			switch part {
			case "", ".":
			case "..":
				if ups++; ups > depth || names > 0 {
					t.Fatalf("depth %d: %q leads to %q", depth, target, insideTarget(depth, target))
				}
			default:
				names++
			}
		}
		if strings.HasPrefix(insideTarget(depth, target), "/") {
			t.Fatalf("%q stays absolute", target)
		}
	}
}
