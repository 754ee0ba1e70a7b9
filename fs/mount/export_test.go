//go:build linux

package mount

// What tests of text decoders need.
var (
	AllowsOther = allowsOther
	Mountinfo   = func(table, dir string) (device, kind string) {
		for _, m := range parseMountinfo(table) {
			if m.dir == dir {
				device, kind = m.device, m.kind
			}
		}
		return device, kind
	}
)
