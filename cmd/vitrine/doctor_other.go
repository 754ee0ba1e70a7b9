//go:build !linux && !windows

package main

import "errors"

// mountFindings tells that mounting is not built for this system.
func mountFindings() []finding {
	return []finding{{what: "mount", err: errors.New("not supported on this system")}}
}
