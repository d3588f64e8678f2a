package backlog

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// Left is a bundle that the destination is not known to hold.
type Left struct {
	Watch, Key, Place string
	Bytes             int64
	Why               error // nil when there was no time
	Final             bool  // another try would not change it, and a [Refused] told it
}

// errUnlisted tells that it is not known what is left.
var errUnlisted = errors.New("the artifact directory was not listed to its end")

// Drain waits until nothing is left to send, or the context is done, and returns what is left, newest first. Run
// has to be under way. Meanwhile the pauses after failures are short. What is being sent when the context is done
// goes on. The error tells that not even the artifact directory could be listed.
func (b *Backlog) Drain(ctx context.Context) ([]Left, error) {
	b.hurry()
	defer b.rest()
	for {
		idle, changed := b.idle()
		if idle {
			return b.left()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return b.left()
		}
	}
}

func (b *Backlog) hurry() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drains++
	b.health.rest = time.Time{}
	for _, it := range b.queue.unsents {
		it.notBefore = time.Time{}
	}
	b.poke()
}

func (b *Backlog) rest() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drains--
}

// idle tells whether all that can be sent was, and returns what is closed at the next change.
func (b *Backlog) idle() (idle bool, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listing.done && len(b.queue.items) == b.queue.refusals, b.changed
}

func (b *Backlog) left() ([]Left, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := slices.SortedFunc(maps.Values(b.queue.items), newer)
	left := make([]Left, len(all))
	for i, it := range all {
		left[i] = Left{Watch: it.watch, Key: it.key, Place: it.place, Bytes: it.bytes, Why: cmp.Or(it.reason, b.health.err), Final: it.state == refused}
	}
	if !b.listing.done {
		return left, cmp.Or(b.listing.err, errUnlisted)
	}
	return left, nil
}
