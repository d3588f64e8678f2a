package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// tree opens what lies below one directory. No symbolic link below it is followed, not even to a place
// inside of it (os.Root follows those), so paths always mean what a listing said.
type tree struct {
	top  *os.File
	path string // of top, absolute and free of symbolic links when it was opened
	stat Stat
}

// openTree opens the directory at path, which may be a symbolic link.
func openTree(path string) (*tree, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("open watch root %q: %w", path, err)
	}
	fd, err := openat(unix.AT_FDCWD, real, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, fs.ErrPermission) {
		return nil, fmt.Errorf("open watch root %q: %w; this user needs read and search permission", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("open watch root %q: %w", path, err)
	}
	top := os.NewFile(uintptr(fd), real)
	st, err := StatFile(top)
	if err != nil {
		top.Close()
		return nil, fmt.Errorf("open watch root %q: %w", path, err)
	}
	return &tree{top: top, path: real, stat: st}, nil
}

func (t *tree) close() { t.top.Close() }

// lstat returns the state of what is at rel, a link itself and not its target.
func (t *tree) lstat(rel string) (Stat, error) {
	parent, base, err := t.parent(rel)
	if err != nil {
		return Stat{}, err
	}
	defer unix.Close(parent)
	return lstatAt(parent, base, rel)
}

// readlink returns the text of the symbolic link at rel.
func (t *tree) readlink(rel string) (string, error) {
	parent, base, err := t.parent(rel)
	if err != nil {
		return "", err
	}
	defer unix.Close(parent)
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(parent, base, buf)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: rel, Err: err}
	}
	return string(buf[:n]), nil
}

// dir opens the directory at rel for listing; "." is the root.
func (t *tree) dir(rel string) (*os.File, error) {
	return t.open(rel, unix.O_RDONLY|unix.O_DIRECTORY)
}

// file opens the regular file at rel for reading. Something else that has taken its place is opened at
// most for an instant and without waiting for anyone.
func (t *tree) file(rel string) (*os.File, Stat, error) {
	f, err := t.open(rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, Stat{}, err
	}
	st, err := StatFile(f)
	if err == nil {
		err = typeError(st.Mode)
	}
	if err != nil {
		f.Close()
		return nil, Stat{}, fmt.Errorf("open %q: %w", rel, err)
	}
	return f, st, nil
}

func (t *tree) open(rel string, flags int) (*os.File, error) {
	parent, base, err := t.parent(rel)
	if err != nil {
		return nil, err
	}
	defer unix.Close(parent)
	fd, err := openat(parent, base, flags)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: rel, Err: err}
	}
	if flags&unix.O_NONBLOCK != 0 {
		// It was for the open alone: reads of a regular file are ordinary ones.
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		unix.Close(fd)
		return nil, &fs.PathError{Op: "open", Path: rel, Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(t.path, rel)), nil
}

// parent opens the directory that holds rel, step by step, and returns rel's last element.
func (t *tree) parent(rel string) (fd int, base string, err error) {
	if !filepath.IsLocal(rel) || filepath.Clean(rel) != rel {
		return -1, "", &fs.PathError{Op: "open", Path: rel, Err: fs.ErrInvalid}
	}
	fd, err = openat(int(t.top.Fd()), ".", unix.O_PATH|unix.O_DIRECTORY)
	for err == nil {
		step, rest, more := strings.Cut(rel, "/")
		if !more {
			return fd, rel, nil
		}
		var next int
		next, err = openat(fd, step, unix.O_PATH|unix.O_DIRECTORY)
		unix.Close(fd)
		fd, rel = next, rest
	}
	return -1, "", &fs.PathError{Op: "open the directory of", Path: rel, Err: err}
}

// openat opens name without following it when it is a symbolic link.
func openat(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func lstatAt(dir int, name, rel string) (Stat, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Stat{}, &fs.PathError{Op: "stat", Path: rel, Err: err}
	}
	return newStat(&st), nil
}

// vanished tells whether err means that nothing is at a path any more: a normal outcome between a
// listing and an open. A directory on the way that became a file or a link counts as well.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
