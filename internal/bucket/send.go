package bucket

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// standing is what the store has under the key of a file.
type standing struct {
	there    bool // and it is this file, as far as the store says
	attested bool // the store said so by a checksum
	age      time.Duration
}

// look compares what the store has with a file. An object that the store does not attest is this file when its ETag is
// the MD5 of it, or where ETags are something else when it has its size: each body that went into it had a signed hash.
func (b *Bucket) look(ctx context.Context, key string, f *localFile) (standing, error) {
	o, err := b.objects.Head(ctx, key)
	if errors.Is(err, objectstore.ErrMissing) {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, err
	}
	s := standing{there: o.Size == f.size, age: o.Date.Sub(o.Modified)}
	if s.there && o.Checksum != "" {
		s.there, err = f.attests(ctx, o.Checksum)
		s.attested = s.there
	} else if s.there && b.md5s {
		s.there, err = f.bears(ctx, o.ETag)
		s.attested = s.there
	}
	return s, err
}

// send makes the store have a file. What it has is not sent again, unless it has no name yet and is so old that a
// sweep could be about to take it for garbage.
func (b *Bucket) send(ctx context.Context, place string, f *localFile, named bool) (sent bool, err error) {
	key := b.dataKey(place, f.path)
	stays := func(s standing) bool { return s.there && (named || s.age < freshFor) }
	var s standing
	if named || f.size >= largeFile || f.plan(b.partSize) > 0 { // what is small is sent sooner than asked for
		if s, err = b.look(ctx, key, f); err != nil || stays(s) {
			return false, err
		}
	}
	// A condition saves bytes, no more: what is there under this key and is not this file, or is old, is replaced.
	fresh := !s.there && !b.claiming
	for try := 1; ; try++ {
		err := b.sendOnce(ctx, key, f, fresh)
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err == nil {
			return true, nil
		}
		now, lookErr := b.look(ctx, key, f)
		switch {
		case lookErr != nil:
			return false, errors.Join(err, lookErr)
		case stays(now):
			return !errors.Is(err, objectstore.ErrExists), nil // another host was faster, or the answer was lost
		case errors.Is(err, objectstore.ErrHash), errors.Is(err, objectstore.ErrSource):
			err = f.blame(ctx, err)
		}
		if !goesOn(err) || try == attempts {
			return false, err
		}
		fresh = fresh && !errors.Is(err, objectstore.ErrExists)
		if err := b.objects.Pause(ctx, try); err != nil {
			return false, err
		}
	}
}

// goesOn tells whether a file may be sent anew after an error.
func goesOn(err error) bool {
	return objectstore.IsTransient(err) || errors.Is(err, objectstore.ErrExists) || errors.Is(err, objectstore.ErrNoUpload)
}

// blame finds out whether it is the local file whose bytes are not those of its digest.
func (f *localFile) blame(ctx context.Context, err error) error {
	f.mu.Lock()
	clear(f.parts)
	f.mu.Unlock()
	if _, damage := f.digests(ctx, max(f.size, 1)); damage != nil {
		return damage
	}
	return err
}

func (b *Bucket) sendOnce(ctx context.Context, key string, f *localFile, fresh bool) error {
	size := f.plan(b.partSize)
	if size == 0 {
		body := objectstore.Body{Source: f.source, Size: f.size, SHA256: f.whole(), Sent: b.sent}
		etag := ""
		if b.md5s {
			sums, err := f.md5Of(ctx, 0)
			if err != nil {
				return err
			}
			body.MD5, etag = &sums[0], hex.EncodeToString(sums[0][:])
		}
		put := func() error {
			r, err := b.objects.Put(ctx, key, body, fresh)
			attested := r.Checksum == body.Checksum() || b.md5s && r.Checksum == "" && r.ETag == etag
			f.vouched = err == nil && f.size < largeFile && attested
			return err
		}
		release, err := b.slot(ctx)
		if err != nil {
			return err
		}
		defer release()
		if fresh {
			return put() // after an error the caller looks
		}
		return b.objects.Again(ctx, put)
	}
	sums, err := f.digests(ctx, size)
	if err != nil {
		return err
	}
	u := &uploading{Bucket: b, key: key, file: f, size: size, sums: sums, parts: make([]objectstore.Part, len(sums))}
	if b.md5s {
		if u.md5s, err = f.md5Of(ctx, size); err != nil {
			return err
		}
	}
	if err := u.begin(ctx); err != nil {
		return err
	}
	if err := u.sendParts(ctx); err != nil {
		return u.forgotten(err)
	}
	err = b.objects.Complete(ctx, key, u.id, u.parts, fresh)
	switch {
	case err == nil:
		b.uploads.forget(key)
	case errors.Is(err, objectstore.ErrExists), errors.Is(err, objectstore.ErrConflict):
		b.uploads.forget(key)
		err = errors.Join(err, b.objects.Abort(ctx, key, u.id)) // it stays open otherwise
	}
	return u.forgotten(err)
}

// uploading is a file that is sent in parts.
type uploading struct {
	*Bucket
	key   string
	id    string
	file  *localFile
	size  int64 // of a part
	sums  [][32]byte
	md5s  [][md5.Size]byte   // nil where the store attests something better
	parts []objectstore.Part // those with a number are in the store
}

// begin goes on with an upload that was begun before, with the parts of it whose checksum is ours, or begins one.
func (u *uploading) begin(ctx context.Context) error {
	if u.id = u.uploads.find(u.key); u.id != "" {
		have, err := u.objects.Parts(ctx, u.key, u.id)
		if err != nil && !errors.Is(err, objectstore.ErrNoUpload) {
			return err
		}
		for _, p := range have {
			if p.Number >= 1 && p.Number <= len(u.sums) && u.isOurs(p) {
				u.parts[p.Number-1] = p
			}
		}
		if err == nil {
			return nil
		}
	}
	id, err := u.objects.Begin(ctx, u.key)
	if err != nil {
		return err
	}
	u.id = id
	return u.uploads.put(u.key, id)
}

// isOurs tells whether a part that the store has is what would be sent.
func (u *uploading) isOurs(p objectstore.Part) bool {
	if p.Checksum == "" && u.md5s != nil {
		return p.ETag == hex.EncodeToString(u.md5s[p.Number-1][:])
	}
	return p.Checksum == base64.StdEncoding.EncodeToString(u.sums[p.Number-1][:])
}

// forgotten makes the next attempt begin anew when the store does not know the upload.
func (u *uploading) forgotten(err error) error {
	if errors.Is(err, objectstore.ErrNoUpload) || errors.Is(err, objectstore.ErrMissing) {
		u.uploads.forget(u.key)
		return fmt.Errorf("%w: %w", objectstore.ErrNoUpload, err)
	}
	return err
}

// sendParts sends the parts that the store does not have, some at once.
func (u *uploading) sendParts(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	numbers := make(chan int)
	var workers sync.WaitGroup
	for range min(u.parallel, len(u.parts)) {
		workers.Go(func() {
			for n := range numbers {
				if err := u.sendPart(ctx, n); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range u.parts {
		if u.parts[i].Number == 0 && ctx.Err() == nil {
			numbers <- i
		}
	}
	close(numbers)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

func (u *uploading) sendPart(ctx context.Context, i int) error {
	if ctx.Err() != nil {
		return nil
	}
	offset := int64(i) * u.size
	body := objectstore.Body{Source: u.file.source, Offset: offset, Size: min(u.size, u.file.size-offset), SHA256: u.sums[i], Sent: u.sent}
	if u.md5s != nil {
		body.MD5 = &u.md5s[i]
	}
	release, err := u.slot(ctx)
	if err != nil {
		return err
	}
	defer release()
	p, err := u.objects.PutPart(ctx, u.key, u.id, i+1, body)
	u.parts[i] = p
	return err
}
