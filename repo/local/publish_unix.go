//go:build unix && !linux

package local

// publish names the whole file; fs.ErrExist when the name is taken.
func publish(tmp, path string) error { return linkNew(tmp, path) }
