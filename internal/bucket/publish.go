package bucket

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/objectstore"
)

// Published is what came of publishing a bundle that has its name now.
type Published struct {
	Host     string // that made the name
	Fresh    bool   // this call did
	Attested bool   // the store attests the digests of all files, from a look after the name was there
	Sent     int    // files that were sent
}

// attempts bounds how often the name is written, and how often data that went away is sent again.
const attempts = 5

// Publish makes the store have a bundle and its name, and returns when both were seen there. It may be called for the
// same bundle on any number of hosts at once, and again after any error. A bundle with other bytes under the same
// name is a [*Conflict], one that was pruned [*Pruned]; in both cases nothing is replaced.
func (b *Bucket) Publish(ctx context.Context, l *Local) (Published, error) {
	p := &publication{Bucket: b, local: l}
	if err := p.run(ctx); err != nil {
		return Published{}, fmt.Errorf("publish %q: %w", l.place, err)
	}
	return p.result, nil
}

// publishUnnamed is [Bucket.Publish] of a bundle whose name was looked for, and was not there. It asks for it again
// only where much would be sent in vain: a name that came meanwhile is found when ours is written.
func (b *Bucket) publishUnnamed(ctx context.Context, l *Local) (Published, error) {
	p := &publication{Bucket: b, local: l, unnamed: l.Size() < largeFile}
	if err := p.run(ctx); err != nil {
		return Published{}, fmt.Errorf("publish %q: %w", l.place, err)
	}
	return p.result, nil
}

type publication struct {
	*Bucket
	local   *Local
	unnamed bool      // a moment ago, so that it is not asked for
	living  time.Time // when there was no tomb
	result  Published
}

// recent is how long it holds that there was no tomb, until the last look at it.
const recent = 10 * time.Second

func (p *publication) run(ctx context.Context) error {
	if err := p.mourn(ctx); err != nil {
		return err
	}
	var named *Name
	if !p.unnamed {
		var err error
		if named, err = p.own(ctx); err != nil {
			return err
		}
	}
	for range attempts {
		files := p.files(named)
		if err := p.sendAll(ctx, files, named != nil); err != nil {
			return err
		}
		if named == nil {
			var err error
			if named, err = p.name(ctx); err != nil {
				return err
			}
			files = p.files(named)
		}
		whole, err := p.prove(ctx, *named, files)
		if err != nil || whole {
			return err
		}
	}
	return errors.New("what was sent does not stay in the store")
}

// mourn looks for a tomb: the error is [*Pruned] when there is one.
func (p *publication) mourn(ctx context.Context) error {
	asked := time.Now()
	if err := p.buried(ctx, p.local.place); err != nil {
		return err
	}
	p.living = asked
	return nil
}

// own reads the name, nil where there is none. That of another archive is a [*Conflict].
func (p *publication) own(ctx context.Context) (ours *Name, err error) {
	names, err := p.names(ctx, p.local.place)
	if err != nil {
		return nil, err
	}
	for i := range names {
		if names[i].Archive != p.local.archive {
			return nil, &Conflict{Place: p.local.place, Ours: p.local.archive, Theirs: names[i].Archive, Host: names[i].Host}
		}
		ours = &names[i]
	}
	return ours, nil
}

// files are the files that the name needs: the archive alone where the small ones are those of another host.
func (p *publication) files(named *Name) []*localFile {
	if named != nil && !p.local.has(named) {
		return p.local.files[:1]
	}
	return p.local.files
}

func (p *publication) sendAll(ctx context.Context, files []*localFile, named bool) error {
	var sent atomic.Int64
	err := forAll(ctx, files, func(ctx context.Context, f *localFile) error {
		ok, err := p.send(ctx, p.local.place, f, named)
		if ok {
			sent.Add(1)
		}
		return err
	})
	p.result.Sent += int(sent.Load())
	return err
}

// forAll does something for all files at once, and returns the first error, which ends the others.
func forAll(ctx context.Context, files []*localFile, do func(context.Context, *localFile) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	for _, f := range files {
		group.Go(func() {
			if err := do(ctx, f); err != nil {
				cancel(err)
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// name writes the name and reads it, until it is there. The status of the write alone is not believed: it is read but
// where the store made it because there was none and attests in the same answer what it made.
func (p *publication) name(ctx context.Context) (*Name, error) {
	mine, err := p.render(ctx)
	if err != nil {
		return nil, err
	}
	data, err := json.MarshalIndent(mine, "", "  ")
	if err != nil {
		return nil, err
	}
	key := p.nameKey(p.local.place)
	if p.claiming {
		key = p.claimKey(p.local.place, p.local.archive)
	}
	body := objectstore.Bytes(append(data, '\n'))
	for try := 1; ; try++ {
		if time.Since(p.living) > recent {
			if err := p.mourn(ctx); err != nil {
				return nil, err
			}
		}
		r, putErr := p.objects.Put(ctx, key, body, !p.claiming)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if putErr == nil && !p.claiming && r.Checksum == body.Checksum() {
			p.result.Host, p.result.Fresh = mine.Host, true
			return &mine, nil
		}
		named, err := p.own(ctx)
		switch {
		case err != nil:
			return nil, err // the write may have been done: the next attempt finds out
		case named != nil:
			p.result.Host, p.result.Fresh = named.Host, named.Nonce == mine.Nonce
			return named, nil
		case putErr == nil:
			putErr = fmt.Errorf("the store took the name %q and does not have it", key)
		}
		if try == attempts || !goesOn(putErr) {
			return nil, putErr
		}
		if err := p.objects.Pause(ctx, try); err != nil {
			return nil, err
		}
	}
}

// render is the name as this host writes it.
func (p *publication) render(ctx context.Context) (Name, error) {
	l := p.local
	n := Name{Layout: layoutVersion, Place: l.place, Archive: l.archive, Sums: l.sums, Key: l.head.Key, Version: l.head.Version,
		Run: l.head.Run(), Published: l.head.Provenance.Published, Host: p.host,
		Time: time.Now().UTC().Truncate(time.Millisecond), Nonce: rand.Text()}
	for _, f := range l.files {
		s := Stored{Path: f.path, Size: f.size, SHA256: f.digest}
		if s.PartSize = cmp.Or(f.stands, f.plan(p.partSize)); s.PartSize > 0 {
			sums, err := f.digests(ctx, s.PartSize)
			if err != nil {
				return n, err
			}
			s.Composite = objectstore.Composite(sums)
		}
		if p.md5s {
			var err error
			if s.MD5, err = f.etag(ctx, s.PartSize); err != nil {
				return n, err
			}
		}
		n.Files = append(n.Files, s)
	}
	return n, nil
}

// prove looks at all that the name names, now that it is there, but for what the store has just attested in its answer
// to the sending. It is false when something is missing that can be sent again.
func (p *publication) prove(ctx context.Context, named Name, files []*localFile) (whole bool, err error) {
	var missing, unattested atomic.Bool
	err = forAll(ctx, files, func(ctx context.Context, f *localFile) error {
		if f.vouched {
			return nil
		}
		s, err := p.look(ctx, p.dataKey(p.local.place, f.path), f)
		if err == nil && !s.there {
			missing.Store(true)
		}
		if err == nil && !s.attested {
			unattested.Store(true)
		}
		return err
	})
	if err != nil {
		return false, err
	}
	whole, p.result.Attested, p.result.Host = !missing.Load(), !unattested.Load(), named.Host
	for _, s := range named.Files {
		if len(files) > 1 || s.Base() == files[0].name {
			continue
		}
		ok, attested, err := p.stands(ctx, named.Place, s)
		if err != nil {
			return false, err
		}
		if !ok {
			return false, fmt.Errorf("the name that host %q made names %q, which is not in the store as it says: only that host has it", named.Host, s.Path)
		}
		p.result.Attested = p.result.Attested && attested
	}
	if err := p.mourn(ctx); err != nil {
		return false, p.withdraw(ctx, named, err)
	}
	return whole, nil
}

// withdraw takes back a name that this call made beside a tomb.
func (p *publication) withdraw(ctx context.Context, named Name, err error) error {
	var pruned *Pruned
	if !errors.As(err, &pruned) || !p.result.Fresh {
		return err
	}
	key := p.nameKey(named.Place)
	if p.claiming {
		key = p.claimKey(named.Place, named.Archive)
	}
	return errors.Join(err, p.objects.Delete(ctx, key))
}

// stands tells whether the store has a file as a name says, and whether it attests it. Of an object in other parts
// than the name's it attests nothing that can be compared without its bytes.
func (b *Bucket) stands(ctx context.Context, place string, s Stored) (ok, attested bool, err error) {
	o, err := b.objects.Head(ctx, b.dataKey(place, s.Path))
	if errors.Is(err, objectstore.ErrMissing) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	ok, attested, err = s.matches(o)
	if b.md5s && o.Checksum == "" && s.MD5 != "" && o.ETag != s.MD5 && partsOf(o.ETag) == partsOf(s.MD5) {
		ok = false
	}
	return ok, attested, err
}

// partsOf returns how many parts an ETag says its object had, "" for one that was put whole.
func partsOf(etag string) string {
	_, n, _ := strings.Cut(etag, "-")
	return n
}
