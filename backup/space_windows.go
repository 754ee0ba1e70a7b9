package backup

import "golang.org/x/sys/windows"

// freeSpace is what this user may still write at dir.
func freeSpace(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, err
	}
	return int64(min(free, 1<<63-1)), nil
}

// syncDir has nothing to do: NTFS keeps names in its own journal.
func syncDir(string) error { return nil }
