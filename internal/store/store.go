package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrLocked tells that another daemon works on the artifact directory.
var ErrLocked = errors.New("another instance holds the lock")

// ErrExists tells that the name was published by someone else in the meantime.
var ErrExists = errors.New("already published")

// ErrUnsynced tells that a name was published, and that the disk would not promise to keep it.
var ErrUnsynced = errors.New("published, but it may be gone after a loss of power, and is then bundled again")

const (
	stagingName = ".staging"
	lockName    = ".lock"
)

// Local is an artifact directory on a local file system, opened for publishing.
type Local struct {
	dir    string
	marker string // a file that every published directory holds

	mu     sync.Mutex // guards what follows, which Renew replaces
	where  place
	id     string   // of this process's staging directories
	lock   *os.File // of the id
	daemon *os.File // of the whole directory, if taken
	staged int
}

// Open makes the artifact directory if need be, sweeps the litter of dead processes, and returns it.
// marker is the name of a file that every published directory holds; it tells bundles from the
// directories above them.
func Open(dir, marker string) (*Local, error) {
	l := &Local{dir: dir, marker: marker}
	if err := l.prepare(); err != nil {
		return nil, err
	}
	if err := l.sweep(); err != nil {
		return nil, errors.Join(fmt.Errorf("sweep the staging directory below %q: %w", dir, err), l.Close())
	}
	return l, nil
}

// prepare makes the directories that are missing and claims a place for staging.
func (l *Local) prepare() (err error) {
	if err := makeDirs(filepath.Join(l.dir, stagingName)); err != nil {
		return fmt.Errorf("prepare the artifact directory: %w", err)
	}
	if l.where, err = placeAt(l.dir); err != nil {
		return fmt.Errorf("prepare the artifact directory: %w", err)
	}
	if err := l.claim(); err != nil {
		return fmt.Errorf("prepare the staging directory below %q: %w", l.dir, err)
	}
	return nil
}

// Dir returns the path of the artifact directory.
func (l *Local) Dir() string { return l.dir }

func (l *Local) staging(name string) string { return filepath.Join(l.dir, stagingName, name) }

// claim creates and locks this process's own lock file.
func (l *Local) claim() error {
	for {
		f, err := os.CreateTemp(l.staging(""), strconv.Itoa(os.Getpid())+"-*.lock")
		if err != nil {
			return err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			continue // a sweeper has it in hand and is about to remove it
		}
		if _, err := os.Lstat(f.Name()); err != nil { // swept before it was locked
			f.Close()
			continue
		}
		if err := f.Chmod(0o644); err != nil {
			return errors.Join(err, f.Close())
		}
		l.lock, l.id = f, strings.TrimSuffix(filepath.Base(f.Name()), ".lock")
		return nil
	}
}

// sweep removes what dead processes left behind.
func (l *Local) sweep() error {
	entries, err := os.ReadDir(l.staging(""))
	if err != nil {
		return err
	}
	alive := make(map[string]bool)
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), ".lock"); ok {
			alive[id] = l.isAlive(id)
		}
	}
	for _, e := range entries {
		id, _, _ := strings.Cut(e.Name(), ".")
		if alive[id] || (e.Name() != id+".lock" && isHeldNow(l.staging(id+".lock"))) {
			continue
		}
		if err := os.RemoveAll(l.staging(e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func (l *Local) isAlive(id string) bool { return id == l.id || isHeldNow(l.staging(id+".lock")) }

// isHeldNow tells whether a process holds the lock on path.
func isHeldNow(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // of another user: leave it alone
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) != nil
}

// Lock takes the artifact directory for a daemon, until Close. The error wraps [ErrLocked] when
// another daemon has it.
func (l *Local) Lock() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lockDir()
}

func (l *Local) lockDir() error {
	path := filepath.Join(l.dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		holder := make([]byte, 32)
		n, _ := f.ReadAt(holder, 0)
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%w %q (process %s): give this daemon an artifact directory of its own, or stop the other",
				ErrLocked, path, strings.TrimSpace(string(holder[:n])))
		}
		return fmt.Errorf("lock %q: %w", path, err)
	}
	l.daemon = f
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write lock %q: %w", path, err)
	}
	_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	return err
}

// Close gives up the locks and removes this process's staging directories.
func (l *Local) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var errs []error
	entries, err := os.ReadDir(l.staging(""))
	errs = append(errs, err)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), l.id+".") && e.Name() != l.id+".lock" {
			errs = append(errs, os.RemoveAll(l.staging(e.Name())))
		}
	}
	errs = append(errs, os.Remove(l.lock.Name()), l.lock.Close())
	if l.daemon != nil {
		errs = append(errs, l.daemon.Close())
	}
	for i, err := range errs {
		if errors.Is(err, fs.ErrNotExist) { // the artifact directory was removed under us
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// Slot is a place in the artifact directory for one version of a key.
type Slot struct {
	Path    string // absolute
	Version int    // 1 for the first, 2 for ~2, …
	Taken   bool   // something is there
	Bundle  bool   // and it is a published directory
}

// Slots returns the places of a key in order of their versions, the last of which is free. Where a
// directory on the way is itself published (the keys "a" and "a/b" both exist), the way leads over
// the next free "a~2", so that nothing is ever put into a published directory.
func (l *Local) Slots(watch, key string) ([]Slot, error) {
	parent, base := filepath.Join(l.dir, watch), key
	for {
		first, rest, more := strings.Cut(base, "/")
		if !more {
			break
		}
		var err error
		if parent, err = l.directory(filepath.Join(parent, first)); err != nil {
			return nil, err
		}
		base = rest
	}
	var slots []Slot
	for version := 1; ; version++ {
		s, err := l.slot(versioned(filepath.Join(parent, base), version), version)
		if err != nil {
			return nil, err
		}
		if slots = append(slots, s); !s.Taken {
			return slots, nil
		}
	}
}

func versioned(path string, version int) string {
	if version == 1 {
		return path
	}
	return path + "~" + strconv.Itoa(version)
}

func (l *Local) slot(path string, version int) (Slot, error) {
	published, err := l.isPublished(path)
	s := Slot{Path: path, Version: version, Taken: published, Bundle: published}
	if err != nil || published {
		return s, err
	}
	err = lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("look at %q: %w", path, err)
	}
	s.Taken = true
	return s, nil
}

// lstat looks whether something is at path. It is asked for every set of a root, so that it leaves no garbage.
func lstat(path string) error {
	var st unix.Stat_t
	for {
		if err := unix.Lstat(path, &st); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// isPublished tells whether path is a published directory.
func (l *Local) isPublished(path string) (bool, error) {
	err := lstat(filepath.Join(path, l.marker))
	if err == nil {
		return true, nil
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return false, fmt.Errorf("look at %q: %w", path, err)
}

// directory returns path, or its first version that is not itself published.
func (l *Local) directory(path string) (string, error) {
	for version := 1; ; version++ {
		at := versioned(path, version)
		if published, err := l.isPublished(at); err != nil || !published {
			return at, err
		}
	}
}

// Look returns the artifact directory for reading only: nothing is made, locked or swept.
func Look(dir, marker string) *Local { return &Local{dir: dir, marker: marker} }
