//go:build linux && !cgofuse

package mount_test

const noHoles = false
