package shelf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// ErrKept tells that a bundle was not pruned because it is no longer what the decision was made about:
// pinned, damaged, gone, or another one.
var ErrKept = errors.New("kept")

// Prune removes the archive of a bundle that was listed by this shelf, and leaves its manifest with a
// tombstone. Everything is looked at again first, under the lock that pins take: only a bundle that this
// program published, that is where it was published, whose manifest is the one that was sealed and whose
// archive is the file that the manifest names, loses it. A crash leaves the bundle whole, or whole with a
// tombstone, which the next pruning finishes, or pruned. It returns how many bytes the archive had.
func (s *Shelf) Prune(b Bundle, reason, tool string, now time.Time) (freed int64, err error) {
	err = s.locked(func() error {
		if err := s.stillSame(b); err != nil {
			return err
		}
		t := bundle.Tombstone{Schema: bundle.Schema, Pruned: now.UTC().Truncate(time.Millisecond), Tool: tool, Reason: reason, Archive: b.Archive}
		data, err := json.MarshalIndent(t, "", "  ")
		if err != nil {
			return err
		}
		if err := s.put(filepath.Join(b.Path, bundle.TombstoneName), append(data, '\n')); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(b.Path, bundle.ArchiveName)); err != nil {
			return err
		}
		freed = b.Archive.Bytes
		return syncDir(b.Path)
	})
	if err != nil {
		return 0, fmt.Errorf("prune %q: %w", b.Place, err)
	}
	return freed, nil
}

// Restore takes away the tombstone of a bundle whose pruning began and did not end, and that is to stay.
func (s *Shelf) Restore(b Bundle) error {
	err := s.locked(func() error {
		now, err := s.At(b.Place)
		if err != nil || !now.HalfGone {
			return err
		}
		if err := os.Remove(filepath.Join(b.Path, bundle.TombstoneName)); err != nil {
			return err
		}
		return syncDir(b.Path)
	})
	if err != nil {
		return fmt.Errorf("keep %q: %w", b.Place, err)
	}
	return nil
}

// stillSame makes sure that what is at the place of a bundle is that bundle, whole and not pinned.
func (s *Shelf) stillSame(b Bundle) error {
	if err := s.noLinks(b.Place); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrKept, err)
	} else if err != nil {
		return err
	}
	now, err := s.At(b.Place)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: it is gone", ErrKept)
	case err != nil:
		return err
	case now.Pinned:
		return fmt.Errorf("%w: it is pinned", ErrKept)
	case now.State != Present:
		return fmt.Errorf("%w: it is %s: %s", ErrKept, now.State, now.Reason)
	case now.Archive != b.Archive || now.Watch != b.Watch || now.Key != b.Key || now.Path != b.Path:
		return fmt.Errorf("%w: it is another bundle than the one that was listed", ErrKept)
	}
	return nil
}
