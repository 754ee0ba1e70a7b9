package lvm

import (
	"iter"

	"vitrine/fs/disk"
)

// The arithmetic of stripes: n legs are filled in turn, a stripe at a time.

// at returns the leg that holds byte off of a piece, the offset there, and how
// many bytes follow on that leg without a gap.
func (p piece) at(off int64, legs int) (leg int, on, run int64) {
	if legs == 1 {
		return 0, off, p.size - off
	}
	stripe := off / p.stripe
	in := off % p.stripe
	return int(stripe % int64(legs)), stripe/int64(legs)*p.stripe + in, min(p.stripe-in, p.size-off)
}

// logical returns the offset in the piece of the byte at on of a leg.
func (p piece) logical(leg int, on int64, legs int) int64 {
	if legs == 1 {
		return on
	}
	return (on/p.stripe*int64(legs)+int64(leg))*p.stripe + on%p.stripe
}

// first returns the first byte of a leg that lies at or behind off.
func (p piece) first(leg int, off int64, legs int) int64 {
	if legs == 1 {
		return off
	}
	row, in := off/(p.stripe*int64(legs)), off%(p.stripe*int64(legs))
	own := int64(leg) * p.stripe
	switch {
	case in <= own:
		return row * p.stripe
	case in < own+p.stripe:
		return row*p.stripe + in - own
	}
	return (row + 1) * p.stripe
}

// spread yields what [a,b) of a piece takes of each leg: one extent a leg.
func (p piece) spread(a, b int64, legs int) iter.Seq2[int, disk.Extent] {
	return func(yield func(int, disk.Extent) bool) {
		for leg := range legs {
			start, end := p.first(leg, a, legs), p.first(leg, b, legs)
			if start < end && !yield(leg, disk.Extent{Off: start, Len: end - start}) {
				return
			}
		}
	}
}
