package watch

import (
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
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	runtime.KeepAlive(f)
	if err != nil {
		return Stat{}, fmt.Errorf("stat open file %q: %w", f.Name(), err)
	}
	return newStat(&st), nil
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

func newStat(st *unix.Stat_t) Stat {
	return Stat{
		Size:       st.Size,
		ModTime:    st.Mtim.Nano(),
		ChangeTime: st.Ctim.Nano(),
		Dev:        uint64(st.Dev), //nolint:unconvert // its type depends on the architecture
		Ino:        st.Ino,
		Nlink:      uint64(st.Nlink), //nolint:unconvert // its type depends on the architecture
		Mode:       fileMode(st.Mode),
		UID:        st.Uid,
	}
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
	for bit, flag := range map[uint32]fs.FileMode{
		unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky,
	} {
		if mode&bit != 0 {
			m |= flag
		}
	}
	return m
}
