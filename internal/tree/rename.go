package tree

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// renameat2 is unix.Renameat2 but in tests of file systems that do not know RENAME_NOREPLACE.
var renameat2 = unix.Renameat2

// RenameNew moves what has a name in this directory to a name in another that must be free: it never replaces
// anything. The error wraps [ErrExists] when the name is taken, and EXDEV when the other directory is on
// another file system.
//
// Where the file system does not know RENAME_NOREPLACE, a file is linked under its new name, which fails when
// that is taken, and then unlinked; a directory is renamed over an empty one made for it, which fails when
// somebody puts something there.
func (d *Dir) RenameNew(name string, to *Dir, toName string) error {
	if err := errors.Join(d.check("rename", name), to.check("rename", toName)); err != nil {
		return err
	}
	err := retry(func() error { return renameat2(d.fd(), name, to.fd(), toName, unix.RENAME_NOREPLACE) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return d.renameByLink(name, to, toName)
	}
	if err != nil {
		return &os.LinkError{Op: "rename", Old: d.Join(name), New: to.Join(toName), Err: err}
	}
	return nil
}

func (d *Dir) renameByLink(name string, to *Dir, toName string) error {
	st, err := d.Stat(name)
	if err != nil {
		return err
	}
	if st.IsDir() {
		return d.renameOverEmpty(name, to, toName)
	}
	if err := d.Link(name, to, toName); err != nil {
		return err
	}
	linked, err := to.Stat(toName)
	if err != nil {
		return err
	}
	aside := fmt.Sprintf(".bundlewatch-%d-%d.aside", os.Getpid(), linked.Ino)
	err = d.SetAside(name, aside, func(st Stat) bool { return st.ID() == linked.ID() })
	if errors.Is(err, ErrChanged) {
		return nil // the old name is another file's by now, and what was linked has moved all the same
	}
	if err != nil {
		return err
	}
	return d.Remove(aside)
}

// ErrChanged tells that a name is another file's than before, or that the file has changed.
var ErrChanged = errors.New("it was changed or replaced meanwhile")

// SetAside gives what has a name in this directory a name that nobody else uses, if it still is what it should
// be. Otherwise it is put back and the error wraps [ErrChanged]. So a file is never judged by one name and
// removed by a name that is another file's by then.
func (d *Dir) SetAside(name, aside string, is func(Stat) bool) error {
	if err := errors.Join(d.check("rename", name), d.check("rename", aside)); err != nil {
		return err
	}
	if _, err := d.Stat(aside); err == nil {
		return fmt.Errorf("set %q aside: %w", d.Join(name), ErrExists)
	}
	if err := retry(func() error { return unix.Renameat(d.fd(), name, d.fd(), aside) }); err != nil {
		return &os.LinkError{Op: "rename", Old: d.Join(name), New: d.Join(aside), Err: err}
	}
	st, err := d.Stat(aside)
	if err == nil && is(st) {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("set %q aside: %w", d.Join(name), ErrChanged)
	}
	if back := d.RenameNew(aside, d, name); back != nil {
		err = fmt.Errorf("%w; it is now %q, because its name was taken: %w", err, d.Join(aside), back)
	}
	return err
}

func (d *Dir) renameOverEmpty(name string, to *Dir, toName string) error {
	if err := to.MakeDir(toName, 0o700); err != nil {
		return err
	}
	if err := retry(func() error { return unix.Renameat(d.fd(), name, to.fd(), toName) }); err != nil {
		return errors.Join(&os.LinkError{Op: "rename", Old: d.Join(name), New: to.Join(toName), Err: err}, to.RemoveDir(toName))
	}
	return nil
}
