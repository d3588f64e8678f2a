package shelf

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// State is what is known of a bundle.
type State string

// The states. Present and Damaged come from a look at names, sizes and the manifest, without reading the
// archive; Verified and Bad from reading all of it.
const (
	Present  State = "present"  // all files are there, the manifest is the one that was sealed, the archive has its size
	Pruned   State = "pruned"   // retention removed the archive; the manifest is left
	Damaged  State = "damaged"  // something is missing, or is not what the manifest says
	Verified State = "verified" // every byte was proven
)

// Bundle is a published bundle, without its tensors.
type Bundle struct {
	Path      string // absolute
	Place     string // below the artifact directory, with slashes: <watch>/<key>, and ~2 for a second version
	Watch     string
	Run       string
	Key       string
	Version   int
	Published time.Time
	Archive   bundle.Digest
	State     State
	Reason    string // why it is damaged, or was pruned
	Pinned    bool
	HalfGone  bool // a pruning began and did not end: there is a tombstone and an archive
	Metrics   bundle.Metrics
	Source    string    // the file of the first member that has one
	Saved     time.Time // when the newest of the members' files was written
	Jobs      []string  // ids of the Slurm jobs whose processes were seen writing
}

// Shelf is an artifact directory.
type Shelf struct{ dir string }

// Open returns the shelf of an artifact directory.
func Open(dir string) (*Shelf, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find artifact directory %q: %w", dir, err)
	}
	info, err := os.Stat(abs)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err != nil {
		return nil, fmt.Errorf("open artifact directory %q: %w", abs, err)
	}
	return &Shelf{dir: abs}, nil
}

// Dir returns the absolute path of the artifact directory.
func (s *Shelf) Dir() string { return s.dir }

// Each calls do for every bundle, or for those of one watch when that is not "", in the natural order of
// their places: 9 before 10. Symbolic links are not followed. An error of do ends the walk and is returned.
// Directories that vanish on the way are passed over.
func (s *Shelf) Each(ctx context.Context, watch string, do func(Bundle) error) error {
	return s.walk(ctx, "", watch, func(place string) error { return do(s.look(place)) })
}

// walk calls do for the place of every bundle.
func (s *Shelf) walk(ctx context.Context, place, watch string, do func(place string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, place))
	if errors.Is(err, fs.ErrNotExist) && place != "" {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list bundles: %w", err)
	}
	if place != "" && looksLikeBundle(entries) {
		return do(place)
	}
	for _, name := range directories(entries, place) {
		if place == "" && watch != "" && watch != name {
			continue
		}
		if err := s.walk(ctx, path.Join(place, name), watch, do); err != nil {
			return err
		}
	}
	return nil
}

// directories are the names of the directories in a listing, in natural order, without what is hidden at the top.
func directories(entries []os.DirEntry, place string) []string {
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		if e.IsDir() && (place != "" || !strings.HasPrefix(e.Name(), ".")) {
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, pattern.CompareNatural)
	return names
}

func looksLikeBundle(entries []os.DirEntry) bool {
	return slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		return !e.IsDir() && slices.Contains([]string{bundle.ManifestName, bundle.SumsName, bundle.ArchiveName}, e.Name())
	})
}

// At returns the bundle in a directory of the shelf. The error wraps [fs.ErrNotExist] when there is none.
func (s *Shelf) At(place string) (Bundle, error) {
	if !isPlace(place) {
		return Bundle{}, fmt.Errorf("%q is no place of a bundle", place)
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, place))
	if err == nil && !looksLikeBundle(entries) {
		err = fmt.Errorf("%w: there is no bundle", fs.ErrNotExist)
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("look at %q: %w", place, err)
	}
	return s.look(place), nil
}

// isPlace tells whether a text is <watch>/<key>: below the artifact directory, and not in what is hidden.
func isPlace(place string) bool {
	return fs.ValidPath(place) && strings.Contains(place, "/") && !strings.HasPrefix(place, ".")
}

// look judges a bundle by what costs little to read.
func (s *Shelf) look(place string) Bundle {
	watch, key, _ := strings.Cut(place, "/")
	b := Bundle{Path: filepath.Join(s.dir, place), Place: place, Watch: watch, Key: key, State: Present, Pinned: s.isPinned(place)}
	head, manifest, err := bundle.ReadHead(b.Path)
	if err == nil {
		b.take(head)
		err = bundle.CheckSums(b.Path, head, manifest)
	}
	if err == nil {
		err = b.checkPlace(head)
	}
	if err == nil {
		err = b.checkFiles(head)
	}
	if err != nil {
		b.State, b.Reason = Damaged, err.Error()
	}
	return b
}

func (b *Bundle) take(h *bundle.Head) {
	b.Watch, b.Run, b.Key, b.Version, b.Published, b.Archive = h.Watch, h.Run(), h.Key, h.Version, h.Provenance.Published, h.Archive
	b.Jobs = h.Jobs()
	b.Metrics = make(bundle.Metrics)
	for _, m := range h.Members {
		for name, value := range m.Metrics {
			if _, known := b.Metrics[name]; !known {
				b.Metrics[name] = value
			}
		}
		if m.Source == nil {
			continue
		}
		if b.Source == "" {
			b.Source = m.Source.Path
		}
		if m.Source.ModTime.After(b.Saved) {
			b.Saved = m.Source.ModTime
		}
	}
}

// checkPlace makes sure that the bundle lies where it was published: below its watch, under its key, with a
// version at any segment where another bundle was in the way.
func (b *Bundle) checkPlace(h *bundle.Head) error {
	have, want := strings.Split(b.Place, "/"), strings.Split(h.Watch+"/"+h.Key, "/")
	ok := len(have) == len(want)
	for i := 0; ok && i < len(have); i++ {
		version, versioned := strings.CutPrefix(have[i], want[i]+"~")
		ok = have[i] == want[i] || versioned && strings.Trim(version, "0123456789") == "" && version != ""
	}
	if !ok {
		return fmt.Errorf("it lies at %q, and its manifest is that of %q", b.Place, h.Watch+"/"+h.Key)
	}
	return nil
}

// checkFiles looks at the files beside the manifest.
func (b *Bundle) checkFiles(h *bundle.Head) error {
	t, err := bundle.ReadTombstone(b.Path)
	if err != nil {
		return err
	}
	if t != nil && t.Archive != b.Archive {
		return fmt.Errorf("%s and %s name different archives", bundle.TombstoneName, bundle.ManifestName)
	}
	archive, err := os.Lstat(filepath.Join(b.Path, bundle.ArchiveName))
	switch {
	case errors.Is(err, fs.ErrNotExist) && t != nil:
		b.State, b.Reason = Pruned, t.Reason
	case err != nil:
		return err
	case !archive.Mode().IsRegular():
		return fmt.Errorf("%s is no regular file", bundle.ArchiveName)
	case archive.Size() != b.Archive.Bytes:
		return fmt.Errorf("%s has %d bytes, the manifest says %d", bundle.ArchiveName, archive.Size(), b.Archive.Bytes)
	}
	b.HalfGone = t != nil && b.State == Present
	if h.Provenance.SignedBy != "" {
		if _, err := os.Lstat(filepath.Join(b.Path, bundle.SignatureName)); err != nil {
			return err
		}
	}
	_, err = os.Lstat(filepath.Join(b.Path, bundle.TreeName))
	return err
}

// Prove reads every byte of a bundle that looks well, and returns it as verified or damaged. The error is
// about what could not be read.
func Prove(ctx context.Context, b Bundle) (Bundle, error) {
	if b.State != Present {
		return b, nil
	}
	r, err := bundle.Verify(ctx, b.Path)
	if err != nil {
		return b, fmt.Errorf("verify %q: %w", b.Path, err)
	}
	b.State = Verified
	if !r.OK() {
		b.State, b.Reason = Damaged, strings.Join(r.Problems, "; ")
	}
	return b, nil
}
