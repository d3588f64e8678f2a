package backlog

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// shownRefusals is how many refused bundles are shown one by one.
const shownRefusals = 20

// Status tells how the backlog does. Its times are by the wall clock.
func (b *Backlog) Status() status.Destination {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	s := status.Destination{Name: b.dest.Name(), Kind: b.dest.Kind(), Address: b.dest.Address(), Listed: b.listing.done,
		Unchecked: len(b.queue.uncheckeds) + len(b.queue.checking), Pending: len(b.queue.unsents), PendingBytes: b.queue.bytes,
		Sent: b.totals.bundles, SentBytes: b.totals.bytes, Failures: b.totals.failures, Rate: b.meter.rate(now)}
	if d, ok := b.dest.(interface{ Probed() *status.Probe }); ok {
		s.Probe = d.Probed()
	}
	if it := b.queue.oldest(); it != nil {
		s.Oldest = &status.Unsent{Watch: it.watch, Key: cmp.Or(it.key, strings.TrimPrefix(it.place, it.watch+"/")), Published: it.published.Round(0)}
	}
	left := b.queue.bytes
	for _, it := range b.queue.unsents {
		if it.state == sending {
			s.Sending = append(s.Sending, status.Sending{Watch: it.watch, Key: it.key, Bytes: min(it.done, it.bytes), Total: it.bytes, Started: it.begun.Round(0)})
			left -= min(it.done, it.bytes)
		}
	}
	if s.Rate > 0 && s.Pending > 0 {
		s.ETA = float64(left) / float64(s.Rate)
	}
	b.showHealth(&s, now)
	b.showRefusals(&s)
	return s
}

func (b *Backlog) showHealth(s *status.Destination, now time.Time) {
	switch {
	case b.health.fails > 0:
		since, retry := b.health.since.Round(0), b.health.rest.Round(0)
		s.Error, s.Since, s.Retry = b.health.err.Error(), &since, &retry
	case b.listing.err != nil:
		s.Error = "list the local bundles: " + b.listing.err.Error()
	}
}

func (b *Backlog) showRefusals(s *status.Destination) {
	for _, it := range b.queue.verdicts {
		u := status.Unsendable{Watch: it.watch, Key: it.key, Reason: it.reason.Error(), At: it.at.Round(0)}
		switch {
		case errors.Is(it.reason, ErrConflict):
			u.Conflict = true
			s.Conflicts++
		case errors.Is(it.reason, ErrDamaged):
			u.Damaged = true
			s.Damaged++
			s.Refused++
		default:
			s.Refused++
		}
		s.Refusals = append(s.Refusals, u)
	}
	slices.SortFunc(s.Refusals, func(a, b status.Unsendable) int { return b.At.Compare(a.At) })
	s.Refusals = s.Refusals[:min(len(s.Refusals), shownRefusals)]
}

// Confirm asks the destination whether it still holds a bundle that it was proved to hold since this program was started. A
// bundle must not lose its archive before that. One that it does not hold any more is sent again. Of one that it was not
// proved to hold it is not asked.
func (b *Backlog) Confirm(ctx context.Context, bundle shelf.Bundle) (bool, error) {
	if !b.Holds(bundle) {
		return false, nil
	}
	has, err := b.dest.Has(ctx, bundle)
	if has || err != nil && !isFinal(err) {
		return has, err
	}
	b.mu.Lock()
	defer b.settle()
	delete(b.queue.holds, holdKey(bundle.Place, bundle.Archive.SHA256))
	b.queue.found(bundle.Place)
	return false, err
}

// Holds tells whether the destination was proved to hold the bundle since this program was started.
func (b *Backlog) Holds(bundle shelf.Bundle) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, held := b.queue.holds[holdKey(bundle.Place, bundle.Archive.SHA256)]
	return held
}

// Removed tells whether the destination was seen to have had the bundle, and to have lost it on purpose.
func (b *Backlog) Removed(bundle shelf.Bundle) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	it := b.queue.items[bundle.Place]
	return it != nil && it.state == refused && it.archive == bundle.Archive.SHA256 && errors.Is(it.reason, ErrRemoved)
}
