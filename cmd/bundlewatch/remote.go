package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/bucket"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/daemon"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// remoteScheme begins what is in a store of the config: s3://store/watch/run/key.
const remoteScheme = "s3://"

func isRemote(path string) bool { return strings.HasPrefix(path, remoteScheme) }

// stores opens stores of the config by their names, each once. The config is read when the first is asked for.
type stores struct {
	config string // as --config has it
	loaded *config.Config
	opened map[string]*bucket.Bucket
	bar    *progressBar // shows how archives are read; nil for nothing
}

// open returns the bucket of a store that the config names.
func (s *stores) open(name string) (*bucket.Bucket, error) {
	if b := s.opened[name]; b != nil {
		return b, nil
	}
	if s.loaded == nil {
		c, err := load(s.config)
		if err != nil {
			return nil, err
		}
		s.loaded = c
	}
	i := slices.IndexFunc(s.loaded.Stores, func(st config.Store) bool { return st.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no [[store]] named %q in %s", name, s.loaded.Path)
	}
	b, err := daemon.OpenStore(s.loaded.Stores[i], "")
	if err != nil {
		return nil, err
	}
	if s.opened == nil {
		s.opened = map[string]*bucket.Bucket{}
	}
	s.opened[name] = b
	return b, nil
}

// find returns the store and the place, or the folder of places, that a URL names.
func (s *stores) find(url string) (*bucket.Bucket, string, error) {
	store, place, _ := strings.Cut(strings.TrimPrefix(url, remoteScheme), "/")
	b, err := s.open(store)
	return b, strings.Trim(place, "/"), err
}

// bundle opens the bundle that a URL names.
func (s *stores) bundle(ctx context.Context, url string) (*bucket.Remote, error) {
	b, place, err := s.find(url)
	if err != nil {
		return nil, err
	}
	if place == "" {
		return nil, &usageError{fmt.Sprintf("%q names no bundle: s3://store/watch/run/key", url)}
	}
	return b.Open(ctx, place)
}

// at returns the location of a path or a URL.
func (s *stores) at(ctx context.Context, path string) (bundle.Location, error) {
	if !isRemote(path) {
		return bundle.Path(path), nil
	}
	return s.distant(ctx, path)
}

func (s *stores) distant(ctx context.Context, url string) (*bundle.Distant, error) {
	r, err := s.bundle(ctx, url)
	if err != nil {
		return nil, err
	}
	return &bundle.Distant{
		Name:     url,
		Manifest: func() ([]byte, error) { return r.Small(ctx, bundle.ManifestName) },
		Archive: func() (io.ReaderAt, int64, error) {
			archive, size, err := r.Archive(ctx)
			s.bar.Begin("", r.Name.Place, size)
			return counted{archive, s.bar}, size, err
		},
	}, nil
}

// counted is read by others, and shows on a bar how far they are.
type counted struct {
	io.ReaderAt
	bar *progressBar
}

// ReadAt implements [io.ReaderAt].
func (c counted) ReadAt(b []byte, offset int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, offset)
	c.bar.Advance(int64(n))
	return n, err
}

// shelved is a bundle of a store as the verbs show local ones.
func shelved(store string, n bucket.Name) shelf.Bundle {
	watch, _, _ := strings.Cut(n.Place, "/")
	b := shelf.Bundle{Path: remoteScheme + store + "/" + n.Place, Place: n.Place, Watch: watch, Run: n.Run, Key: n.Key, Version: n.Version, Published: n.Published, State: shelf.Present}
	for _, f := range n.Files {
		if f.Base() == bundle.ArchiveName {
			b.Archive = bundle.Digest{Name: bundle.ArchiveName, Bytes: f.Size, SHA256: f.SHA256}
		}
	}
	return b
}

// bucket returns the store that a filter is about, its name, and the folder of places.
func (f *filter) bucket() (b *bucket.Bucket, store, below string, err error) {
	s := &stores{config: f.config}
	b, below, err = s.find(f.store)
	store, _, _ = strings.Cut(strings.TrimPrefix(f.store, remoteScheme), "/")
	return b, store, cmp.Or(below, f.watch), err
}

// eachRemote calls do for the bundles of a store that a filter wants, and proves them by what the store attests when
// that is asked for.
func eachRemote(ctx context.Context, f *filter, prove bool, do func(shelf.Bundle) error) error {
	b, store, below, err := f.bucket()
	if err != nil {
		return err
	}
	recent := func(l bucket.Listed) bool { return !l.Named.Add(bucket.ClockGap).Before(f.since) }
	return b.Each(ctx, below, recent, func(r *bucket.Remote) error {
		shown := shelved(store, r.Name)
		if !f.wants(shown) {
			return nil
		}
		if prove {
			if err := attest(ctx, r, &shown); err != nil {
				return err
			}
		}
		return do(shown)
	})
}

// attest fills in what the store says of every file.
func attest(ctx context.Context, r *bucket.Remote, b *shelf.Bundle) error {
	problems, unattested, err := r.Prove(ctx)
	switch {
	case err != nil:
		return err
	case len(problems) > 0:
		b.State, b.Reason = shelf.Damaged, strings.Join(problems, "; ")
	case len(unattested) == 0:
		b.State = shelf.Verified
	}
	return nil
}

// verifyRemote proves the bundles at and below a URL: by what the store attests, or from all of their bytes.
func verifyRemote(ctx context.Context, s *stores, url string, p *prover, download, asJSON bool) error {
	b, place, err := s.find(url)
	if err != nil {
		return err
	}
	store, _, _ := strings.Cut(strings.TrimPrefix(url, remoteScheme), "/")
	verdict, found := error(nil), false
	verify := func(r *bucket.Remote) error {
		found = true
		err := verifyOneRemote(ctx, remoteScheme+store+"/"+r.Name.Place, r, p, download, asJSON)
		if errors.Is(err, errPartial) {
			verdict = err
			return nil
		}
		return err
	}
	if place != "" {
		r, err := b.Open(ctx, place)
		if err == nil {
			return errors.Join(verify(r), verdict)
		}
		if !errors.Is(err, bucket.ErrNone) {
			return err
		}
	}
	if err := b.Each(ctx, place, nil, verify); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("verify %q: %w", url, bucket.ErrNone)
	}
	return verdict
}

func verifyOneRemote(ctx context.Context, url string, r *bucket.Remote, p *prover, download, asJSON bool) error {
	if !download {
		return showAttested(ctx, url, r, asJSON)
	}
	above, err := os.MkdirTemp("", "bundlewatch-verify-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(above)
	dir := filepath.Join(above, path.Base(r.Name.Place)) // a signature is of a directory of that name
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if err := checkRoom(dir, shelved("", r.Name).Archive.Bytes); err != nil {
		return fmt.Errorf("verify %q: %w", url, err)
	}
	bar := newBar("downloading")
	bar.Begin("", r.Name.Place, r.Bytes())
	err = r.Download(ctx, dir, bar.Advance)
	bar.End()
	if err != nil {
		return fmt.Errorf("verify %q: %w", url, err)
	}
	report, err := p.report(ctx, dir, true)
	if err != nil {
		return fmt.Errorf("verify %q: %w", url, err)
	}
	report.Path = url
	return showReport(report, asJSON)
}

func checkRoom(dir string, need int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if free := int64(st.Bavail) * st.Bsize; free < need {
		return fmt.Errorf("the %d bytes of the archive do not fit into the %d that are free at %q; set TMPDIR to a place where they do", need, free, dir)
	}
	return nil
}

// attested is the kind of what was proven by what the store says of it.
const attested = "bundle in a store"

// showAttested proves a bundle without its bytes.
func showAttested(ctx context.Context, url string, r *bucket.Remote, asJSON bool) error {
	problems, unattested, err := r.Prove(ctx)
	if err != nil {
		return fmt.Errorf("verify %q: %w", url, err)
	}
	report := &bundle.Report{Path: url, Kind: attested, Bytes: shelved("", r.Name).Archive.Bytes, Problems: append([]string{}, problems...)}
	if len(unattested) > 0 {
		report.Warnings = append(report.Warnings, fmt.Sprintf("the store holds %s, but attests no digest that can be compared without the bytes: see --download", strings.Join(unattested, ", ")))
	}
	for _, f := range r.Name.Files {
		if len(problems) > 0 || f.Base() == bundle.ArchiveName {
			continue
		}
		if _, err := r.Small(ctx, f.Base()); err != nil {
			report.Problems = append(report.Problems, err.Error())
		}
	}
	return showReport(report, asJSON)
}
