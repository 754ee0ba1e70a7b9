package fs

import (
	"context"
	iofs "io/fs"
	"iter"
	"time"
)

// Node is a directory, a file or a link: it is also a Dir, a File or a Link.
// Nodes are safe for concurrent use. Two nodes with equal inode numbers are
// the same place of the tree, whenever and by whatever process they are made.
type Node interface {
	// Stat never reads the map of a disk.
	Stat(ctx context.Context) (Info, error)
}

// Info is what Stat tells of a node.
type Info struct {
	Ino   uint64        // the same on every mount; never 0, 1 (but for the root) or ^0
	Mode  iofs.FileMode // type and permissions, 0555 or 0444
	Size  int64         // of a link: the length of its target
	Alloc int64         // bytes that are not holes
	Links uint32        // as st_nlink: of a directory two and one for each folder in it
	Time  time.Time     // last change
	// Volatile is set where the content may change while the tree is open:
	// nobody should remember it for more than a second.
	Volatile bool
	// Guest is set inside a guest's volume: Mode has the guest's permissions
	// but for writing.
	Guest bool
	// Notice says why the content of a guest's file cannot be given; "" when
	// it can.
	Notice string
}

// Entry is what a directory's listing tells of a node.
type Entry struct {
	Name string
	Ino  uint64
	Mode iofs.FileMode // type bits only
}

// Dir is a directory.
type Dir interface {
	Node
	// Lookup finds a node by its exact name: fs.ErrNotExist of io/fs.
	Lookup(ctx context.Context, name string) (Node, error)
	// Entries yields the directory's nodes as they are now, in name order or,
	// inside a guest, in the guest's, and stops at the first error, which it
	// yields.
	Entries(ctx context.Context) iter.Seq2[Entry, error]
}

// File is a regular file, only ever read.
type File interface {
	Node
	Open(ctx context.Context) (Handle, error)
}

// Link is a symbolic link.
type Link interface {
	Node
	Target(ctx context.Context) (string, error)
}

// Handle is an opened file. It is safe for concurrent use. ReadAt follows
// io.ReaderAt and gives up with ctx.Err() when ctx ends.
type Handle interface {
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	Close() error
}

// Extenter is a Handle that knows its holes.
type Extenter interface {
	// NextData returns the first offset at or behind off that may hold
	// something other than zeros, NextHole the first that does not, the end
	// of the file being a hole. Both return io.EOF where there is none.
	NextData(ctx context.Context, off int64) (int64, error)
	NextHole(ctx context.Context, off int64) (int64, error)
}
