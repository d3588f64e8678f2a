package bucket

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/objectstore"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// How long what a probe found holds.
const (
	fitFor   = 24 * time.Hour
	unfitFor = 10 * time.Minute // also where the clocks differ, which is soon mended
)

// Destination is a bucket that a backlog sends bundles to. It probes the store first, and every day.
type Destination struct {
	name, address string
	open          func() (*Bucket, error)

	turn   chan struct{} // taken by who opens and probes
	bucket *Bucket       // nil until it was opened
	failed error         // of the probe
	probed time.Time     // with the monotonic clock
	holds  time.Duration // for how long the probe counts

	mu    sync.Mutex
	probe *status.Probe
}

// NewDestination returns a destination. address says for people where it is; open makes the bucket, when it is
// needed, and again where that failed.
func NewDestination(name, address string, open func() (*Bucket, error)) *Destination {
	return &Destination{name: name, address: address, open: open, turn: make(chan struct{}, 1)}
}

// Name implements [backlog.Destination].
func (d *Destination) Name() string { return d.name }

// Kind implements [backlog.Destination].
func (d *Destination) Kind() string { return "s3" }

// Address implements [backlog.Destination].
func (d *Destination) Address() string { return d.address }

// Probed is what the last probe found that came to an end, nil before the first.
func (d *Destination) Probed() *status.Probe {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.probe
}

// ready opens and probes the bucket where that is due.
func (d *Destination) ready(ctx context.Context) (*Bucket, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return nil, context.Cause(ctx) // who probes may have to wait for long
	}
	if d.bucket == nil {
		b, err := d.open()
		if err != nil {
			return nil, err
		}
		d.bucket = b
	}
	if time.Since(d.probed) < d.holds {
		return d.bucket, d.failed
	}
	probe, err := d.bucket.Probe(ctx)
	var unfit *Unfit
	if err != nil && !errors.As(err, &unfit) {
		return nil, err // nothing is known, which is not kept
	}
	d.failed, d.probed, d.holds = err, time.Now(), fitFor
	if err != nil || probe.Ahead != 0 {
		d.holds = unfitFor
	}
	d.bucket = d.bucket.trusting(probe)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probe = &status.Probe{Class: probe.Class, At: probe.At.Round(0), Lacks: probe.Lacks, ClockAhead: probe.Ahead.Seconds(), Refused: unfit != nil}
	return d.bucket, err
}

// Has implements [backlog.Destination].
func (d *Destination) Has(ctx context.Context, local shelf.Bundle) (bool, error) {
	b, err := d.ready(ctx)
	if err != nil {
		return false, classify(err)
	}
	held, err := b.Holds(ctx, local.Place, local.Archive.SHA256)
	return held, classify(err)
}

// Removed looks whether a bundle was removed from the store on purpose: then the error wraps [backlog.ErrRemoved]. The
// sweep that follows may not have come to its name and its data yet, so it may be held nevertheless.
func (d *Destination) Removed(ctx context.Context, local shelf.Bundle) error {
	b, err := d.ready(ctx)
	if err != nil {
		return classify(err)
	}
	return classify(b.buried(ctx, local.Place))
}

// Send implements [backlog.Destination].
func (d *Destination) Send(ctx context.Context, local shelf.Bundle, progress func(bytes int64)) error {
	b, err := d.ready(ctx)
	if err != nil {
		return classify(err)
	}
	l, err := OpenLocal(local.Path, local.Place)
	if err != nil {
		return classify(err)
	}
	defer l.Close()
	_, err = b.with(progress).publishUnnamed(ctx, l)
	return classify(err)
}

// trusting returns the bucket with what a probe found to rely on.
func (b *Bucket) trusting(p Probe) *Bucket {
	other := *b
	other.md5s = p.MD5s
	return &other
}

// with returns the bucket with another listener to what is sent.
func (b *Bucket) with(sent func(int64)) *Bucket {
	other := *b
	other.sent = sent
	return &other
}

// classify says what a failure means for the backlog.
func classify(err error) error {
	var conflict *Conflict
	var pruned *Pruned
	switch {
	case errors.As(err, &conflict):
		return fmt.Errorf("%w: %w", backlog.ErrConflict, err)
	case errors.As(err, &pruned):
		return fmt.Errorf("%w: %w: %w", backlog.ErrRefused, backlog.ErrRemoved, err)
	case errors.Is(err, ErrDamaged):
		return fmt.Errorf("%w: %w", backlog.ErrRefused, err)
	case errors.Is(err, objectstore.ErrNoBucket):
		return fmt.Errorf("the store %w: %w", backlog.ErrLost, err)
	}
	return err
}

// Holds tells whether a bundle has its name, and the archive is there. The error is a [*Conflict] when another has the
// name. Of one that was removed on purpose [Bucket.Publish] says so.
func (b *Bucket) Holds(ctx context.Context, place, archive string) (bool, error) {
	names, err := b.names(ctx, place)
	if err != nil {
		return false, fmt.Errorf("look for %q: %w", place, err)
	}
	for _, n := range names {
		if n.Archive != archive {
			return false, fmt.Errorf("look for %q: %w", place, &Conflict{Place: place, Ours: archive, Theirs: n.Archive, Host: n.Host})
		}
	}
	if len(names) == 0 {
		return false, nil
	}
	for _, f := range names[0].Files {
		ok, _, err := b.stands(ctx, place, f)
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}
