package tree

import (
	"io/fs"
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what the file system says of a file at one moment.
type Stat struct {
	Mode     uint32 // type and permissions, as in stat(2)
	UID, GID uint32
	Size     int64 // in bytes
	Dev, Ino uint64
	Links    uint64
	Access   unix.Timespec
	Modify   unix.Timespec
	Change   unix.Timespec
	// Mount tells that something is mounted there. False where the kernel cannot tell (before 5.8).
	Mount bool
}

// IsRegular tells whether it is a regular file.
func (s Stat) IsRegular() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// IsDir tells whether it is a directory.
func (s Stat) IsDir() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// IsLink tells whether it is a symbolic link.
func (s Stat) IsLink() bool { return s.Mode&unix.S_IFMT == unix.S_IFLNK }

// Perm returns the permission bits with setuid, setgid and sticky.
func (s Stat) Perm() uint32 { return s.Mode &^ unix.S_IFMT }

// ID tells files of one host apart at one moment: inode numbers are reused.
func (s Stat) ID() ID { return ID{s.Dev, s.Ino} }

// ID is device and inode number.
type ID struct{ Dev, Ino uint64 }

// SameContent tells whether it is the same file, with the same type and, but for a directory, the same size and time
// of the last write. A rename leaves it as it is.
func (s Stat) SameContent(o Stat) bool {
	return s.ID() == o.ID() && s.Mode&unix.S_IFMT == o.Mode&unix.S_IFMT && (s.IsDir() || s.Size == o.Size && s.Modify == o.Modify)
}

// Same tells whether nothing at all happened to the file: a changed mode, owner, name or link count shows
// in the time of the last change.
func (s Stat) Same(o Stat) bool {
	return s.SameContent(o) && s.Size == o.Size && s.Modify == o.Modify && s.Change == o.Change
}

// Changed returns the later of the times of the last write and of the last change of any kind.
func (s Stat) Changed() time.Time {
	m, c := time.Unix(s.Modify.Unix()), time.Unix(s.Change.Unix())
	if m.After(c) {
		return m
	}
	return c
}

func statAt(dir int, name string, flags int) (Stat, error) {
	const want = unix.STATX_BASIC_STATS
	var x unix.Statx_t
	err := retry(func() error { return unix.Statx(dir, name, flags|unix.AT_NO_AUTOMOUNT, want, &x) })
	if err != nil {
		return Stat{}, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	stamp := func(t unix.StatxTimestamp) unix.Timespec { return unix.NsecToTimespec(t.Sec*1e9 + int64(t.Nsec)) }
	return Stat{
		Mode: uint32(x.Mode), UID: x.Uid, GID: x.Gid, Size: int64(x.Size),
		Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Ino: x.Ino, Links: uint64(x.Nlink),
		Access: stamp(x.Atime), Modify: stamp(x.Mtime), Change: stamp(x.Ctime),
		Mount: x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0,
	}, nil
}
