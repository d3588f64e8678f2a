package daemon

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pagecache"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// Resume is what a job can resume from: the newest set that is durable as a bundle.
type Resume struct {
	Watch   string `json:"watch"`
	Key     string `json:"key"`
	Bundle  string `json:"bundle"`  // the directory of the bundle
	Archive string `json:"archive"` // the archive in it
	// ArchiveSHA256 is the digest of the archive.
	ArchiveSHA256 string    `json:"archive_sha256"`
	Saved         time.Time `json:"saved"` // when the trainer wrote the newest of its files
	// Path and SHA256 are of the first member as the trainer wrote it or, where a member is not there any more as it
	// was bundled, of the archive.
	Path    string         `json:"path"`
	SHA256  string         `json:"sha256"`
	Members []ResumeMember `json:"members"`
}

// ResumeMember is a member of the set, as the trainer wrote it.
type ResumeMember struct {
	Role string `json:"role"`
	Path string `json:"path"`
	// SHA256 is that of the file; of a directory that of what sha256sum prints for its files, sorted by name. It is
	// "" when Reason tells why the member cannot be used.
	SHA256 string `json:"sha256,omitempty"`
	Reason string `json:"reason,omitempty"`

	source bundle.Source
}

// ErrNoResume tells that nothing was found to resume from.
var ErrNoResume = errors.New("there is no bundle of a whole set")

// FindResume finds the bundle whose files the trainer wrote last, of the watches of a config and of files below one of
// the directories, or of all without any. It names the archive; [Resume.Hash] looks for the trainer's own files.
func FindResume(ctx context.Context, c *config.Config, below []string) (*Resume, error) {
	if c.Artifacts.Dir == "" {
		return nil, ErrNoResume
	}
	s, err := shelf.Open(c.Artifacts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoResume
	}
	if err != nil {
		return nil, err
	}
	var newest *shelf.Bundle
	for _, w := range c.Watches {
		err := s.Each(ctx, w.Name, func(b shelf.Bundle) error {
			if b.State == shelf.Present && isOf(b, below) && (newest == nil || savedLater(b, *newest)) {
				newest = &b
			}
			return nil
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("find what is safe to resume from in %q: %w", s.Dir(), err)
		}
	}
	if newest == nil {
		return nil, ErrNoResume
	}
	return newResume(*newest)
}

// JobDirs returns the directories of the checkpoints that processes of a Slurm job were seen writing.
func JobDirs(ctx context.Context, c *config.Config, job string) ([]string, error) {
	s, err := shelf.Open(c.Artifacts.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var dirs []string
	err = s.Each(ctx, "", func(b shelf.Bundle) error {
		dir := filepath.Dir(b.Source)
		if b.Source != "" && slices.Contains(b.Jobs, job) && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
		return nil
	})
	return dirs, err
}

func isOf(b shelf.Bundle, below []string) bool {
	return len(below) == 0 || slices.ContainsFunc(below, func(dir string) bool { return under(b.Source, dir) })
}

func savedLater(a, b shelf.Bundle) bool {
	if c := a.Saved.Compare(b.Saved); c != 0 {
		return c > 0
	}
	return pattern.CompareNatural(a.Place, b.Place) > 0
}

func newResume(b shelf.Bundle) (*Resume, error) {
	m, err := bundle.ReadManifest(filepath.Join(b.Path, bundle.ManifestName))
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(b.Path, bundle.ArchiveName)
	r := &Resume{Watch: b.Watch, Key: b.Key, Bundle: b.Path, Archive: archive, ArchiveSHA256: b.Archive.SHA256, Saved: b.Saved,
		Path: archive, SHA256: b.Archive.SHA256, Members: []ResumeMember{}}
	for _, member := range m.Members {
		if member.Source != nil {
			r.Members = append(r.Members, ResumeMember{Role: member.Role, Path: member.Source.Path, Reason: "not read yet", source: *member.Source})
		}
	}
	return r, nil
}

// Hash reads the members as the trainer wrote them. The set is named by those when all are there as they were bundled,
// byte for byte. The error is the context's; what a member lacks is told by the member.
func (r *Resume) Hash(ctx context.Context) error {
	all := len(r.Members) > 0
	for i := range r.Members {
		m := &r.Members[i]
		sum, err := m.hash(ctx)
		switch {
		case ctx.Err() != nil:
			m.Reason = "there was no time to read it"
			return ctx.Err()
		case err != nil:
			m.Reason, all = err.Error(), false
		default:
			m.SHA256, m.Reason = sum, ""
		}
	}
	if all {
		r.Path, r.SHA256 = r.Members[0].Path, r.Members[0].SHA256
	}
	return nil
}

func (m *ResumeMember) hash(ctx context.Context) (string, error) {
	if m.source.Files == nil {
		return hashFile(ctx, m.Path, func(st watch.Stat) bool { return isSource(m.source, st) }, proveRecords)
	}
	dir := m.Path
	if checkpoint.IsShardIndex(dir) {
		dir = filepath.Dir(dir)
	}
	list := sha256.New()
	for _, f := range m.source.Files {
		sum, err := hashFile(ctx, filepath.Join(dir, f.Path), func(st watch.Stat) bool { return leaf{path: f.Path, stat: st}.is(f) }, carriedWhole)
		if err != nil {
			return "", fmt.Errorf("%q: %w", f.Path, err)
		}
		fmt.Fprintf(list, "%s  %s\n", sum, f.Path)
	}
	return sumText(list), nil
}

// isSource tells whether a file is exactly as it was when it was bundled.
func isSource(s bundle.Source, st watch.Stat) bool {
	return s.Size == st.Size && s.ModTime.UnixNano() == st.ModTime && s.ChTime.UnixNano() == st.ChangeTime && s.Device == st.Dev && s.Inode == st.Ino
}

// hashFile returns the digest of a file that is in a known state before and after it is read, and is proven.
func hashFile(ctx context.Context, file string, known func(watch.Stat) bool, prove func(io.ReaderAt, int64) error) (string, error) {
	f, before, err := watch.Open(path.Dir(file), path.Base(file))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", errors.New("it is gone")
	case err != nil:
		return "", err
	}
	defer f.Close()
	if !known(before) {
		return "", errors.New("it is another one than was bundled")
	}
	pages := pagecache.NewReader(f, before.Size)
	defer pages.Drop()
	content := &stoppable{ctx, pages}
	if err := prove(content, before.Size); err != nil {
		return "", err
	}
	sum := sha256.New()
	if _, err := io.Copy(sum, io.NewSectionReader(content, 0, before.Size)); err != nil {
		return "", err
	}
	after, err := watch.StatFile(f)
	if err != nil {
		return "", err
	}
	if !after.Same(before) {
		return "", errors.New("it changed while it was read")
	}
	return sumText(sum), nil
}

func sumText(sum hash.Hash) string { return hex.EncodeToString(sum.Sum(nil)) }

// carriedWhole is the proof of a file that travels as it is: it was proven when it was bundled.
func carriedWhole(io.ReaderAt, int64) error { return nil }

// proveRecords compares all checksums that a file has. A bundle is proof of what travels in it, and an optimizer's state,
// which a job resumes from as well, does not.
func proveRecords(f io.ReaderAt, size int64) error {
	c, err := checkpoint.Open(f, size)
	if err != nil {
		return err
	}
	return c.CheckRecords()
}

// stoppable is read until its context is done.
type stoppable struct {
	ctx context.Context
	r   io.ReaderAt
}

// ReadAt implements io.ReaderAt.
func (s *stoppable) ReadAt(b []byte, offset int64) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.ReadAt(b, offset)
}

// Clone returns a copy that shares nothing.
func (r *Resume) Clone() *Resume {
	c := *r
	c.Members = slices.Clone(r.Members)
	return &c
}
