// Package vmconfig reads the configuration of Hyper-V machines: .vmcx and
// .vmrs files (the HyperVStorage container of Windows Server 2016 and later)
// and the XML of earlier releases. Both hold one tree of named, typed values.
//
//	Node    one name of that tree, with a value or with children
//	Tree    reads a file into nodes, whichever of the two formats it has
//	Config  the neutral description of a machine or of one of its checkpoints
//	Index   the list of machines that a host keeps in data.vmcx
//
// Everything read is hostile: sizes, depths and counts are bounded, each
// checksum is checked, nothing is ever written.
package vmconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

const (
	maxDepth   = 64      // levels of a tree
	maxNodes   = 100_000 // names in one tree; a large machine has some 2,000
	maxContent = 4 << 20 // bytes of XML, as UTF-8
)

// ErrFormat says that a file is neither a VMCX container nor XML.
var ErrFormat = errors.New("neither VMCX nor XML")

// ErrNoMachine says that a file is well formed and describes no machine:
// a runtime state file, the index of a host, a resource type.
var ErrNoMachine = errors.New("describes no machine")

// CorruptError tells what is wrong with a file and where.
type CorruptError struct {
	Off  int64 // byte offset in the file; in XML, of the text as UTF-8
	What string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("vmconfig: damaged at byte %d: %s", e.Off, e.What)
}

// Node is one name of a configuration with its value or its children. Its
// methods accept a nil receiver, as Child and Find return for what is absent.
type Node struct {
	Name string
	// Value is int64, uint64, float64, bool, string, []byte or *Object; nil
	// for a node that only has children.
	Value any
	// Children are in the order in which they were inserted. Names may repeat.
	Children []*Node
}

// Object is a value kept outside of the tables because it is large (the
// memory of a saved machine): it is only read when asked for.
type Object struct {
	*io.SectionReader
}

// Tree reads a file of size bytes. The node returned has no name; its
// children are the roots of the file: one, in all files known.
//
// Objects keep reading from r: it has to stay open as long as they are used.
func Tree(r io.ReaderAt, size int64) (*Node, error) {
	head := make([]byte, min(4, max(size, 0)))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("vmconfig: read: %w", err)
	}
	switch {
	case looksLikeXML(head):
		return readXML(r, size)
	case size >= headerStride, bytes.HasPrefix(head, []byte{0x14, 0x20, 0x28, 0x01}):
		return readVMCX(r, size)
	}
	return nil, fmt.Errorf("vmconfig: %w", ErrFormat)
}

// Child returns the first child of that name, letter case aside, or nil.
func (n *Node) Child(name string) *Node {
	if n == nil {
		return nil
	}
	for _, c := range n.Children {
		if strings.EqualFold(c.Name, name) {
			return c
		}
	}
	return nil
}

// Find follows a path of names divided by slashes.
func (n *Node) Find(path string) *Node {
	for name := range strings.SplitSeq(path, "/") {
		n = n.Child(name)
	}
	return n
}

// Text is the value of a string and "" for everything else.
func (n *Node) Text() string {
	if n == nil {
		return ""
	}
	s, _ := n.Value.(string)
	return s
}

// Int is the value of an integer and 0 for everything else.
func (n *Node) Int() int64 {
	if n == nil {
		return 0
	}
	switch v := n.Value.(type) {
	case int64:
		return v
	case uint64:
		return int64(min(v, 1<<63-1))
	}
	return 0
}

// Bool is the value of a boolean, or whether an integer is not zero.
func (n *Node) Bool() bool {
	if n == nil {
		return false
	}
	if b, ok := n.Value.(bool); ok {
		return b
	}
	return n.Int() != 0
}

// Bytes is the value of bytes kept in the tables, and nil for everything else.
func (n *Node) Bytes() []byte {
	if n == nil {
		return nil
	}
	b, _ := n.Value.([]byte)
	return b
}

// validName reports whether a name can stand in a tree: hostile names would
// otherwise turn up in messages and in vm.json.
func validName(s string) bool {
	if s == "" || len(s) > 254 || !utf8.ValidString(s) {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7f })
}
