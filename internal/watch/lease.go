package watch

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const leaseGranted = "a read lease was granted"

// probeWriters asks the kernel whether any process has f open for writing or mapped writably, by taking
// a read lease and giving it back. f must be open read-only. The error is ErrWriter or nil.
//
// A process that opens the file for writing between the two calls waits for the second one, some
// microseconds; only an open with O_NONBLOCK would be refused. Nothing may come between them,
// therefore raw system calls, which do not give the scheduler a chance. The signal that such an open
// sends to the holder is set to SIGURG, whose default is to be ignored and which the Go runtime uses
// itself; SIGIO, the usual one, ends a process that has no handler for it.
//
// The lease itself is local: on network file systems it says nothing about other hosts, and NFS
// answers EAGAIN for want of a delegation. They are not asked.
func probeWriters(f *os.File, on filesystem) (Closed, string, error) {
	if on.network {
		return ClosedUnknown, on.name + ": other hosts may have it open", nil
	}
	defer runtime.KeepAlive(f)
	fd := f.Fd()
	if _, err := unix.FcntlInt(fd, unix.F_SETSIG, int(unix.SIGURG)); err != nil {
		return ClosedUnknown, fmt.Sprintf("%s: set the signal of a lease: %v", on.name, err), nil
	}
	_, _, errno := unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLEASE, unix.F_RDLCK)
	if errno == 0 {
		unix.RawSyscall(unix.SYS_FCNTL, fd, unix.F_SETLEASE, unix.F_UNLCK)
		return ClosedYes, leaseGranted, nil
	}
	return leaseRefused(errno, on)
}

func leaseRefused(errno error, on filesystem) (Closed, string, error) {
	switch {
	case errors.Is(errno, unix.EAGAIN):
		return "", "", ErrWriter
	case errors.Is(errno, unix.EACCES), errors.Is(errno, unix.EPERM):
		return ClosedUnknown, "leases need the file's owner or CAP_LEASE", nil
	default:
		return ClosedUnknown, fmt.Sprintf("%s has no leases: %v", on.name, errno), nil
	}
}
