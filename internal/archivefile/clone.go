package archivefile

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sharesExtents tells whether the file system may let two files share extents (ioctl_ficlonerange(2)).
func (w *File) sharesExtents() bool {
	return w.magic == unix.XFS_SUPER_MAGIC || w.magic == unix.BTRFS_SUPER_MAGIC
}

// Clone makes size bytes at offset share the extents of source at from. The two offsets must be congruent modulo
// [Align]; what does not fill whole blocks at the ends is left out. It returns what was cloned, nothing where the
// file system, or this pair of files, cannot share.
func (w *File) Clone(source *os.File, from, offset, size int64) (Range, error) {
	if !w.sharesExtents() || (from-offset)%Align != 0 {
		return Range{}, nil
	}
	r := Range{begin: roundUp(offset), end: (offset + size) / Align * Align}
	if r.end <= r.begin {
		return Range{}, nil
	}
	err := w.retry(func(fd int) error {
		return unix.IoctlFileCloneRange(fd, &unix.FileCloneRange{Src_fd: int64(source.Fd()), Src_offset: uint64(from + r.begin - offset),
			Src_length: uint64(r.end - r.begin), Dest_offset: uint64(r.begin)})
	})
	switch {
	case err == nil:
		w.shared.Add(r.end - r.begin)
		return r, nil
	case isUnshareable(err):
		return Range{}, nil
	default:
		return Range{}, fmt.Errorf("share %d bytes at %d: %w", r.end-r.begin, r.begin, err)
	}
}

// isUnshareable tells whether cloning is impossible here, from it having gone wrong.
func isUnshareable(err error) bool {
	for _, e := range []error{unix.EOPNOTSUPP, unix.EXDEV, unix.EINVAL, unix.ENOTTY, unix.ENOSYS, unix.EPERM, unix.EACCES, unix.EBADF, unix.ETXTBSY} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// Shared returns how many bytes share extents with their sources.
func (w *File) Shared() int64 { return w.shared.Load() }

func roundUp(n int64) int64 { return (n + Align - 1) / Align * Align }
