package bucket

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// maxSmall bounds what is read of the small files, in bytes.
const maxSmall = 64 << 20

// Remote is a bundle in the store. Only its name was read.
type Remote struct {
	Name   Name
	bucket *Bucket
}

// Open finds a bundle: [ErrNone] when it has no name.
func (b *Bucket) Open(ctx context.Context, place string) (*Remote, error) {
	names, err := b.names(ctx, place)
	switch {
	case err != nil:
		return nil, fmt.Errorf("open %q: %w", place, err)
	case len(names) == 0:
		return nil, fmt.Errorf("open %q: %w", place, ErrNone)
	case len(names) > 1:
		return nil, fmt.Errorf("open %q: there are %d bundles of other content under this name: %w", place, len(names),
			&Conflict{Place: place, Ours: names[0].Archive, Theirs: names[1].Archive, Host: names[1].Host})
	}
	return &Remote{Name: names[0], bucket: b}, nil
}

func (r *Remote) stored(file string) Stored {
	for _, s := range r.Name.Files {
		if s.Base() == file {
			return s
		}
	}
	return Stored{}
}

// Bytes is what all files of the bundle have.
func (r *Remote) Bytes() (n int64) {
	for _, s := range r.Name.Files {
		n += s.Size
	}
	return n
}

func (r *Remote) key(s Stored) string { return r.bucket.dataKey(r.Name.Place, s.Path) }

// Small reads one of the small files of the bundle and proves it by its digest.
func (r *Remote) Small(ctx context.Context, file string) ([]byte, error) {
	s := r.stored(file)
	data, _, err := r.bucket.objects.Get(ctx, r.key(s), maxSmall)
	if err != nil {
		return nil, err
	}
	if got := hexSum(data); got != s.SHA256 {
		return nil, fmt.Errorf("read %q: it has the SHA-256 %s instead of %s", r.key(s), got, s.SHA256)
	}
	return data, nil
}

// Archive returns the archive, which is read in ranges as they are asked for, with a look at it first.
func (r *Remote) Archive(ctx context.Context) (io.ReaderAt, int64, error) {
	s := r.stored(bundle.ArchiveName)
	o, err := r.bucket.objects.Head(ctx, r.key(s))
	if err != nil {
		return nil, 0, err
	}
	if ok, _, err := s.matches(o); err != nil || !ok {
		return nil, 0, cmp.Or(err, fmt.Errorf("read %q: it is not the archive that the name says", o.Key))
	}
	return r.bucket.reader(ctx, o.Key, o.ETag, o.Size), o.Size, nil
}

// Prove looks at every file of the bundle, without its bytes. It returns what is wrong, and what the store does not
// attest.
func (r *Remote) Prove(ctx context.Context) (problems, unattested []string, err error) {
	for _, s := range r.Name.Files {
		ok, attested, err := r.bucket.stands(ctx, r.Name.Place, s)
		switch {
		case err != nil:
			return nil, nil, err
		case !ok:
			problems = append(problems, fmt.Sprintf("%s is not in the store as the name says", s.Path))
		case !attested:
			unattested = append(unattested, s.Base())
		}
	}
	return problems, unattested, nil
}

// Download writes the files of the bundle into a directory, which must be empty, and proves them by their digests.
// An interruption goes on from where it was.
func (r *Remote) Download(ctx context.Context, dir string, progress func(bytes int64)) error {
	for _, s := range r.Name.Files {
		if err := r.download(ctx, s, filepath.Join(dir, s.Base()), progress); err != nil {
			return fmt.Errorf("download %q: %w", r.key(s), err)
		}
	}
	return nil
}

func (r *Remote) download(ctx context.Context, s Stored, path string, progress func(int64)) error {
	o, err := r.bucket.objects.Head(ctx, r.key(s))
	if err != nil {
		return err
	}
	if o.Size != s.Size {
		return fmt.Errorf("it has %d bytes, the name says %d", o.Size, s.Size)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	sum := sha256.New()
	var have int64
	err = r.bucket.objects.Again(ctx, func() error {
		if have == s.Size {
			return nil
		}
		n, err := r.bucket.objects.Stream(ctx, o.Key, o.ETag, have, s.Size, io.MultiWriter(f, sum, counter(progress)))
		have += n
		return err
	})
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != s.SHA256 {
		return fmt.Errorf("it has the SHA-256 %s instead of %s", got, s.SHA256)
	}
	return nil
}

type counter func(int64)

func (c counter) Write(b []byte) (int, error) {
	if c != nil {
		c(int64(len(b)))
	}
	return len(b), nil
}

// readers is how many names are read at once.
const readers = 16

// Each calls do for every bundle whose place is below a folder of places, or for all where that is "", in the order of
// the keys. wants may leave out bundles before their names are read; nil for none. It is no snapshot.
func (b *Bucket) Each(ctx context.Context, below string, wants func(Listed) bool, do func(*Remote) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	queue := make(chan chan result, readers)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		defer close(queue)
		if err := b.readAll(ctx, &group, below, wants, queue); err != nil {
			one := make(chan result, 1)
			one <- result{err: err}
			select {
			case queue <- one:
			case <-ctx.Done():
			}
		}
	})
	for one := range queue {
		got := <-one
		if got.err != nil {
			return got.err
		}
		if got.remote == nil {
			continue // gone since it was listed
		}
		if err := do(got.remote); err != nil {
			return err
		}
	}
	return ctx.Err()
}

type result struct {
	remote *Remote
	err    error
}

// readAll lists names and reads some at once, in order.
func (b *Bucket) readAll(ctx context.Context, group *sync.WaitGroup, below string, wants func(Listed) bool, queue chan<- chan result) error {
	return b.listed(ctx, below, func(l Listed) error {
		if wants != nil && !wants(l) {
			return nil
		}
		one := make(chan result, 1)
		select {
		case queue <- one:
		case <-ctx.Done():
			return ctx.Err()
		}
		group.Go(func() { one <- b.readOne(ctx, l.key, l.Place) })
		return nil
	})
}

func (b *Bucket) readOne(ctx context.Context, key, place string) result {
	n, err := b.readName(ctx, key, place)
	switch {
	case errors.Is(err, objectstore.ErrMissing):
		return result{}
	case err != nil:
		return result{err: err}
	}
	return result{remote: &Remote{Name: n, bucket: b}}
}

// escapeFolder is the prefix of keys of places below a folder of them.
func escapeFolder(folder string) string {
	return strings.TrimSuffix(escapePlace(strings.Trim(folder, "/")+"/x"), "x")
}
