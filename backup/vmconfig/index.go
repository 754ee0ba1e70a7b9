package vmconfig

import (
	"fmt"
	"io"
	"strings"
)

// IndexEntry is a machine in the index of a host.
type IndexEntry struct {
	ID   string // GUID of the machine, in lower case
	Path string // of its configuration, at the host
}

// Index reads the list of machines of a host, its data.vmcx, in the order in
// which they were added.
func Index(r io.ReaderAt, size int64) ([]IndexEntry, error) {
	root, err := Tree(r, size)
	if err != nil {
		return nil, err
	}
	machines := root.Find("Configurations/VirtualMachines")
	if machines == nil {
		return nil, fmt.Errorf("vmconfig: not the index of a host: %w", ErrNoMachine)
	}
	var list []IndexEntry
	for _, n := range machines.Children {
		if id, ok := guid(strings.Trim(n.Name, "_")); ok && n.Text() != "" {
			list = append(list, IndexEntry{id, n.Text()})
		}
	}
	return list, nil
}
