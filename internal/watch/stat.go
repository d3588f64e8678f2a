package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Stat is what the file system says of a file at one moment.
type Stat struct {
	// Size is in bytes.
	Size int64
	// ModTime and ChangeTime are in nanoseconds since 1970. Programs set ModTime at will, also
	// backwards; ChangeTime is the kernel's.
	ModTime, ChangeTime int64
	Dev, Ino, Nlink     uint64
	Mode                fs.FileMode
	UID                 uint32
}

// StatFile returns the state of an open file.
func StatFile(f *os.File) (Stat, error) {
	st, _, err := statAt(int(f.Fd()), "", 0)
	runtime.KeepAlive(f)
	if err != nil {
		return Stat{}, fmt.Errorf("stat open file %q: %w", f.Name(), err)
	}
	return st, nil
}

// Same tells whether nothing happened to the file between s and other: size, times, device and inode
// are equal. A changed mode, owner or link count shows in ChangeTime.
func (s Stat) Same(other Stat) bool {
	return s.Size == other.Size && s.ModTime == other.ModTime && s.ChangeTime == other.ChangeTime &&
		s.id() == other.id()
}

// fileID tells files of one host apart at one moment: inode numbers are reused.
type fileID struct{ dev, ino uint64 }

func (s Stat) id() fileID { return fileID{s.Dev, s.Ino} }

// place is where a file lies: the identifier of its mount (statx(2), STATX_MNT_ID), or with kernels
// before 5.8 its device.
type place uint64

// statAt returns the state of name in an open directory, a link itself and not its target; of the open
// file when name is empty. flags may be AT_STATX_FORCE_SYNC, which asks the server of a network file
// system whatever attributes are cached.
func statAt(dir int, name string, flags int) (Stat, place, error) {
	flags |= unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Statx_t
	for {
		err := unix.Statx(dir, name, flags, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EPERM): // old kernels, and old container runtimes
			return oldStatAt(dir, name)
		case err != nil:
			return Stat{}, 0, err
		}
		return newStat(&st), placeOf(&st), nil
	}
}

// oldStatAt is statAt by way of fstatat(2).
func oldStatAt(dir int, name string) (Stat, place, error) {
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, flags); err != nil {
		return Stat{}, 0, err
	}
	dev := uint64(st.Dev) //nolint:unconvert // its type depends on the architecture
	return Stat{
		Size:       st.Size,
		ModTime:    st.Mtim.Nano(),
		ChangeTime: st.Ctim.Nano(),
		Dev:        dev,
		Ino:        st.Ino,
		Nlink:      uint64(st.Nlink), //nolint:unconvert // its type depends on the architecture
		Mode:       fileMode(st.Mode),
		UID:        st.Uid,
	}, place(dev), nil
}

func newStat(st *unix.Statx_t) Stat {
	nano := func(t unix.StatxTimestamp) int64 { return t.Sec*1e9 + int64(t.Nsec) }
	return Stat{
		Size:       int64(st.Size),
		ModTime:    nano(st.Mtime),
		ChangeTime: nano(st.Ctime),
		Dev:        unix.Mkdev(st.Dev_major, st.Dev_minor),
		Ino:        st.Ino,
		Nlink:      uint64(st.Nlink),
		Mode:       fileMode(uint32(st.Mode)),
		UID:        st.Uid,
	}
}

func placeOf(st *unix.Statx_t) place {
	if st.Mask&unix.STATX_MNT_ID != 0 {
		return place(st.Mnt_id)
	}
	return place(unix.Mkdev(st.Dev_major, st.Dev_minor))
}

func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		m |= fs.ModeDir
	case unix.S_IFLNK:
		m |= fs.ModeSymlink
	case unix.S_IFIFO:
		m |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		m |= fs.ModeSocket
	case unix.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	case unix.S_IFBLK:
		m |= fs.ModeDevice
	default:
		m |= fs.ModeIrregular
	}
	if mode&unix.S_ISUID != 0 {
		m |= fs.ModeSetuid
	}
	if mode&unix.S_ISGID != 0 {
		m |= fs.ModeSetgid
	}
	if mode&unix.S_ISVTX != 0 {
		m |= fs.ModeSticky
	}
	return m
}
