package shelf

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// Below returns the names of the directories right below a place, in natural order: watches below "", then
// whatever their keys have. It does not look into them. The error wraps [fs.ErrNotExist] when there is no such
// place, or when a symbolic link leads to it.
func (s *Shelf) Below(place string) ([]string, error) {
	if place == "" {
		place = "."
	} else if !isInside(place) {
		return nil, fmt.Errorf("list %q: %w: it is no place below the artifact directory", place, fs.ErrNotExist)
	}
	if err := s.noLinks(place); err != nil {
		return nil, fmt.Errorf("list %q: %w", place, err)
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, place))
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", place, err)
	}
	return directories(entries, strings.TrimPrefix(place, ".")), nil
}

// isInside tells whether a text leads to a directory below the artifact directory, and not to what is hidden.
func isInside(place string) bool {
	return fs.ValidPath(place) && !strings.HasPrefix(place, ".") && !strings.Contains(place, "\x00")
}

// Manifest returns a bundle with all that its manifest says. The error wraps [fs.ErrNotExist] when there is no
// bundle at the place, or when a symbolic link leads to it.
func (s *Shelf) Manifest(place string) (Bundle, *bundle.Manifest, error) {
	if !isPlace(place) || !isInside(place) {
		return Bundle{}, nil, fmt.Errorf("look at %q: %w: it is no place below the artifact directory", place, fs.ErrNotExist)
	}
	if err := s.noLinks(place); err != nil {
		return Bundle{}, nil, fmt.Errorf("look at %q: %w", place, err)
	}
	b, err := s.At(place)
	if err != nil {
		return Bundle{}, nil, err
	}
	name := filepath.Join(b.Path, bundle.ManifestName)
	if info, err := os.Lstat(name); err != nil || !info.Mode().IsRegular() {
		return b, nil, cmp.Or(err, fmt.Errorf("read manifest %q: it is no regular file", name))
	}
	m, err := bundle.ReadManifest(name)
	return b, m, err
}

// noLinks makes sure that every directory down to a place is one, and no symbolic link to elsewhere. The error
// wraps [fs.ErrNotExist] when it is not.
func (s *Shelf) noLinks(place string) error {
	for dir := filepath.FromSlash(place); dir != "."; dir = filepath.Dir(dir) {
		info, err := os.Lstat(filepath.Join(s.dir, dir))
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: it is gone", fs.ErrNotExist)
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%w: %q is no directory of the artifact directory", fs.ErrNotExist, dir)
		}
	}
	return nil
}

// Newest returns the bundles that were published last, at most so many, newest first, and how many bundles
// there are. Only their manifests are read: which ones they are is told by the times of those files. It rests
// for as long as it works, so that it takes half of a core at most.
func (s *Shelf) Newest(ctx context.Context, most int) (newest []Bundle, total int, err error) {
	r := rest{since: time.Now()}
	var found byTime
	err = s.walk(ctx, "", "", func(place string) error {
		total++
		if info, err := os.Lstat(filepath.Join(s.dir, place, bundle.ManifestName)); err == nil {
			heap.Push(&found, placed{place, info.ModTime()})
		}
		if len(found) > most {
			heap.Pop(&found)
		}
		return r.now(ctx)
	})
	if err != nil {
		return nil, 0, err
	}
	for _, p := range found {
		newest = append(newest, s.look(p.place))
		if err := r.now(ctx); err != nil {
			return nil, 0, err
		}
	}
	slices.SortFunc(newest, func(a, b Bundle) int {
		return cmp.Or(b.Published.Compare(a.Published), strings.Compare(a.Place, b.Place))
	})
	return newest, total, nil
}

// rest makes a long work yield to others.
type rest struct{ since time.Time }

// now sleeps for as long as was worked, once that is enough to be worth it.
func (r *rest) now(ctx context.Context) error {
	worked := time.Since(r.since)
	if worked < 10*time.Millisecond {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(worked):
	}
	r.since = time.Now()
	return nil
}

type placed struct {
	place string
	at    time.Time
}

// byTime is a heap with the oldest on top.
type byTime []placed

func (h byTime) Len() int           { return len(h) }
func (h byTime) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h byTime) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *byTime) Push(x any) { *h = append(*h, x.(placed)) }

// Pop implements heap.Interface.
func (h *byTime) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}
