package lease

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Use is how a file is open elsewhere.
type Use int

// The answers.
const (
	Unknown Use = iota // leases need the file's owner or CAP_LEASE, and a local file system
	Nobody             // no other descriptor and no mapping
	Readers            // some process has it open for reading
	Writers            // some process has it open for writing, or mapped writably
)

// Probe tells how a file is open elsewhere. f must be open for reading only, and be the only descriptor
// that this process has of the file.
//
// A write lease is granted when nobody else has the file open, a read lease when nobody has it open for
// writing (fcntl(2)). A process that opens the file between the two calls of a probe waits for the second
// one, some microseconds. Nothing may come between them, therefore raw system calls, which do not give
// the scheduler a chance. The signal that such an open sends is set to SIGURG, whose default is to be ignored
// and which the Go runtime uses itself; SIGIO, the usual one, ends a process that has no handler for it.
func Probe(f *os.File) Use {
	defer runtime.KeepAlive(f)
	fd := f.Fd()
	if isRemote(int(fd)) {
		return Unknown
	}
	if _, err := unix.FcntlInt(fd, unix.F_SETSIG, int(unix.SIGURG)); err != nil {
		return Unknown
	}
	switch err := take(fd, unix.F_WRLCK); {
	case err == nil:
		return Nobody
	case !errors.Is(err, unix.EAGAIN):
		return Unknown
	}
	switch err := take(fd, unix.F_RDLCK); {
	case err == nil:
		return Readers
	case errors.Is(err, unix.EAGAIN):
		return Writers
	}
	return Unknown
}

func take(fd uintptr, kind uintptr) error {
	_, _, errno := unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLEASE, kind)
	if errno != 0 {
		return errno
	}
	unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLEASE, unix.F_UNLCK)
	return nil
}

// local are the file systems whose files no other host writes to, and which grant leases.
var local = []uint32{unix.BTRFS_SUPER_MAGIC, unix.EXT4_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.OVERLAYFS_SUPER_MAGIC,
	unix.TMPFS_MAGIC, unix.XFS_SUPER_MAGIC, 0x2FC12FC1 /* zfs */}

// isRemote tells whether other hosts may have the file open unseen by this kernel.
func isRemote(fd int) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(fd, &st) != nil {
		return true
	}
	for _, magic := range local {
		if uint32(st.Type) == magic {
			return false
		}
	}
	return true
}
