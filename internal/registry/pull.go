package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/bundle"
)

// Pulled is what came.
type Pulled struct {
	Digest   digest.Digest
	Files    []string
	Bytes    int64
	Warnings []string // of the verification
}

// Pull brings the bundle that a tag or a digest names into a directory that is empty or does not exist. It appears
// there whole, and proved as bundlewatch verify does, or not at all. progress may be nil.
func (r *Repository) Pull(ctx context.Context, reference, dir string, progress func(done, total int64)) (*Pulled, error) {
	p := &pull{repository: r, dir: filepath.Clean(dir), progress: progress, Pulled: &Pulled{}}
	if err := p.run(ctx, reference); err != nil {
		return nil, fmt.Errorf("pull %s into %q: %w", named(r.name, reference), dir, err)
	}
	return p.Pulled, nil
}

func named(repository, reference string) string {
	if strings.Contains(reference, ":") {
		return repository + "@" + reference
	}
	return repository + ":" + reference
}

type pull struct {
	*Pulled
	repository *Repository
	repo       *remote.Repository
	dir        string
	progress   func(done, total int64)
	done       int64
}

func (p *pull) run(ctx context.Context, reference string) (err error) {
	if err := mustBeFree(p.dir); err != nil {
		return err
	}
	if p.repo, err = p.repository.remote(); err != nil {
		return err
	}
	got, data, err := manifest(ctx, p.repo, reference)
	if err != nil {
		return err
	}
	if want, parseErr := digest.Parse(reference); parseErr == nil && got != want {
		return fmt.Errorf("the registry serves another manifest, %s", got)
	}
	p.Digest = got
	layers, err := readLayers(data)
	if err != nil {
		return fmt.Errorf("manifest %s: %w", got, err)
	}
	for _, l := range layers {
		p.Bytes += l.Size
	}
	s, err := newStaging(p.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	if err := s.fits(p.Bytes); err != nil {
		return err
	}
	for _, l := range layers {
		if err := p.fetch(ctx, l, filepath.Join(s.path, l.name)); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		p.Files = append(p.Files, l.name)
	}
	if err := p.prove(ctx, s.path); err != nil {
		return err
	}
	return s.reveal(p.dir)
}

// layer is a file of a bundle.
type layer struct {
	name string
	ocispec.Descriptor
}

// readLayers takes from a manifest the files of one bundle, and refuses everything else: names come from whoever can
// write to the registry.
func readLayers(data []byte) ([]layer, error) {
	var m ocispec.Manifest
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, err
	}
	if m.MediaType != ocispec.MediaTypeImageManifest {
		return nil, fmt.Errorf("it has the media type %.100q, and that of a bundle is %q", m.MediaType, ocispec.MediaTypeImageManifest)
	}
	var layers []layer
	for i, d := range m.Layers {
		name, err := fileName(d)
		if err == nil && slices.ContainsFunc(layers, func(l layer) bool { return l.name == name }) {
			err = fmt.Errorf("it names %s again", name)
		}
		if err == nil && (d.Size < 0 || d.Size > maxSmall && name != bundle.ArchiveName) {
			err = fmt.Errorf("%s has %d bytes", name, d.Size)
		}
		if err == nil {
			err = d.Digest.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		layers = append(layers, layer{name, d})
	}
	for _, f := range files {
		if f.name != bundle.SignatureName && !slices.ContainsFunc(layers, func(l layer) bool { return l.name == f.name }) {
			return nil, fmt.Errorf("it is no bundle: no layer is called %s", f.name)
		}
	}
	return layers, nil
}

// fileName returns the name of a layer, which is one of those that a bundle has, in either annotation.
func fileName(d ocispec.Descriptor) (string, error) {
	name, title := d.Annotations[modelPackPath], d.Annotations[titleName]
	if name == "" {
		name = title
	}
	if title != "" && title != name {
		return "", fmt.Errorf("it has two names, %.100q and %.100q", name, title)
	}
	for _, f := range files {
		if f.name == name {
			return name, nil
		}
	}
	return "", fmt.Errorf("%.100q is no file of a bundle", name)
}

// fetches is how often a blob is asked for again from where it broke off, when bytes came in between.
const fetches = 5

// fetch writes a blob to a new file, and proves it.
func (p *pull) fetch(ctx context.Context, l layer, path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	watch, moved, stop := watched(ctx)
	defer stop()
	from := &resuming{ctx: watch, blobs: p.repo.Blobs(), desc: l.Descriptor, retries: fetches}
	defer from.close()
	s := &stream{ctx: watch, from: from, limiter: p.repository.limiter, moved: func(n int) { moved(); p.advance(n) }}
	proved := content.NewVerifyReader(s, l.Descriptor)
	_, err = io.CopyBuffer(onlyWriter{f}, proved, make([]byte, chunk))
	if err == nil {
		err = proved.Verify()
	}
	switch {
	case errors.Is(err, content.ErrMismatchedDigest), errors.Is(err, content.ErrTrailingData):
		return fmt.Errorf("%w: the registry serves other bytes than those of %s", backlog.ErrRefused, l.Digest)
	case err != nil:
		return explain(because(watch, err))
	}
	return f.Sync()
}

// onlyWriter hides ReadFrom, which would choose a buffer of its own.
type onlyWriter struct{ io.Writer }

func (p *pull) advance(n int) {
	p.done += int64(n)
	if p.progress != nil {
		p.progress(p.done, p.Bytes)
	}
}

// resuming reads a blob, and goes on where a connection broke.
type resuming struct {
	ctx     context.Context
	blobs   content.Fetcher
	desc    ocispec.Descriptor
	body    io.ReadCloser
	at      int64
	retries int
}

// Read implements io.Reader.
func (r *resuming) Read(p []byte) (int, error) {
	if r.body == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	n, err := r.body.Read(p)
	r.at += int64(n)
	if err == nil || err == io.EOF && r.at >= r.desc.Size {
		return n, err
	}
	r.close()
	if r.ctx.Err() != nil || r.retries == 0 {
		return n, err
	}
	r.retries--
	return n, nil
}

func (r *resuming) open() error {
	body, err := r.blobs.Fetch(r.ctx, r.desc)
	if err != nil {
		return err
	}
	r.body = body
	if r.at == 0 {
		return nil
	}
	if s, ok := body.(io.Seeker); ok {
		_, err = s.Seek(r.at, io.SeekStart)
	} else {
		_, err = io.CopyN(io.Discard, body, r.at)
	}
	return err
}

func (r *resuming) close() {
	if r.body != nil {
		r.body.Close()
		r.body = nil
	}
}

// prove makes sure that what came is one whole bundle.
func (p *pull) prove(ctx context.Context, dir string) error {
	report, err := bundle.Verify(ctx, dir)
	if err != nil {
		return err
	}
	if report.OK() && report.Kind != "bundle" {
		return fmt.Errorf("what the registry has is no bundle but a %s", report.Kind)
	}
	if !report.OK() {
		return fmt.Errorf("what the registry has is no whole bundle: %s", strings.Join(report.Problems, "; "))
	}
	p.Warnings = report.Warnings
	return nil
}

// mustBeFree makes sure that nothing would be replaced.
func mustBeFree(dir string) error {
	names, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(names) > 0:
		return errors.New("the directory is not empty")
	}
	return nil
}

// staging is a directory beside the one that is to appear.
type staging struct {
	path string
	lock *os.File
}

// newStaging makes one, and removes those that pulls to the same place left when they were killed.
func newStaging(dir string) (*staging, error) {
	parent, prefix := filepath.Dir(dir), "."+filepath.Base(dir)+".pull-"
	old, err := filepath.Glob(filepath.Join(globText(parent), globText(prefix)+"*"))
	if err != nil {
		return nil, err
	}
	for _, path := range old {
		if s, err := lockStaging(path); err == nil {
			if err := s.remove(); err != nil {
				return nil, err
			}
		}
	}
	for {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, err
		}
		s, err := lockStaging(path)
		if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.EWOULDBLOCK) {
			return s, err
		} // another pull took it for an old one
	}
}

// globText makes a text that a pattern takes as it is.
func globText(text string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(text)
}

// lockStaging takes a staging directory, unless a process that lives has it.
func lockStaging(path string) (*staging, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return &staging{path: path, lock: f}, nil
}

// fits makes sure that there is room for so many bytes.
func (s *staging) fits(bytes int64) error {
	var st unix.Statfs_t
	if err := unix.Statfs(s.path, &st); err != nil {
		return nil // it will tell when it is full
	}
	if free := int64(st.Bavail) * st.Bsize; free < bytes {
		return fmt.Errorf("it has %d bytes, and %d are free", bytes, free)
	}
	return nil
}

// reveal gives the staging directory its name.
func (s *staging) reveal(dir string) error {
	if err := os.Chmod(s.path, 0o755); err != nil {
		return err
	}
	if err := s.lock.Sync(); err != nil {
		return err
	}
	if err := unix.Rename(s.path, dir); err != nil { // os.Rename takes no empty directory for a target
		return &os.LinkError{Op: "rename", Old: s.path, New: dir, Err: err}
	}
	s.path = ""
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return err
	}
	return errors.Join(parent.Sync(), parent.Close())
}

// remove gives the staging directory up, with all that is in it, unless it has its name.
func (s *staging) remove() error {
	defer s.lock.Close()
	if s.path == "" {
		return nil
	}
	return os.RemoveAll(s.path)
}
