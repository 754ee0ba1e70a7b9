//go:build linux

package mount_test

import (
	"testing"

	"vitrine/fs/mount"
)

const table = `22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
31 22 0:48 / /mnt/v ro,nosuid,nodev,noatime shared:2 master:3 - fuse.vitrine vitrine ro,user_id=0
32 22 0:49 / /mnt/with\040space\134x rw - fuse.vitrine a\040b rw
33 31 0:50 / /mnt/v rw - tmpfs tmpfs rw
broken
34 22 0:51 / /mnt/no-separator rw fuse.vitrine
`

func TestMountinfo(t *testing.T) {
	for dir, want := range map[string][2]string{
		"/":                 {"8:1", "ext4"},
		"/mnt/v":            {"0:50", "tmpfs"},
		`/mnt/with space\x`: {"0:49", "fuse.vitrine"},
		"/mnt/no-separator": {},
		"/mnt/not-mounted":  {},
	} {
		device, kind := mount.Mountinfo(table, dir)
		if device != want[0] || kind != want[1] {
			t.Errorf("%s: %q %q, want %q", dir, device, kind, want)
		}
	}
}

func TestFuseConf(t *testing.T) {
	for conf, want := range map[string]bool{
		"":                                    false,
		"# user_allow_other\nmount_max = 5\n": false,
		"mount_max = 5\n  user_allow_other  \n#x": true,
		"user_allow_others\n":                     false,
	} {
		if got := mount.AllowsOther(conf); got != want {
			t.Errorf("%q: %v, want %v", conf, got, want)
		}
	}
}
