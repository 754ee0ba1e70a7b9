package fs

import (
	"bytes"
	"context"
	"io"
	"time"
)

// text is a file that is made when it is opened.
type text struct {
	info Info             // but for the size
	now  func() time.Time // the time of a file that changes; nil of one that does not
	make func() []byte
}

func newText(ino uint64, when time.Time, make func() []byte) *text {
	return &text{info: Info{Ino: ino, Mode: fileMode, Links: 1, Time: when}, make: make}
}

// newVolatile makes a text that may be another each time.
func newVolatile(ino uint64, now func() time.Time, make func() []byte) *text {
	return &text{info: Info{Ino: ino, Mode: fileMode, Links: 1, Volatile: true}, now: now, make: make}
}

func (f *text) Stat(context.Context) (Info, error) {
	i := f.info
	i.Size = int64(len(f.make()))
	i.Alloc = i.Size
	if f.now != nil {
		i.Time = f.now()
	}
	return i, nil
}

func (f *text) Open(context.Context) (Handle, error) {
	return textHandle{bytes.NewReader(f.make())}, nil
}

type textHandle struct{ r *bytes.Reader }

func (h textHandle) ReadAt(_ context.Context, p []byte, off int64) (int, error) {
	return h.r.ReadAt(p, off)
}

func (h textHandle) Close() error { return nil }

// NextData and NextHole: all of it is data.
func (h textHandle) NextData(_ context.Context, off int64) (int64, error) {
	if off >= h.r.Size() {
		return 0, io.EOF
	}
	return off, nil
}

func (h textHandle) NextHole(_ context.Context, off int64) (int64, error) {
	if off >= h.r.Size() {
		return 0, io.EOF
	}
	return h.r.Size(), nil
}

const readmeName = "README.txt"

const readme = `Every restore point of every machine, as files.

    MACHINE/latest                  the newest restore point
    MACHINE/TIME/                   a restore point, its time in UTC
    MACHINE/TIME/*.vhdx             the disks, complete, whatever was backed up that day
    MACHINE/TIME/guest/             the files on the disks, a folder for each volume
    MACHINE/TIME/raw/*.raw          the same disks as flat images
    MACHINE/TIME/config/            the machine's own configuration files, and vm.json
    MACHINE/TIME/checkpoints/       the machine's own checkpoints
    MACHINE/TIME/restore-point.json how the restore point was made, and what is missing from it
    .vitrine/status                 what this mount is doing

Nothing here can be changed, and nothing that is done here changes a backup.
New restore points appear by themselves within seconds.

Look into a disk
    Linux     qemu-img info latest/DISK.vhdx
              losetup -r -P --find --show latest/raw/DISK.raw
              mount -o ro,noload /dev/loop0p2 /mnt/disk     (XFS: ro,norecovery,nouuid)
    Windows   Mount-VHD -ReadOnly -NoDriveLetter -Path V:\MACHINE\latest\DISK.vhdx
    Attach the disks of machines you do not trust to a test machine, not to
    this one: the file systems on them are read by the kernel.

Start a machine from it
    Linux     qemu-system-x86_64 -snapshot -drive file=latest/DISK.vhdx,format=vhdx ...
    Windows   New-VHD -Differencing -ParentPath V:\MACHINE\latest\DISK.vhdx -Path C:\try.vhdx
              and start a machine on C:\try.vhdx

Copy a disk out, keeping its holes
    cp --sparse=always latest/DISK.vhdx /somewhere/

Unmount
    vitrine umount DIR
`
