package ntfs

import (
	"fmt"
	"sort"
)

// run begins at a VCN and lasts until the next run begins.
type run struct {
	vcn, lcn int64 // lcn is hole where nothing is allocated
}

const (
	hole    = -1
	maxRuns = 2 << 20 // 32 MiB: more than the attribute list of a file can name
)

// runList maps the VCNs [0,end) of an attribute to clusters of the volume.
type runList struct {
	runs []run
	end  int64
}

// appendRun adds n clusters at lcn, joined to the last run where they continue it.
func (l *runList) appendRun(lcn, n int64) {
	if k := len(l.runs); k > 0 {
		last := l.runs[k-1]
		if last.lcn == hole && lcn == hole || last.lcn != hole && lcn == last.lcn+l.end-last.vcn {
			l.end += n
			return
		}
	}
	l.runs = append(l.runs, run{l.end, lcn})
	l.end += n
}

// decode appends the mapping pairs b, which must cover the VCNs from low to
// high of a volume of clusters clusters; limit is the first VCN too high.
func (l *runList) decode(b []byte, low, high, clusters, limit int64) error {
	if low != l.end {
		return fmt.Errorf("runs begin at VCN %d instead of %d", low, l.end)
	}
	lcn := int64(0)
	for {
		if len(b) == 0 {
			return fmt.Errorf("runs without an end")
		}
		if b[0] == 0 {
			break
		}
		ln, on := int(b[0]&15), int(b[0]>>4)
		if ln == 0 || ln > 8 || on > 8 || 1+ln+on > len(b) {
			return fmt.Errorf("run with lengths %#x", b[0])
		}
		n := signed(b[1 : 1+ln])
		if n <= 0 || n > limit-l.end {
			return fmt.Errorf("run of %d clusters", n)
		}
		at := int64(hole)
		if on > 0 {
			delta := signed(b[1+ln : 1+ln+on])
			if delta > clusters || delta < -clusters {
				return fmt.Errorf("run %d clusters away", delta)
			}
			lcn += delta
			// Volumes of Windows NT 3.51 write holes as cluster -1.
			if at = lcn; at < hole || at != hole && (at >= clusters || n > clusters-at) {
				return fmt.Errorf("run of %d clusters at %d of %d", n, at, clusters)
			}
		}
		if len(l.runs) >= maxRuns {
			return fmt.Errorf("more than %d runs", maxRuns)
		}
		l.appendRun(at, n)
		b = b[1+ln+on:]
	}
	if high >= 0 && l.end != high+1 && !(high == 0 && l.end == low) {
		return fmt.Errorf("runs end at VCN %d instead of %d", l.end, high+1)
	}
	return nil
}

// signed decodes a little-endian number of 1 to 8 bytes.
func signed(b []byte) int64 {
	v := int64(int8(b[len(b)-1]))
	for i := len(b) - 2; i >= 0; i-- {
		v = v<<8 | int64(b[i])
	}
	return v
}

// at returns the place of vcn and how many clusters follow there, itself
// included; ok is false behind the end.
func (l *runList) at(vcn int64) (lcn, n int64, ok bool) {
	if vcn < 0 || vcn >= l.end {
		return 0, 0, false
	}
	i := sort.Search(len(l.runs), func(i int) bool { return l.runs[i].vcn > vcn }) - 1
	lcn, n = l.span(i)
	skip := vcn - l.runs[i].vcn
	if lcn != hole {
		lcn += skip
	}
	return lcn, n - skip, true
}

// span returns where run i lies and how many clusters it has.
func (l *runList) span(i int) (lcn, n int64) {
	end := l.end
	if i+1 < len(l.runs) {
		end = l.runs[i+1].vcn
	}
	return l.runs[i].lcn, end - l.runs[i].vcn
}

// holes reports whether any of the VCNs [0,upTo) has no cluster.
func (l *runList) holes(upTo int64) bool {
	for i, r := range l.runs {
		if r.vcn >= upTo {
			return false
		}
		if lcn, _ := l.span(i); lcn == hole {
			return true
		}
	}
	return l.end < upTo
}
