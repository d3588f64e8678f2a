package lease

import (
	"errors"
	"fmt"
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

// Kind is a kind of lease (fcntl(2)).
type Kind int

// The kinds.
const (
	Write Kind = unix.F_WRLCK // is granted when nobody else has the file open
	Read  Kind = unix.F_RDLCK // is granted when nobody has it open for writing, or mapped writably
)

// Take takes a lease and gives it back. f must be open for reading only. The error is nil when it was granted, EAGAIN when
// the file is in use, EACCES or EPERM without the right to ask, and another one where there are no leases.
//
// A process that opens the file between the two calls waits for the second one, some microseconds; only an open
// with O_NONBLOCK would be refused. Nothing may come between them, therefore raw system calls, which do not
// give the scheduler a chance. The signal that such an open sends to the holder is set to SIGURG, whose default
// is to be ignored and which the Go runtime uses itself; SIGIO, the usual one, ends a process that has no
// handler for it.
func Take(f *os.File, kind Kind) error {
	defer runtime.KeepAlive(f)
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETSIG, int(unix.SIGURG)); err != nil {
		return fmt.Errorf("set the signal of a lease: %w", err)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLEASE, uintptr(kind)); errno != 0 {
		return errno
	}
	unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLEASE, unix.F_UNLCK)
	return nil
}

// Probe tells how a file is open elsewhere. f must be open for reading only, and be the only descriptor
// that this process has of the file.
func Probe(f *os.File) Use {
	if isRemote(int(f.Fd())) {
		return Unknown
	}
	switch err := Take(f, Write); {
	case err == nil:
		return Nobody
	case !errors.Is(err, unix.EAGAIN):
		return Unknown
	}
	switch err := Take(f, Read); {
	case err == nil:
		return Readers
	case errors.Is(err, unix.EAGAIN):
		return Writers
	}
	return Unknown
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
