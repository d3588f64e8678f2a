package bucket

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// Probe is what a store was seen to do. It is evidence, not proof.
type Probe struct {
	Class status.Class
	At    time.Time
	Lacks []string // for people; what keeps it from class A
	// Ahead is by how much the clock of this host is ahead of the store's; 0 when they are about the same.
	Ahead time.Duration
	MD5s  bool // it attests no SHA-256, and its ETags are the MD5s of what it holds
}

// Unfit tells that a store is not used because of what it was seen to do.
type Unfit struct {
	Probe Probe
	Hash  bool // bodies with a wrong hash are taken, for which there is no way down
}

func (e *Unfit) Error() string {
	lacks := e.Probe.Lacks[len(e.Probe.Lacks)-1]
	if e.Hash {
		return fmt.Sprintf("the store is not safe to use (class C): %s", lacks)
	}
	return fmt.Sprintf("the store is not safe to share between hosts (class C): %s; use another store, or accept that conflicts are detected but not prevented, "+
		"with conditional = \"none\" (docs/store.md)", lacks)
}

// The objects of a probe, each below a random folder.
const (
	probeHash = "hash" // is never to be there
	probeName = "name"
	probeRace = "race"
)

var probeNames = []string{probeHash, probeName, probeRace}

// racers is how many write one name at once.
const racers = 8

// Probe finds out what the store does with about twenty requests below the prefix, and takes away what it put there as
// far as it may. The error is an [*Unfit] for a store that must not be used, or about what could not be asked.
func (b *Bucket) Probe(ctx context.Context) (Probe, error) {
	p := &probing{Bucket: b, folder: b.prefix + probeFolder + rand.Text() + "/", probe: Probe{Class: status.ClassA, At: time.Now()}}
	err := p.run(ctx)
	if cleanErr := p.clean(ctx); err == nil && cleanErr != nil {
		err = cleanErr
	}
	if err != nil {
		return p.probe, fmt.Errorf("probe the store: %w", err)
	}
	return p.probe, nil
}

type probing struct {
	*Bucket
	folder string
	keys   []string
	probe  Probe
}

func (p *probing) key(name string) string {
	p.keys = append(p.keys, p.folder+name)
	return p.folder + name
}

func (p *probing) lack(c status.Class, format string, args ...any) {
	p.probe.Class = max(p.probe.Class, c)
	p.probe.Lacks = append(p.probe.Lacks, fmt.Sprintf(format, args...))
}

func (p *probing) run(ctx context.Context) error {
	if err := p.hash(ctx); err != nil {
		return err
	}
	name := p.key(probeName)
	if err := p.second(ctx, name); err != nil {
		return err
	}
	if p.probe.Class < status.ClassC {
		if err := p.race(ctx); err != nil {
			return err
		}
	}
	if p.probe.Class == status.ClassC && !p.claiming {
		return &Unfit{Probe: p.probe}
	}
	if err := p.completion(ctx, name); err != nil {
		return err
	}
	if err := p.attestation(ctx, name); err != nil {
		return err
	}
	if p.probe.Class == status.ClassC {
		p.lack(status.ClassC, "so conflicts are detected, not prevented, as conditional = \"none\" asks for")
	}
	return nil
}

// hash sends bytes that are not those of the signed hash.
func (p *probing) hash(ctx context.Context) error {
	body := objectstore.Bytes([]byte("bundlewatch asks whether a wrong hash is refused"))
	body.SHA256[0] ^= 1
	_, err := p.objects.Put(ctx, p.key(probeHash), body, false)
	if err == nil {
		p.lack(status.ClassC, "it took a body whose SHA-256 is not the signed one, so half a file could be taken for a whole one")
		return &Unfit{Probe: p.probe, Hash: true}
	}
	if errors.Is(err, objectstore.ErrHash) {
		return nil
	}
	return err
}

// second makes an object where there is none, and then where there is one.
func (p *probing) second(ctx context.Context, key string) error {
	first := []byte("first")
	_, err := p.objects.Put(ctx, key, objectstore.Bytes(first), true)
	if errors.Is(err, objectstore.ErrUnsupported) {
		p.lack(status.ClassC, "it does not know If-None-Match on a PUT")
		_, err = p.objects.Put(ctx, key, objectstore.Bytes(first), false)
		return err
	}
	if err != nil {
		return err // whether it was done is not known
	}
	_, err = p.objects.Put(ctx, key, objectstore.Bytes([]byte("second")), true)
	got, _, getErr := p.objects.Get(ctx, key, maxDoc)
	switch {
	case err != nil && !errors.Is(err, objectstore.ErrExists) && !errors.Is(err, objectstore.ErrConflict):
		return err
	case getErr != nil:
		return getErr
	case !bytes.Equal(got, first):
		p.lack(status.ClassC, "a second PUT with If-None-Match: * replaced the first")
	case err == nil:
		p.lack(status.ClassC, "a second PUT with If-None-Match: * was accepted")
	}
	return nil
}

// race lets some write one name at once.
func (p *probing) race(ctx context.Context) error {
	key := p.key(probeRace)
	errs := make([]error, racers)
	var group sync.WaitGroup
	for i := range errs {
		group.Go(func() { _, errs[i] = p.objects.Put(ctx, key, objectstore.Bytes(racer(i)), true) })
	}
	group.Wait()
	got, _, err := p.objects.Get(ctx, key, maxDoc)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	won := 0
	for i, err := range errs {
		if err == nil {
			won++
			if !bytes.Equal(got, racer(i)) {
				p.lack(status.ClassC, "of %d PUTs with If-None-Match: * at once one was accepted and then replaced", racers)
				return nil
			}
		}
	}
	if won > 1 {
		p.lack(status.ClassC, "of %d PUTs with If-None-Match: * at once %d were accepted", racers, won)
	}
	return nil
}

func racer(i int) []byte { return fmt.Appendf(nil, "racer %d", i) }

// completion completes an upload where there is an object.
func (p *probing) completion(ctx context.Context, key string) error {
	id, err := p.objects.Begin(ctx, key)
	if err != nil {
		return err
	}
	part, err := p.objects.PutPart(ctx, key, id, 1, objectstore.Bytes([]byte("a part")))
	if err != nil {
		return errors.Join(err, p.objects.Abort(ctx, key, id))
	}
	err = p.objects.Complete(ctx, key, id, []objectstore.Part{part}, true)
	switch {
	case err == nil:
		p.lack(status.ClassB, "it ignores If-None-Match when an upload of parts is completed, so a large file may be sent twice")
		return nil
	case errors.Is(err, objectstore.ErrExists), errors.Is(err, objectstore.ErrConflict):
		return p.objects.Abort(ctx, key, id)
	case errors.Is(err, objectstore.ErrUnsupported):
		p.lack(status.ClassB, "it does not know If-None-Match when an upload of parts is completed")
		return p.objects.Abort(ctx, key, id)
	}
	return errors.Join(err, p.objects.Abort(ctx, key, id))
}

// sameTime is how far apart two clocks may be that are about the same. Stores refuse requests when it is 15 minutes.
const sameTime = time.Minute

func (p *probing) attestation(ctx context.Context, key string) error {
	o, err := p.objects.Head(ctx, key)
	if ahead := time.Since(o.Date); err == nil && !o.Date.IsZero() && ahead.Abs() > sameTime {
		p.probe.Ahead = ahead.Round(time.Second)
	}
	if err != nil || o.Checksum != "" {
		return err
	}
	if p.probe.MD5s, err = p.etags(ctx); err != nil {
		return err
	}
	if p.probe.MD5s {
		p.lack(status.ClassB, "it attests no SHA-256 of what it holds: MD5s are sent, and compared with its ETags")
	} else {
		p.lack(status.ClassB, "it attests no SHA-256 of what it holds, and its ETags are no MD5s: what was accepted is not attested")
	}
	return nil
}

// etags tells whether ETags are MD5s, also those of uploads of parts.
func (p *probing) etags(ctx context.Context) (bool, error) {
	data := []byte("bundlewatch asks whether an ETag is an MD5")
	sum := md5.Sum(data)
	key := p.key("etag")
	r, err := p.objects.Put(ctx, key, objectstore.Bytes(data), false)
	if err != nil || r.ETag != hex.EncodeToString(sum[:]) {
		return false, err
	}
	id, err := p.objects.Begin(ctx, key)
	if err != nil {
		return false, err
	}
	part, err := p.objects.PutPart(ctx, key, id, 1, objectstore.Bytes(data))
	if err == nil {
		err = p.objects.Complete(ctx, key, id, []objectstore.Part{part}, false)
	}
	if err != nil {
		return false, errors.Join(err, p.objects.Abort(ctx, key, id))
	}
	o, err := p.objects.Head(ctx, key)
	return err == nil && part.ETag == r.ETag && o.ETag == objectstore.CompositeETag([][md5.Size]byte{sum}), err
}

// cleanWithin is how long taking away what the probe put may take, also of a probe that was given up.
const cleanWithin = 30 * time.Second

// clean takes away what the probe put. Who may not delete leaves it to the sweep.
func (p *probing) clean(ctx context.Context) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cleanWithin)
	defer stop()
	var failed error
	for _, key := range p.keys {
		if err := p.objects.Delete(ctx, key); err != nil && !errors.Is(err, objectstore.ErrDenied) {
			failed = errors.Join(failed, err)
		}
	}
	return failed
}
