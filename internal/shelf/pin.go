package shelf

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

const (
	pinsName = ".pins"
	lockName = ".lock"
)

// pin is the content of the file that pins a bundle.
type pin struct {
	Pinned time.Time `json:"pinned"`
	Tool   string    `json:"tool"`
}

func (s *Shelf) pinPath(place string) string { return filepath.Join(s.dir, pinsName, place) }

func (s *Shelf) isPinned(place string) bool {
	_, err := os.Lstat(s.pinPath(place))
	return err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENOTDIR) // unreadable pins hold
}

// Pin makes a bundle keep its archive until [Shelf.Unpin]. It tells whether that is new. A bundle that was
// pruned already is an error.
func (s *Shelf) Pin(place, tool string, now time.Time) (fresh bool, err error) {
	err = s.locked(func() error {
		b, err := s.At(place)
		if err != nil {
			return err
		}
		if b.State == Pruned {
			return &bundle.PrunedError{Path: b.Path, Tombstone: bundle.Tombstone{Pruned: b.prunedAt(), Reason: b.Reason}}
		}
		if b.Pinned {
			return nil
		}
		fresh = true
		data, err := json.Marshal(pin{Pinned: now.UTC().Truncate(time.Millisecond), Tool: tool})
		if err != nil {
			return err
		}
		return s.put(s.pinPath(place), append(data, '\n'))
	})
	if err != nil {
		return false, fmt.Errorf("pin %q: %w", place, err)
	}
	return fresh, nil
}

func (b *Bundle) prunedAt() time.Time {
	if t, err := bundle.ReadTombstone(b.Path); err == nil && t != nil {
		return t.Pruned
	}
	return time.Time{}
}

// Unpin takes a pin away and tells whether there was one.
func (s *Shelf) Unpin(place string) (there bool, err error) {
	if !isPlace(place) {
		return false, fmt.Errorf("unpin %q: it is no place of a bundle", place)
	}
	err = s.locked(func() error {
		err := os.Remove(s.pinPath(place))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			return nil
		}
		if err == nil {
			there = true
			err = syncDir(filepath.Dir(s.pinPath(place)))
		}
		for dir := filepath.Dir(s.pinPath(place)); err == nil && dir != filepath.Join(s.dir, pinsName); dir = filepath.Dir(dir) {
			if os.Remove(dir) != nil { // other pins are below it
				break
			}
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("unpin %q: %w", place, err)
	}
	return there, nil
}

// locked runs do while no other process changes pins or prunes.
func (s *Shelf) locked(do func() error) error {
	if err := os.Mkdir(filepath.Join(s.dir, pinsName), 0o777); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	f, err := os.OpenFile(s.pinPath(lockName), os.O_RDONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		if err = unix.Flock(int(f.Fd()), unix.LOCK_EX); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	return do()
}

// put makes a file appear whole: written and synced beside the pins, then renamed. It is called with the lock.
func (s *Shelf) put(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		return err
	}
	temp := s.pinPath(".new")
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = cmp.Or(err, f.Sync())
	if err = cmp.Or(err, f.Close()); err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
