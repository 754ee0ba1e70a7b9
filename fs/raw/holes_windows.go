package raw

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"time"

	"golang.org/x/sys/windows"
)

// basicInfo is FILE_BASIC_INFO: four times of 8 bytes, of which the third is
// that of the last write and the fourth that of the last change, and the
// attributes.
func basicInfo(f *os.File) (b [40]byte, err error) {
	err = windows.GetFileInformationByHandleEx(windows.Handle(f.Fd()), windows.FileBasicInfo, &b[0], uint32(len(b)))
	return b, err
}

// holesReliable reports whether f is a sparse file on a local disk. NTFS and
// ReFS know the allocated ranges of what is not written back yet.
func holesReliable(f *os.File) bool {
	b, err := basicInfo(f)
	if err != nil || binary.LittleEndian.Uint32(b[32:])&windows.FILE_ATTRIBUTE_SPARSE_FILE == 0 {
		return false
	}
	var remote [116]byte // FILE_REMOTE_PROTOCOL_INFO: only files of another machine have it
	err = windows.GetFileInformationByHandleEx(windows.Handle(f.Fd()), windows.FileRemoteProtocolInfo, &remote[0], uint32(len(remote)))
	return err != nil
}

func nextData(f *os.File, off, size int64) (start, end int64, err error) {
	var ask, answer [16]byte // FILE_ALLOCATED_RANGE_BUFFER: offset, length
	binary.LittleEndian.PutUint64(ask[0:], uint64(off))
	binary.LittleEndian.PutUint64(ask[8:], uint64(size-off))
	var n uint32
	err = windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_QUERY_ALLOCATED_RANGES,
		&ask[0], uint32(len(ask)), &answer[0], uint32(len(answer)), &n, nil)
	if err != nil && !errors.Is(err, windows.ERROR_MORE_DATA) {
		return 0, 0, err
	}
	if n < uint32(len(answer)) {
		return 0, 0, io.EOF
	}
	start = int64(binary.LittleEndian.Uint64(answer[0:]))
	return start, start + int64(binary.LittleEndian.Uint64(answer[8:])), nil
}

func stampOf(f *os.File) (stamp, error) {
	info, err := f.Stat()
	if err != nil {
		return stamp{}, err
	}
	b, err := basicInfo(f)
	if err != nil {
		return stamp{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	changed := int64(binary.LittleEndian.Uint64(b[24:]))
	filetime := windows.Filetime{LowDateTime: uint32(changed), HighDateTime: uint32(changed >> 32)}
	return stamp{info.Size(), info.ModTime(), time.Unix(0, filetime.Nanoseconds())}, nil
}

func deviceSize(f *os.File) (int64, error) {
	return f.Seek(0, io.SeekEnd)
}

// prepare makes an empty file one that can have holes. A file system that has
// none stores the zeros.
func prepare(f *os.File) error {
	var n uint32
	err := windows.DeviceIoControl(windows.Handle(f.Fd()), windows.FSCTL_SET_SPARSE, nil, 0, nil, 0, &n, nil)
	if errors.Is(err, windows.ERROR_INVALID_FUNCTION) || errors.Is(err, windows.ERROR_NOT_SUPPORTED) {
		return nil
	}
	return err
}

// startWriteback leaves it to Windows when to write.
func startWriteback(*os.File, int64, int64) error { return nil }
