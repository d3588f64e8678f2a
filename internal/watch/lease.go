package watch

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/lease"
)

const leaseGranted = "a read lease was granted"

// probeWriters asks the kernel whether any process has f open for writing or mapped writably, by taking
// a read lease and giving it back. f must be open read-only. The error is ErrWriter or nil.
//
// The lease itself is local: on network file systems it says nothing about other hosts, and NFS
// answers EAGAIN for want of a delegation. They are not asked.
func probeWriters(f *os.File, on filesystem) (Closed, string, error) {
	if on.network {
		return ClosedUnknown, on.name + ": other hosts may have it open", nil
	}
	if err := lease.Take(f, lease.Read); err != nil {
		return leaseRefused(err, on)
	}
	return ClosedYes, leaseGranted, nil
}

func leaseRefused(err error, on filesystem) (Closed, string, error) {
	switch {
	case errors.Is(err, unix.EAGAIN):
		return "", "", ErrWriter
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return ClosedUnknown, "leases need the file's owner or CAP_LEASE", nil
	default:
		return ClosedUnknown, fmt.Sprintf("%s has no leases: %v", on.name, err), nil
	}
}
