//go:build linux && cgofuse

package mount_test

// libfuse's old interface, which cgofuse speaks, has no lseek.
const noHoles = true
