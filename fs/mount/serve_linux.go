//go:build linux && !cgofuse

package mount

import (
	"context"
	"fmt"
	"log"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	gofs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"

	"vitrine/fs"
)

const (
	maxRequest    = 1 << 20   // bytes that one request may read
	maxBackground = 64        // requests that the kernel sends in advance
	maxInflight   = 128 << 20 // bytes of requests held at a time
	readAheadKB   = 4096      // what the kernel may read in advance, if we may say so
)

// Links says that a mount on this system shows symbolic links.
const Links = true

// How long the kernel remembers: nothing inside a restore point ever changes,
// what lies above does.
const (
	longTime  = time.Hour
	shortTime = time.Second
)

// fuseServer is a mount through go-fuse.
type fuseServer struct {
	dir string
	s   *fuse.Server
}

func serve(_ context.Context, tree *fs.Tree, dir string, o Options) (server, error) {
	sink := log.New(errorWriter{o.OnError}, "", 0)
	root := &node{m: newMapping(tree, o), n: tree.Root(), changing: true}
	options := &gofs.Options{
		MountOptions: fuse.MountOptions{
			AllowOther:              o.AllowOther,
			Options:                 append([]string{"ro"}, o.Forward...),
			FsName:                  o.Name,
			Name:                    "vitrine",
			MaxWrite:                maxRequest,
			MaxBackground:           maxBackground,
			MaxInflightRequestBytes: maxInflight,
			ExtraCapabilities:       fuse.CAP_ASYNC_DIO | fuse.CAP_READDIRPLUS_AUTO | fuse.CAP_DIRECT_IO_ALLOW_MMAP,
			DisableXAttrs:           true,
			DisableSplice:           true, // replies come from memory
			DirectMount:             os.Geteuid() == 0,
			DirectMountFlags:        syscall.MS_RDONLY | syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOATIME,
			Logger:                  sink,
			PanicHandler: func(v any) fuse.Status {
				o.OnError(fmt.Errorf("mount: %v\n%s", v, debug.Stack()))
				return fuse.EIO
			},
		},
		NullPermissions: true,
		RootStableAttr:  &gofs.StableAttr{Ino: fuse.FUSE_ROOT_ID},
	}
	if o.AllowOther && !slices.Contains(o.Forward, "default_permissions") {
		options.Options = append(options.Options, "default_permissions")
	}
	if err := canMount(o); err != nil {
		return nil, err
	}
	s, err := gofs.Mount(dir, root, options)
	if err != nil {
		return nil, explain(err)
	}
	root.watch(tree)
	if err := raiseReadAhead(dir); err != nil && os.Geteuid() == 0 {
		o.OnError(err)
	}
	return &fuseServer{dir, s}, nil
}

// errorWriter passes a log's lines on as errors, but for one: that the kernel
// no longer waits for an answer, since its reader was killed or the mount has
// ended, is none.
type errorWriter struct{ to func(error) }

func (w errorWriter) Write(p []byte) (int, error) {
	if unawaited := fuse.ENOENT.String(); strings.Contains(string(p), "Writev failed, err: "+unawaited) {
		return len(p), nil
	}
	w.to(fmt.Errorf("mount: %s", strings.TrimSpace(string(p))))
	return len(p), nil
}

func (s *fuseServer) wait() { s.s.Wait() }

func (s *fuseServer) unmount() error { return unmountDir(s.dir, false) }

func (s *fuseServer) detach() error { return unmountDir(s.dir, true) }

// raiseReadAhead lets the kernel read further ahead than the 128 KiB that it
// grants by itself, which only root may. It does not touch the mount, for a
// process must not wait for itself.
func raiseReadAhead(dir string) error {
	mounts, err := mountsAt(dir)
	if err != nil || len(mounts) == 0 {
		return err
	}
	file := "/sys/class/bdi/" + mounts[len(mounts)-1].device + "/read_ahead_kb"
	if err := os.WriteFile(file, []byte(strconv.Itoa(readAheadKB)), 0); err != nil {
		return fmt.Errorf("mount: raise read-ahead: %w", err)
	}
	return nil
}
