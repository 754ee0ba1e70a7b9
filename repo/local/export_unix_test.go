//go:build unix

package local

// LinkNew is how a file gets its name where it cannot be renamed.
var LinkNew = linkNew
