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
	path string // of the root, absolute and free of symbolic links when it was opened
	stat Stat   // of the root
	at   place  // of the root
	// top is the root, held so that its inode number is not given to another directory; nil where the
	// root is a mount point, which could not be unmounted while it is open.
	top *os.File
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
	t := &tree{path: real, top: os.NewFile(uintptr(fd), real)}
	if t.stat, t.at, err = statAt(fd, "", 0); err != nil {
		t.close()
		return nil, fmt.Errorf("open watch root %q: %w", path, err)
	}
	if isMountPoint(fd) {
		t.close()
		t.top = nil
	}
	return t, nil
}

func isMountPoint(dir int) bool {
	var st unix.Statx_t
	err := unix.Statx(dir, "", unix.AT_EMPTY_PATH, unix.STATX_INO, &st)
	return err == nil && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

func (t *tree) close() {
	if t.top != nil {
		t.top.Close()
	}
}

// current tells whether path still leads to the directory that was opened.
func (t *tree) current(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("check watch root %q: %w", path, err)
	}
	defer unix.Close(fd)
	st, at, err := statAt(fd, "", 0)
	if err != nil {
		return fmt.Errorf("check watch root %q: %w", path, err)
	}
	if st.id() != t.stat.id() || at != t.at {
		return fmt.Errorf("check watch root %q: it was replaced by another file or directory", path)
	}
	return nil
}

// root opens the root.
func (t *tree) root(flags int) (int, error) {
	if t.top != nil {
		return openat(int(t.top.Fd()), ".", flags|unix.O_DIRECTORY)
	}
	fd, err := openat(unix.AT_FDCWD, t.path, flags|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	if st, at, err := statAt(fd, "", 0); err != nil || st.id() != t.stat.id() || at != t.at {
		unix.Close(fd)
		return -1, unix.ENOENT
	}
	return fd, nil
}

// lstat returns the state of what is at rel, a link itself and not its target.
func (t *tree) lstat(rel string) (Stat, error) {
	parent, base, err := t.parent(rel)
	if err != nil {
		return Stat{}, err
	}
	defer unix.Close(parent)
	st, _, err := statAt(parent, base, 0)
	if err != nil {
		return Stat{}, &fs.PathError{Op: "stat", Path: rel, Err: err}
	}
	return st, nil
}

// file opens the regular file at rel for reading.
func (t *tree) file(rel string) (*os.File, Stat, error) {
	parent, base, err := t.parent(rel)
	if err != nil {
		return nil, Stat{}, err
	}
	defer unix.Close(parent)
	return openFile(parent, base, rel, filepath.Join(t.path, rel))
}

// parent opens the directory that holds rel, step by step, and returns rel's last element.
func (t *tree) parent(rel string) (fd int, base string, err error) {
	if !filepath.IsLocal(rel) || filepath.Clean(rel) != rel {
		return -1, "", &fs.PathError{Op: "open", Path: rel, Err: fs.ErrInvalid}
	}
	fd, err = t.root(unix.O_PATH)
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

// openFile opens the regular file of this name in an open directory for reading. Something else that
// has taken its place is opened at most for an instant and without waiting for anyone.
func openFile(dir int, name, rel, abs string) (*os.File, Stat, error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, Stat{}, &fs.PathError{Op: "open", Path: rel, Err: err}
	}
	// It was for the open alone: reads of a regular file are ordinary ones.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, Stat{}, &fs.PathError{Op: "open", Path: rel, Err: err}
	}
	f := os.NewFile(uintptr(fd), abs)
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

// vanished tells whether err means that nothing is at a path any more: a normal outcome between a
// listing and an open. A directory on the way that became a file or a link counts as well.
func vanished(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
}
