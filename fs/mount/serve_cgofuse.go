//go:build windows || cgofuse

package mount

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/winfsp/cgofuse/fuse"

	"vitrine/fs"
)

const (
	startTime  = 10 * time.Second // how long a mount may take to appear
	answerTime = 4 * time.Minute  // Windows gives a request up after five
)

// hostServer is a mount through cgofuse: WinFsp on Windows, libfuse on Linux.
type hostServer struct {
	dir    string
	host   *fuse.FileSystemHost
	fsys   *pathFS
	system *hostSystem
	cancel context.CancelFunc
	ended  chan struct{}
	err    error // why it never began; set before ended is closed
}

func serve(ctx context.Context, tree *fs.Tree, dir string, o Options) (server, error) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s := &hostServer{dir: dir, fsys: newPathFS(own, tree, o), cancel: cancel, ended: make(chan struct{})}
	s.host = fuse.NewFileSystemHost(s.fsys)
	s.host.SetCapReaddirPlus(true)
	s.host.SetCapCaseInsensitive(foldCase)
	s.host.SetUseIno(true)
	point, args, err := hostArgs(dir, o)
	if err != nil {
		cancel()
		return nil, err
	}
	go s.run(point, args)
	if err := s.started(ctx); err != nil {
		return nil, err
	}
	if s.system, err = newHostSystem(s, o); err != nil {
		s.host.Unmount()
		<-s.ended
		return nil, err
	}
	s.fsys.watch(s.host)
	return s, nil
}

// run serves until the mount ends. cgofuse panics when WinFsp or libfuse is
// not there, and tells no reason otherwise.
func (s *hostServer) run(point string, args []string) {
	defer close(s.ended)
	defer s.cancel()
	defer func() {
		if v := recover(); v != nil {
			s.err = missing(fmt.Errorf("%v", v))
		}
	}()
	if !s.host.Mount(point, args) {
		s.err = errRefused
	}
}

var errRefused = errors.New("the system refused to mount; its log has the reason")

// started waits until the mount can be seen: Init is called before that.
func (s *hostServer) started(ctx context.Context) error {
	limit := time.After(startTime)
	for {
		select {
		case <-s.ended:
			if s.err == nil {
				s.err = errRefused
			}
			return s.err
		case <-s.fsys.ready:
			if visible(s.dir) {
				return nil
			}
		default:
		}
		select {
		case <-time.After(10 * time.Millisecond):
			continue
		case <-limit:
		case <-ctx.Done():
		}
		s.host.Unmount()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("the mount did not appear within %v", startTime)
	}
}

func (s *hostServer) wait() {
	<-s.ended
	s.system.close()
}

func (s *hostServer) unmount() error { return s.system.unmount(s) }

func (s *hostServer) detach() error { return s.system.detach(s) }
