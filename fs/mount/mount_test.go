//go:build linux

package mount_test

import (
	"testing"
	"time"

	"vitrine/fs/fstest"
)

func TestMountedTree(t *testing.T) {
	needFUSE(t)
	fstest.Run(t, func(t *testing.T, setup fstest.Setup) *fstest.Subject {
		s := launch(t, job{Setup: setup})
		return &fstest.Subject{
			View: fstest.Mounted(s.dir), Dir: s.dir, Do: s.do, Settle: 5 * time.Second,
			NoHoles: noHoles,
		}
	})
}
