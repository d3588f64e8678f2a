package watch

import (
	"context"
	"time"
)

const (
	// batch is how long events are collected before the paths that they name are looked at, so that a
	// writer which writes in small pieces costs a look per batch and not per write.
	batch = 10 * time.Millisecond
	// listShare is the reciprocal of the share of time that polling may spend on listing.
	listShare = 20
	// rootChecks happen every settle time, within these bounds.
	minRootCheck = 50 * time.Millisecond
	maxRootCheck = 2 * time.Second
)

// owner is the state of one run. Only the goroutine of the run touches it.
type owner struct {
	opts        Options
	emit        func(Fact)
	publish     func(State)
	newNotifier func() (*notifier, error)

	// tree and top are nil while the root is gone, for the reason in lost.
	tree *tree
	top  *dir
	lost string

	dirs  map[string]*dir // by path
	ids   map[fileID]*dir
	queue []*dir // to be listed
	due   dueQueue
	files int
	// listing counts listings of single directories; full is set while the whole root is listed.
	listing uint64
	full    bool

	source   Source
	notifier *notifier // nil when polling
	// degraded is why notifications are incomplete; logged tells that this was logged.
	degraded error
	logged   bool

	unreadableDirs int
	overflows      int
	listedAt       time.Time
	listTook       time.Duration

	nextEvents, nextRoot, nextList, nextHeal time.Time // zero: never
}

// announce sends a fact about the root; the published state already shows it.
func (o *owner) announce(fact Fact) {
	o.publish(o.state())
	o.emit(fact)
}

// settle is the settle time for files on a file system.
func (o *owner) settle(on filesystem) time.Duration {
	if on.network {
		return max(o.opts.Settle, NetworkSettle)
	}
	return o.opts.Settle
}

// loop runs until ctx is done.
func (o *owner) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		o.publish(o.state())
		timer.Reset(time.Until(o.next()))
		select {
		case <-ctx.Done():
			return
		case <-o.poke():
			if o.nextEvents.IsZero() {
				o.nextEvents = time.Now().Add(batch)
			}
		case <-timer.C:
			o.turn(ctx)
		}
	}
}

// turn does what is due.
func (o *owner) turn(ctx context.Context) {
	now := time.Now()
	if reached(o.nextEvents, now) {
		o.nextEvents = time.Time{}
		o.takeEvents()
		o.drain(ctx)
	}
	o.lookDue(ctx, now)
	if reached(o.nextRoot, now) {
		o.checkRoot()
	}
	if reached(o.nextList, now) {
		o.listAll(ctx)
	}
}

// lookDue looks at the files that are due at now, and lists what that brings to light.
func (o *owner) lookDue(ctx context.Context, now time.Time) {
	for ctx.Err() == nil {
		f := o.due.next(now)
		if f == nil {
			break
		}
		o.examine(f.path)
	}
	o.drain(ctx)
}

func (o *owner) takeEvents() {
	if o.notifier == nil {
		return
	}
	dirty, lost := o.notifier.take()
	if lost != nil {
		o.overflows++
		o.opts.Logger.Warn().Err(lost).Str("root", o.opts.Root).Msg("events were lost; listing the root anew")
		// Not so often that nothing but listing is done.
		o.nextList = earliest(o.nextList, latest(time.Now(), o.listedAt.Add(4*o.listTook)))
	}
	for abs := range dirty {
		o.examine(o.relative(abs))
	}
}

// listAll lists the whole root.
func (o *owner) listAll(ctx context.Context) {
	start := time.Now()
	o.heal(start)
	o.full = true
	o.enqueue(o.top)
	o.drain(ctx)
	o.full = false
	if ctx.Err() != nil {
		return
	}
	o.logHealed()
	o.listedAt = time.Now()
	o.listTook = o.listedAt.Sub(start)
	o.nextList = o.listedAt.Add(o.interval())
	o.announce(Fact{Kind: Listed})
}

// interval is the time until the next listing.
func (o *owner) interval() time.Duration {
	if o.source == Inotify && o.degraded == nil {
		return o.opts.Rescan
	}
	poll := o.opts.Poll
	if poll == 0 {
		poll = o.settle(o.top.on)
	}
	return max(poll, listShare*o.listTook)
}

// follow asks for events of d.
func (o *owner) follow(d *dir) {
	if o.notifier == nil || o.degraded != nil {
		return
	}
	if err := o.notifier.watch(o.absolute(d.path)); err != nil {
		o.degrade(err)
	}
}

// degrade makes the root be polled until notifications can be had.
func (o *owner) degrade(err error) {
	o.degraded = err
	o.nextHeal = time.Now().Add(o.opts.Rescan)
	o.nextList = earliest(o.nextList, time.Now().Add(o.interval()))
	if !o.logged {
		o.logged = true
		o.opts.Logger.Warn().Err(err).Str("root", o.opts.Root).Msg("notifications are incomplete; polling the root")
	}
}

// heal gives notifications another try, at most every Options.Rescan. The listing that follows adds
// the watches.
func (o *owner) heal(now time.Time) {
	if o.degraded == nil || now.Before(o.nextHeal) {
		return
	}
	o.degraded = nil
	o.startNotifier()
}

// logHealed logs that a whole listing went by without a failed watch.
func (o *owner) logHealed() {
	if o.logged && o.degraded == nil {
		o.logged = false
		o.opts.Logger.Info().Str("root", o.opts.Root).Msg("notifications are complete again")
	}
}

// startNotifier starts notifications if they are wanted and not there.
func (o *owner) startNotifier() {
	if o.source != Inotify || o.notifier != nil {
		return
	}
	n, err := o.newNotifier()
	if err != nil {
		o.degrade(err)
		return
	}
	o.notifier = n
}

// poke returns the channel on which the notifier asks for attention.
func (o *owner) poke() <-chan struct{} {
	if o.notifier == nil {
		return nil
	}
	return o.notifier.poke
}

// next is the time of the next turn.
func (o *owner) next() time.Time {
	next := earliest(o.nextRoot, earliest(o.nextList, o.nextEvents))
	if len(o.due) > 0 {
		next = earliest(next, o.due[0].due)
	}
	return next
}

func reached(t, now time.Time) bool { return !t.IsZero() && !t.After(now) }

// earliest returns the earlier one of two times, of which a zero one means never.
func earliest(a, b time.Time) time.Time {
	if b.IsZero() || (!a.IsZero() && a.Before(b)) {
		return a
	}
	return b
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
