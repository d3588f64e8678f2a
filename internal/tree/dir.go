package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Dir is an open directory.
type Dir struct {
	file *os.File
	path string
}

// maxLinks is how many symbolic links one path may lead over, as in the kernel.
const maxLinks = 40

// Open opens the directory at path, which is absolute. Links on the way are followed only where root or
// this user made them, so that another user who owns a part of the path cannot lead elsewhere.
func Open(path string) (*Dir, error) {
	d, err := openPath(path, maxLinks)
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", path, bare(err))
	}
	return d, nil
}

func openPath(path string, links int) (*Dir, error) {
	d, err := openDir(unix.AT_FDCWD, "/", "/")
	if err != nil {
		return nil, err
	}
	rest := strings.Trim(filepath.Clean(path), "/")
	for rest != "" {
		name, after, _ := strings.Cut(rest, "/")
		next, err := d.Sub(name)
		if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
			target, linkErr := d.trustedLink(name)
			d.Close()
			if linkErr != nil {
				return nil, linkErr
			}
			if links == 0 {
				return nil, unix.ELOOP
			}
			return openPath(filepath.Join(target, after), links-1)
		}
		d.Close()
		if err != nil {
			return nil, err
		}
		d, rest = next, after
	}
	return d, nil
}

// trustedLink returns where a symbolic link leads, as an absolute path.
func (d *Dir) trustedLink(name string) (string, error) {
	st, err := d.Stat(name)
	switch {
	case err != nil:
		return "", err
	case !st.IsLink():
		return "", unix.ENOTDIR
	case st.UID != 0 && st.UID != uint32(os.Geteuid()):
		return "", fmt.Errorf("%q is a symbolic link of user %d, who could lead it anywhere: name the directory itself", filepath.Join(d.path, name), st.UID)
	}
	target, err := d.Readlink(name)
	if err == nil && !filepath.IsAbs(target) {
		target = filepath.Join(d.path, target)
	}
	return target, err
}

func openDir(at int, name, path string) (*Dir, error) {
	fd, err := openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) { // not its owner
		fd, err = openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	}
	if errors.Is(err, unix.EACCES) { // enough to pass through; it cannot be listed
		fd, err = openat(at, name, unix.O_PATH|unix.O_DIRECTORY, 0)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Dir{file: os.NewFile(uintptr(fd), path), path: path}, nil
}

// Path returns where the directory was when it was opened.
func (d *Dir) Path() string { return d.path }

// Join returns the path of a name in the directory.
func (d *Dir) Join(name string) string { return filepath.Join(d.path, name) }

// Close closes the handle.
func (d *Dir) Close() error { return d.file.Close() }

func (d *Dir) fd() int { return int(d.file.Fd()) }

// Fd returns the descriptor, which stays the directory's.
func (d *Dir) Fd() int { return d.fd() }

// File returns the open directory as a file, which stays the directory's.
func (d *Dir) File() *os.File { return d.file }

// Self returns the state of the directory.
func (d *Dir) Self() (Stat, error) {
	st, err := statAt(d.fd(), "", unix.AT_EMPTY_PATH)
	return st, named(err, d.path)
}

// Stat returns the state of what has a name in the directory, of a link itself and not of its target.
func (d *Dir) Stat(name string) (Stat, error) {
	if err := d.check("stat", name); err != nil {
		return Stat{}, err
	}
	st, err := statAt(d.fd(), name, unix.AT_SYMLINK_NOFOLLOW)
	return st, named(err, d.Join(name))
}

// StatFile returns the state of an open file.
func StatFile(f *os.File) (Stat, error) {
	st, err := statAt(int(f.Fd()), "", unix.AT_EMPTY_PATH)
	return st, named(err, f.Name())
}

// Names lists the directory. The order is the file system's.
func (d *Dir) Names() ([]string, error) {
	again, err := openDir(d.fd(), ".", d.path) // a descriptor has but one place in the listing
	if err != nil {
		return nil, err
	}
	defer again.Close()
	names, err := again.file.Readdirnames(-1)
	return names, named(err, d.path)
}

// Sub opens a directory in this one.
func (d *Dir) Sub(name string) (*Dir, error) {
	if err := d.check("open", name); err != nil {
		return nil, err
	}
	return openDir(d.fd(), name, d.Join(name))
}

// Descend opens the directory at rel, a slash separated path below this one; "." is this one again.
func (d *Dir) Descend(rel string) (*Dir, error) {
	here, err := openDir(d.fd(), ".", d.path)
	for _, name := range elements(rel) {
		if err != nil {
			return nil, err
		}
		var next *Dir
		next, err = here.Sub(name)
		here.Close()
		here = next
	}
	return here, err
}

// Readlink returns the text of a symbolic link.
func (d *Dir) Readlink(name string) (string, error) {
	if err := d.check("readlink", name); err != nil {
		return "", err
	}
	buffer := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd(), name, buffer)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: d.Join(name), Err: err}
	}
	return string(buffer[:n]), nil
}

// check refuses what is not one name: it would lead out of the directory.
func (d *Dir) check(op, name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return &fs.PathError{Op: op, Path: d.Join(name), Err: fs.ErrInvalid}
	}
	return nil
}

func elements(rel string) []string {
	if rel == "." || rel == "" {
		return nil
	}
	return strings.Split(rel, "/")
}

// openat opens name without following it when it is a symbolic link.
func openat(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = retry(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		return err
	})
	return fd, err
}

// retry makes a call again that a signal interrupted.
func retry(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// named gives a path error the path that people know.
func named(err error, path string) error {
	var wrong *fs.PathError
	if errors.As(err, &wrong) {
		return &fs.PathError{Op: wrong.Op, Path: path, Err: wrong.Err}
	}
	return err
}

// bare returns the cause of a path error, whose path is said otherwise.
func bare(err error) error {
	var wrong *fs.PathError
	if errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}
