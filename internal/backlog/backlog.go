package backlog

import (
	"context"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// Destination is where bundles go. It is used from many goroutines.
type Destination interface {
	// Name is the one that the config gives.
	Name() string
	// Kind is how bundles go there, as the config calls it: "oci".
	Kind() string
	// Address says for people where it is. It never holds credentials.
	Address() string
	// Has tells whether the destination is proved to hold the bundle. The error wraps [ErrConflict] when it holds
	// something else under the bundle's name, [ErrRefused] when a repetition would find the same, and neither when it
	// could not be found out.
	Has(ctx context.Context, b shelf.Bundle) (bool, error)
	// Send brings a bundle there that Has did not find, and returns nil when the destination is proved to hold it. What
	// was sent before, whole or in part, may be sent again. progress is told how many more bytes went, from any goroutine. The error
	// is as that of Has.
	Send(ctx context.Context, b shelf.Bundle, progress func(bytes int64)) error
}

var (
	// ErrConflict tells that the destination holds other content under the name of a bundle. It is never overwritten.
	ErrConflict = errors.New("holds other content under that name")
	// ErrRefused tells that a bundle cannot go there as it is, however often it is tried.
	ErrRefused = errors.New("refused")
	// ErrLost tells that all that the destination held is gone: each bundle is asked for again.
	ErrLost = errors.New("holds nothing any more")
	// ErrDamaged tells that it is the local bundle that keeps it from going: its bytes are not those of its digests, or
	// they cannot be read. It comes with ErrRefused.
	ErrDamaged = errors.New("the local bundle is damaged")
	// ErrRemoved tells that the destination had a bundle, and that it was removed there on purpose. It comes with
	// ErrRefused.
	ErrRemoved = errors.New("removed on purpose")
)

// isFinal tells whether it makes no sense to try again soon.
func isFinal(err error) bool { return errors.Is(err, ErrConflict) || errors.Is(err, ErrRefused) }

// What a backlog tells.
type (
	// Sent tells that the destination now holds a bundle that it had not before.
	Sent struct {
		Bundle  shelf.Bundle
		Seconds float64
	}
	// Refused tells that a bundle cannot go there, for a reason that a repetition would not change.
	Refused struct {
		Bundle shelf.Bundle
		Err    error
	}
	// Failing tells that the destination cannot be reached or used. It is tried again, and told once.
	Failing struct{ Err error }
	// Healed tells that it works again, after it failed for so long.
	Healed struct{ Lasted time.Duration }
)

// Options say how a backlog works.
type Options struct {
	// Watches are those whose bundles go there; empty for all.
	Watches []string
	// Places are the bundles of the shelf that it is about; nil for all.
	Places []string
	// Parallel is how many bundles are sent at the same time, at least 1.
	Parallel int
	// Tell receives a [Sent], [Refused], [Failing] or [Healed], from any goroutine. It may be nil.
	Tell func(news any)
}

// Backlog is the queue of one destination.
type Backlog struct {
	dest  Destination
	shelf *shelf.Shelf
	opts  Options
	nudge chan struct{}

	work sync.WaitGroup

	mu      sync.Mutex
	queue   queue
	health  health
	meter   meter
	listing listing
	drains  int // how many wait for it to be empty
	busy    int // looks and sendings under way
	changed chan struct{}
	totals  totals
	news    []any // to be told when mu is free
}

// totals count since the start.
type totals struct {
	bundles, failures int
	bytes             int64
}

// listing is the state of the looks at the whole artifact directory.
type listing struct {
	running bool
	done    bool // once, well
	next    time.Time
	fails   int
	err     error
}

// Whole looks at the artifact directory and at what was refused, besides the word of every new bundle.
const relist = time.Hour

// checks is how many bundles the destination is asked for at the same time.
const checks = 4

// New returns the backlog of what a shelf has and a destination has not.
func New(dest Destination, s *shelf.Shelf, opts Options) *Backlog {
	opts.Parallel = max(1, opts.Parallel)
	if opts.Tell == nil {
		opts.Tell = func(any) {}
	}
	return &Backlog{dest: dest, shelf: s, opts: opts, nudge: make(chan struct{}, 1), queue: newQueue(), changed: make(chan struct{})}
}

// Published tells of a new bundle at a place of the shelf. It does not wait.
func (b *Backlog) Published(place string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if watch := watchOf(place); b.Wants(watch) {
		b.queue.found(place)
	}
	b.poke()
}

// Run works until the context is done, and returns when nothing of it is under way any more.
func (b *Backlog) Run(ctx context.Context) {
	defer b.work.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		timer.Reset(b.begin(ctx))
		select {
		case <-ctx.Done():
		case <-b.nudge:
		case <-timer.C:
		}
	}
}

// poke makes Run look again.
func (b *Backlog) poke() {
	select {
	case b.nudge <- struct{}{}:
	default:
	}
}

// begin starts all that may be started now, and returns after which time there may be more.
func (b *Backlog) begin(ctx context.Context) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if !b.listing.running && !now.Before(b.listing.next) {
		b.listing.running = true
		b.work.Go(func() { b.list(ctx) })
	}
	for b.mayStart(now, len(b.queue.checking), checks) {
		it := b.queue.takeUnchecked()
		if it == nil {
			break
		}
		b.busy++
		b.work.Go(func() { b.check(ctx, it) })
	}
	for b.mayStart(now, b.queue.sending, b.opts.Parallel) {
		it := b.queue.takeUnsent(now, b.health.fails > 0)
		if it == nil {
			break
		}
		b.busy++
		b.work.Go(func() { b.send(ctx, it) })
	}
	return b.nextLook(now)
}

// mayStart tells whether one more may begin. A destination that fails is tried by one at a time.
func (b *Backlog) mayStart(now time.Time, running, most int) bool {
	if b.health.fails > 0 {
		return b.busy == 0 && !now.Before(b.health.rest)
	}
	return running < most
}

// nextLook is when time alone allows something new.
func (b *Backlog) nextLook(now time.Time) time.Duration {
	next := relist
	soon := func(t time.Time) {
		if t.After(now) {
			next = min(next, t.Sub(now))
		}
	}
	soon(b.health.rest)
	soon(b.listing.next)
	soon(b.queue.nextUnsent(now))
	return max(next, time.Millisecond)
}

// list looks at the whole artifact directory.
func (b *Backlog) list(ctx context.Context) {
	var found []*item
	err := b.each(ctx, func(bundle shelf.Bundle) error {
		if bundle.State != shelf.Pruned {
			found = append(found, newItem(bundle))
		}
		return nil
	})
	b.mu.Lock()
	defer b.settle()
	b.queue.listed(found)
	b.listing.running, b.listing.err = false, err
	if err != nil {
		b.listing.fails++
		b.listing.next = time.Now().Add(Pause(b.listing.fails))
		return
	}
	b.listing.done, b.listing.fails, b.listing.next = true, 0, time.Now().Add(relist)
}

// each calls do for every bundle of the shelf that the backlog is about.
func (b *Backlog) each(ctx context.Context, do func(shelf.Bundle) error) (err error) {
	if b.opts.Places != nil {
		for _, place := range b.opts.Places {
			bundle, lookErr := b.shelf.At(place)
			if lookErr == nil {
				lookErr = do(bundle)
			}
			if !errors.Is(lookErr, fs.ErrNotExist) {
				err = errors.Join(err, lookErr)
			}
		}
		return err
	}
	watches := b.opts.Watches
	if len(watches) == 0 {
		watches = []string{""}
	}
	for _, w := range watches {
		err = errors.Join(err, b.shelf.Each(ctx, w, do))
	}
	return err
}

// check asks the destination for a bundle.
func (b *Backlog) check(ctx context.Context, it *item) {
	bundle, err := b.look(it)
	has := false
	if err == nil {
		has, err = b.dest.Has(ctx, bundle)
	}
	b.mu.Lock()
	defer b.settle()
	b.busy--
	b.queue.checked(it)
	switch {
	case err == nil && has:
		b.worked()
		b.queue.held(it)
	case err == nil:
		b.worked()
		b.queue.unsent(it)
	default:
		b.failed(ctx, it, bundle, err)
	}
}

// send brings a bundle to the destination.
func (b *Backlog) send(ctx context.Context, it *item) {
	begun := time.Now()
	bundle, err := b.look(it)
	if err == nil {
		err = b.dest.Send(ctx, bundle, func(n int64) { b.advance(it, n) })
	}
	b.mu.Lock()
	defer b.settle()
	b.busy--
	b.queue.sending--
	it.done = 0
	if err != nil {
		b.failed(ctx, it, bundle, err)
		return
	}
	b.worked()
	b.queue.held(it)
	b.totals.bundles++
	b.tell(Sent{Bundle: bundle, Seconds: time.Since(begun).Seconds()})
}

func (b *Backlog) advance(it *item, n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	it.done += n
	b.totals.bytes += n
	b.meter.add(time.Now(), n)
}

// failed takes an item back that could not be asked for or sent.
func (b *Backlog) failed(ctx context.Context, it *item, bundle shelf.Bundle, err error) {
	err = b.blame(it, err)
	switch {
	case errors.Is(err, errLeft):
		b.queue.drop(it)
	case isFinal(err):
		b.worked() // it has answered
		if b.queue.refuse(it, err) {
			b.tell(Refused{Bundle: bundle, Err: err})
		}
	case ctx.Err() != nil:
		b.queue.again(it)
	default:
		if errors.Is(err, ErrLost) && len(b.queue.holds) > 0 {
			clear(b.queue.holds)
			b.listing.done, b.listing.next = false, time.Time{}
		}
		b.totals.failures++
		if b.health.fails == 0 || b.health.last == it {
			it.notBefore = time.Now().Add(b.pause(it.fails + 1))
			b.queue.delays = true
		}
		it.fails++
		b.queue.again(it)
		if b.health.fails == 0 {
			b.health.since = time.Now()
		}
		if !b.health.told && it.failed != err.Error() {
			b.tell(Failing{Err: err})
			b.health.told = true
		}
		it.failed = err.Error()
		b.health.fails++
		b.health.err, b.health.last = err, it
		b.health.rest = time.Now().Add(b.pause(b.health.fails))
	}
}

// worked notes that the destination has answered.
func (b *Backlog) worked() {
	if b.health.told {
		b.tell(Healed{Lasted: time.Since(b.health.since)})
	}
	b.health = health{}
}

// tell keeps news for the moment when mu is free, so that who hears it may ask the backlog.
func (b *Backlog) tell(news any) { b.news = append(b.news, news) }

// settle ends a change: it frees mu, and tells the news, those who wait for a change, and Run.
func (b *Backlog) settle() {
	close(b.changed)
	b.changed = make(chan struct{})
	news := b.news
	b.news = nil
	b.mu.Unlock()
	for _, n := range news {
		b.opts.Tell(n)
	}
	b.poke()
}

// errLeft tells that a bundle is not there any more, or was pruned: nothing is left to send.
var errLeft = errors.New("nothing left to send")

// health is how the destination does.
type health struct {
	fails int       // in a row
	rest  time.Time // nothing is tried before
	since time.Time // it fails
	err   error     // the last one
	last  *item     // that failed
	told  bool      // not where one bundle fails as before, and the others work
}
