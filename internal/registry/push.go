package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/pagecache"
)

// Push brings an artifact to the repository and gives it the tag, which must be free or hold this artifact. What is
// there already is not sent again. progress is told of bytes that went, or need not go. The error is a [TakenError],
// wraps [backlog.ErrRefused] when a repetition would find the same, or is a passing one.
func (r *Repository) Push(ctx context.Context, a *Artifact, tag string, progress func(int64)) error {
	if err := r.push(ctx, a, tag, progress); err != nil {
		return fmt.Errorf("push to %s:%s: %w", r.name, tag, err)
	}
	return nil
}

func (r *Repository) push(ctx context.Context, a *Artifact, tag string, progress func(int64)) error {
	repo, err := r.remote()
	if err != nil {
		return err
	}
	ctx = auth.AppendRepositoryScope(ctx, repo.Reference, auth.ActionPull, auth.ActionPush) // one login for all
	if done, err := r.isTagged(ctx, repo, a, tag); done || err != nil {
		return err
	}
	for _, b := range a.blobs {
		if err := r.pushBlob(ctx, repo, b, progress); err != nil {
			return err
		}
	}
	if err := ask(ctx, func(ctx context.Context) error {
		return repo.Manifests().Push(ctx, a.manifest, bytes.NewReader(a.content))
	}); err != nil {
		return err
	}
	if done, err := r.isTagged(ctx, repo, a, tag); done || err != nil { // the upload took its time
		return err
	}
	put := ask(ctx, func(ctx context.Context) error {
		return repo.Manifests().PushReference(ctx, a.manifest, bytes.NewReader(a.content), tag)
	})
	// The answer alone decides nothing: another host may have been there in the same moment, the answer may be lost,
	// and a registry with immutable tags refuses also what it has.
	for pause := firstLook; ; pause *= 2 {
		done, err := r.isTagged(ctx, repo, a, tag)
		switch {
		case done || err != nil:
			return err
		case put != nil:
			return put
		case pause > lastLook:
			return errors.New("the registry took the tag, and does not know it")
		}
		select {
		case <-time.After(pause): // another client writes it in this moment, or the registry is many
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// A tag that was written is looked for again, after pauses that double.
const (
	firstLook = 100 * time.Millisecond
	lastLook  = 2 * time.Second
)

// isTagged tells whether the tag holds the artifact.
func (r *Repository) isTagged(ctx context.Context, repo *remote.Repository, a *Artifact, tag string) (bool, error) {
	have, content, err := manifest(ctx, repo, tag)
	switch {
	case errors.Is(err, ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case have == a.Digest:
		return true, nil
	}
	return false, &TakenError{Reference: r.name + ":" + tag, Have: have, Want: a.Digest, SameArchive: hasLayer(content, a.archive)}
}

// hasLayer tells whether a manifest names a blob.
func hasLayer(content []byte, blob digest.Digest) bool {
	var m ocispec.Manifest
	if json.Unmarshal(content, &m) != nil {
		return false
	}
	for _, l := range m.Layers {
		if l.Digest == blob {
			return true
		}
	}
	return false
}

// maxManifest is how large a manifest may be in bytes; registries take at most 4 MiB.
const maxManifest = 4 << 20

// manifest returns what a tag or a digest names, and the digest of what came.
func manifest(ctx context.Context, repo *remote.Repository, reference string) (got digest.Digest, content []byte, err error) {
	err = ask(ctx, func(ctx context.Context) error {
		_, body, err := repo.Manifests().FetchReference(ctx, reference)
		if err != nil {
			return err
		}
		defer body.Close()
		if content, err = io.ReadAll(io.LimitReader(body, maxManifest+1)); err == nil && len(content) > maxManifest {
			err = fmt.Errorf("%w: the manifest is larger than %d bytes", backlog.ErrRefused, maxManifest)
		}
		return err
	})
	return digest.FromBytes(content), content, err
}

// ask does what needs no long transfer.
func ask(ctx context.Context, do func(context.Context) error) error {
	within, stop := context.WithTimeout(ctx, askTime)
	defer stop()
	err := do(within)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return errSilent
	}
	return explain(err)
}

func (r *Repository) pushBlob(ctx context.Context, repo *remote.Repository, b blob, progress func(int64)) error {
	there := false
	err := ask(ctx, func(ctx context.Context) (err error) {
		there, err = repo.Blobs().Exists(ctx, b.Descriptor)
		return err
	})
	if err != nil {
		return err
	}
	if there {
		progress(b.Size)
		return nil
	}
	body, size, err := b.open()
	if err != nil {
		return err
	}
	defer body.Close()
	if size != b.Size {
		return fmt.Errorf("%w: %w: %q has %d bytes, and was published with %d", backlog.ErrRefused, backlog.ErrDamaged, b.path, size, b.Size)
	}
	watch, moved, stop := watched(ctx)
	defer stop()
	s := &stream{ctx: watch, from: body, limiter: r.limiter, moved: func(n int) { moved(); progress(int64(n)) }}
	err = because(watch, repo.Blobs().Push(watch, b.Descriptor, &proof{from: s, hash: sha256.New(), left: b.Size, want: b.Digest.Encoded(), name: b.path}))
	var altered *alteredError
	if errors.As(err, &altered) {
		return fmt.Errorf("%w: %w: %w", backlog.ErrRefused, backlog.ErrDamaged, altered)
	}
	return explain(err)
}

func (b blob) open() (io.ReadCloser, int64, error) {
	if b.data != nil {
		return io.NopCloser(bytes.NewReader(b.data)), int64(len(b.data)), nil
	}
	f, size, err := openRegular(b.path)
	if err != nil {
		return nil, 0, err
	}
	pages := pagecache.NewReader(f, size)
	return &quiet{Reader: io.NewSectionReader(pages, 0, size), pages: pages}, size, nil
}

// quiet reads a file and leaves the page cache to training.
type quiet struct {
	io.Reader
	pages *pagecache.Reader
}

// Close implements io.Closer.
func (q *quiet) Close() error {
	q.pages.Drop()
	return q.pages.File().Close()
}

// Has tells whether the tag holds the artifact, and the registry still knows its archive.
func (r *Repository) Has(ctx context.Context, a *Artifact, tag string) (has bool, err error) {
	repo, err := r.remote()
	if err == nil {
		has, err = r.isTagged(ctx, repo, a, tag)
	}
	var taken *TakenError
	if same := errors.As(err, &taken) && taken.SameArchive; has || same {
		has, err = r.hasArchive(ctx, repo, a)
	}
	if err != nil {
		return false, fmt.Errorf("look up %s:%s: %w", r.name, tag, err)
	}
	return has, nil
}

func (r *Repository) hasArchive(ctx context.Context, repo *remote.Repository, a *Artifact) (there bool, err error) {
	err = ask(ctx, func(ctx context.Context) (err error) {
		there, err = repo.Blobs().Exists(ctx, a.blobs[0].Descriptor)
		return err
	})
	return there, err
}
