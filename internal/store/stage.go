package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Stage is a directory that is being written and not yet visible.
type Stage struct {
	// Path is where to write. Files must be synced by whoever writes them.
	Path  string
	store *Local
}

// Stage makes an empty staging directory. It may be called from any goroutine.
func (l *Local) Stage() (*Stage, error) {
	l.mu.Lock()
	l.staged++
	path := l.staging(l.id + "." + strconv.Itoa(l.staged))
	l.mu.Unlock()
	if err := os.Mkdir(path, 0o777); err != nil {
		return nil, fmt.Errorf("make staging directory: %w", err)
	}
	return &Stage{Path: path, store: l}, nil
}

// Publish makes the directory visible at slot by one rename that never replaces anything, with all
// directories involved synced before and after. The error wraps [ErrExists] when something is
// there, and [ErrUnsynced] when the directory has its name and nothing else is to be done.
// The stage is used up only on success.
func (s *Stage) Publish(slot Slot) error {
	if err := syncDir(s.Path); err != nil {
		return fmt.Errorf("sync staging directory: %w", err)
	}
	if err := makeDirs(filepath.Dir(slot.Path)); err != nil {
		return fmt.Errorf("make the directory above the bundle: %w", err)
	}
	if err := renameNew(s.Path, slot.Path); err != nil {
		return fmt.Errorf("publish %q: %w", slot.Path, err)
	}
	if err := syncDir(filepath.Dir(slot.Path)); err != nil {
		return fmt.Errorf("%w: sync the directory above the bundle: %w", ErrUnsynced, err)
	}
	return nil
}

// Discard removes the directory and all that is in it.
func (s *Stage) Discard() error {
	if err := os.RemoveAll(s.Path); err != nil {
		return fmt.Errorf("discard staging directory: %w", err)
	}
	return nil
}

// renameNew renames a directory to a name that must be free. File systems without
// RENAME_NOREPLACE refuse to rename a directory over one that is not empty, which a published
// directory never is.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = unix.Rename(from, to)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		return fmt.Errorf("%w: %w", ErrExists, err)
	}
	return err
}

// makeDirs is MkdirAll that syncs the parent of every directory it makes.
func makeDirs(path string) error {
	err := os.Mkdir(path, 0o777)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeDirs(filepath.Dir(path)); err != nil {
			return err
		}
		err = os.Mkdir(path, 0o777) // once: below /proc there is never room
	}
	switch {
	case err == nil:
		return syncDir(filepath.Dir(path))
	case errors.Is(err, os.ErrExist):
		info, err := os.Stat(path)
		if err == nil && !info.IsDir() {
			return &os.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
		}
		return err
	}
	return err
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
