package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrExists tells that a name that was to be given is taken.
var ErrExists = fs.ErrExist

// OpenFile opens a regular file in the directory for reading. A pipe that has taken its place is not waited for,
// and the time of the last access stays where this user may say so.
func (d *Dir) OpenFile(name string) (*os.File, Stat, error) {
	if err := d.check("open", name); err != nil {
		return nil, Stat{}, err
	}
	const flags = unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := openat(d.fd(), name, flags|unix.O_NOATIME, 0)
	if errors.Is(err, unix.EPERM) {
		fd, err = openat(d.fd(), name, flags, 0)
	}
	if err != nil {
		return nil, Stat{}, &fs.PathError{Op: "open", Path: d.Join(name), Err: err}
	}
	return d.regular(fd, name)
}

// AppendFile opens a regular file in the directory for reading and appending, and makes it if there is none.
func (d *Dir) AppendFile(name string) (f *os.File, made bool, err error) {
	if err := d.check("open", name); err != nil {
		return nil, false, err
	}
	const flags = unix.O_RDWR | unix.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY
	fd, err := openat(d.fd(), name, flags, 0)
	if errors.Is(err, fs.ErrNotExist) {
		made = true
		fd, err = openat(d.fd(), name, flags|unix.O_CREAT|unix.O_EXCL, 0o644)
	}
	if err != nil {
		return nil, false, &fs.PathError{Op: "open", Path: d.Join(name), Err: err}
	}
	f, _, err = d.regular(fd, name)
	return f, made, err
}

// CreateFile makes a file that nobody else can open yet.
func (d *Dir) CreateFile(name string) (*os.File, error) {
	if err := d.check("create", name); err != nil {
		return nil, err
	}
	fd, err := openat(d.fd(), name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: d.Join(name), Err: err}
	}
	return os.NewFile(uintptr(fd), d.Join(name)), nil
}

func (d *Dir) regular(fd int, name string) (*os.File, Stat, error) {
	f := os.NewFile(uintptr(fd), d.Join(name))
	st, err := StatFile(f)
	if err == nil && !st.IsRegular() {
		err = &fs.PathError{Op: "open", Path: d.Join(name), Err: errors.New("it is not a regular file")}
	}
	if err == nil { // O_NONBLOCK was for the open alone
		err = unix.SetNonblock(fd, false)
	}
	if err != nil {
		f.Close()
		return nil, Stat{}, err
	}
	return f, st, nil
}

// MakeDir makes a directory with this mode, less the umask.
func (d *Dir) MakeDir(name string, mode uint32) error {
	if err := d.check("mkdir", name); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Mkdirat(d.fd(), name, mode) }); err != nil {
		return &fs.PathError{Op: "mkdir", Path: d.Join(name), Err: err}
	}
	return nil
}

// MakeAll opens the directory at rel, and makes what is missing on the way. What it makes is synced and belongs
// to the owner of the directory above, where this user may say so.
func (d *Dir) MakeAll(rel string) (*Dir, error) {
	here, err := openDir(d.fd(), ".", d.path)
	for _, name := range elements(rel) {
		if err != nil {
			return nil, err
		}
		var next *Dir
		next, err = here.enter(name)
		here.Close()
		here = next
	}
	return here, err
}

// enter opens a directory in this one, and makes it where it is missing.
func (d *Dir) enter(name string) (*Dir, error) {
	next, err := d.Sub(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return next, err
	}
	if err := d.MakeDir(name, 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if next, err = d.Sub(name); err != nil {
		return nil, err
	}
	if err := errors.Join(next.GiveTo(next.file, d), d.Sync()); err != nil {
		next.Close()
		return nil, err
	}
	return next, nil
}

// GiveTo gives a file that root made to the owner of a directory, which it is in.
func (d *Dir) GiveTo(f *os.File, above *Dir) error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner, err := above.Self()
	if err != nil {
		return err
	}
	made, err := StatFile(f)
	if err != nil || made.UID != 0 || owner.UID == 0 || made.IsRegular() && made.Links != 1 {
		return err
	}
	if err := f.Chown(int(owner.UID), int(owner.GID)); err != nil {
		return fmt.Errorf("give to the owner of the directory above: %w", err)
	}
	return nil
}

// Symlink makes a symbolic link.
func (d *Dir) Symlink(target, name string) error {
	if err := d.check("symlink", name); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Symlinkat(target, d.fd(), name) }); err != nil {
		return &fs.PathError{Op: "symlink", Path: d.Join(name), Err: err}
	}
	return nil
}

// Link gives what has a name in this directory a second name in another. It is not followed when it is
// a symbolic link.
func (d *Dir) Link(name string, to *Dir, toName string) error {
	if err := errors.Join(d.check("link", name), to.check("link", toName)); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Linkat(d.fd(), name, to.fd(), toName, 0) }); err != nil {
		return &os.LinkError{Op: "link", Old: d.Join(name), New: to.Join(toName), Err: err}
	}
	return nil
}

// Remove removes a name of what is no directory.
func (d *Dir) Remove(name string) error { return d.unlink(name, 0) }

// RemoveDir removes an empty directory.
func (d *Dir) RemoveDir(name string) error { return d.unlink(name, unix.AT_REMOVEDIR) }

func (d *Dir) unlink(name string, flags int) error {
	if err := d.check("remove", name); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Unlinkat(d.fd(), name, flags) }); err != nil {
		return &fs.PathError{Op: "remove", Path: d.Join(name), Err: err}
	}
	return nil
}

// Sync makes the names in the directory last.
func (d *Dir) Sync() error { return d.file.Sync() }
