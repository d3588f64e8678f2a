package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrLost tells that the artifact directory, or what this process holds in it, was removed or replaced
// since it was opened. Renew mends that.
var ErrLost = errors.New("the artifact directory was removed or replaced")

// ErrUnmounted tells that the file system of the artifact directory is gone: what is at its path now lies
// on the one below. Nothing is written there.
var ErrUnmounted = errors.New("the file system of the artifact directory is not mounted any more")

// place identifies a directory.
type place struct{ device, inode uint64 }

func placeAt(path string) (place, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return place{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return place{uint64(st.Dev), st.Ino}, nil
}

// Check makes sure that the artifact directory is the one that was opened, and that the locks of this
// process are still in it. The error wraps [ErrLost], [ErrUnmounted] or that of the file system.
func (l *Local) Check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, err := placeAt(l.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return l.lost(filepath.Dir(l.dir))
	case err != nil:
		return fmt.Errorf("look at the artifact directory: %w", err)
	case now != l.where:
		return l.lost(l.dir)
	}
	for _, held := range []*os.File{l.lock, l.daemon} {
		if held == nil {
			continue
		}
		if err := stillThere(held); err != nil {
			return err
		}
	}
	return nil
}

func stillThere(held *os.File) error {
	info, err := held.Stat()
	if err != nil {
		return fmt.Errorf("look at lock %q: %w", held.Name(), err)
	}
	named, err := os.Lstat(held.Name())
	if errors.Is(err, fs.ErrNotExist) || (err == nil && !os.SameFile(info, named)) {
		return fmt.Errorf("%w: %q is not what it was", ErrLost, held.Name())
	}
	return err
}

// lost tells a directory that was removed or replaced from one that was unmounted; at is where to look,
// or a directory above it where that does not exist either.
func (l *Local) lost(at string) error {
	now, err := placeAt(at)
	switch {
	case errors.Is(err, fs.ErrNotExist) && at != filepath.Dir(at):
		return l.lost(filepath.Dir(at))
	case err != nil:
		return fmt.Errorf("look for the artifact directory: %w", err)
	case now.device == l.where.device:
		return fmt.Errorf("%w: %q", ErrLost, l.dir)
	}
	if above, err := placeAt(filepath.Dir(at)); at == l.dir && err == nil && above.device != now.device {
		return fmt.Errorf("%w: another file system is mounted at %q", ErrLost, l.dir)
	}
	return fmt.Errorf("%w: %q; mount it again, or restart bundlewatch to publish to what is there now", ErrUnmounted, l.dir)
}

// Renew makes the artifact directory anew after [ErrLost], with the locks of this process. The error wraps
// [ErrLocked] when another daemon was faster. What is staged in the old one cannot be published any more.
func (l *Local) Renew() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock, daemon := l.lock, l.daemon
	if err := l.prepare(); err != nil {
		return err
	}
	lock.Close() // nothing was written through it
	if daemon == nil {
		return nil
	}
	l.daemon = nil
	daemon.Close()
	return l.lockDir()
}
