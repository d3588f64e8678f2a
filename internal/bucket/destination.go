package bucket

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// How long what a probe found holds.
const (
	fitFor   = 24 * time.Hour
	unfitFor = 10 * time.Minute
)

// Destination is a bucket that a backlog sends bundles to. It probes the store first, and every day.
type Destination struct {
	name, address string
	open          func() (*Bucket, error)

	turn   sync.Mutex // of who opens and probes
	bucket *Bucket    // nil until it was opened
	failed error      // of the probe

	mu    sync.Mutex
	probe Probe
}

// NewDestination returns a destination. address says for people where it is; open makes the bucket, when it is
// needed, and again where that failed.
func NewDestination(name, address string, open func() (*Bucket, error)) *Destination {
	return &Destination{name: name, address: address, open: open}
}

// Name implements [backlog.Destination].
func (d *Destination) Name() string { return d.name }

// Kind implements [backlog.Destination].
func (d *Destination) Kind() string { return "s3" }

// Address implements [backlog.Destination].
func (d *Destination) Address() string { return d.address }

// Describe says for people what the last probe found, "" before the first.
func (d *Destination) Describe() string {
	p := d.last()
	if p.At.IsZero() {
		return ""
	}
	text := fmt.Sprintf("class %s, probed %s", p.Class, p.At.Format(time.RFC3339))
	if len(p.Lacks) > 0 {
		text += ": " + strings.Join(p.Lacks, "; ")
	}
	return text
}

// ready opens and probes the bucket where that is due.
func (d *Destination) ready(ctx context.Context) (*Bucket, error) {
	d.turn.Lock()
	defer d.turn.Unlock()
	if d.bucket == nil {
		b, err := d.open()
		if err != nil {
			return nil, err
		}
		d.bucket = b
	}
	age := time.Since(d.last().At)
	if d.failed == nil && age < fitFor || d.failed != nil && age < unfitFor {
		return d.bucket, d.failed
	}
	probe, err := d.bucket.Probe(ctx)
	var unfit *Unfit
	if err != nil && !errors.As(err, &unfit) {
		return nil, err // nothing is known, which is not kept
	}
	d.failed = err
	d.bucket = d.bucket.trusting(probe)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.probe = probe
	return d.bucket, err
}

func (d *Destination) last() Probe {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.probe
}

// Has implements [backlog.Destination].
func (d *Destination) Has(ctx context.Context, local shelf.Bundle) (bool, error) {
	b, err := d.ready(ctx)
	if err != nil {
		return false, err
	}
	held, err := b.Holds(ctx, local.Place, local.Archive.SHA256)
	return held, classify(err)
}

// Send implements [backlog.Destination].
func (d *Destination) Send(ctx context.Context, local shelf.Bundle, progress func(bytes int64)) error {
	b, err := d.ready(ctx)
	if err != nil {
		return err
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
