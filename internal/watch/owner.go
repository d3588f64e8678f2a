package watch

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// batch is how long events are collected before the paths that they name are looked at, so that a
	// writer which writes in small pieces costs a look per batch and not per write.
	batch = 10 * time.Millisecond
	// busyShare is how many times as long as it was at work a pass rests at least.
	busyShare = 4
	// overflowShare is how many times as long as a listing took is waited before events that were lost
	// meanwhile lead to another one.
	overflowShare = 4
	// slice is for how long the owner works before it looks for events.
	slice = 50 * time.Millisecond
	// minPoll is the shortest time between two passes when Options.Poll does not say.
	minPoll = 10 * time.Millisecond
	// A root without a watch is checked every settle time, within these bounds.
	minRootCheck = 50 * time.Millisecond
	maxRootCheck = 2 * time.Second
)

// owner is the state of one run. Only the goroutine of the run touches it.
type owner struct {
	opts        Options
	emit        func(Fact)
	publish     func(State)
	newNotifier func() (*notifier, error)
	nudge       <-chan struct{}
	hurried     *atomic.Bool
	pulse       *pulse
	began       time.Time
	own         listing    // what is not read ahead
	ahead       *ahead     // nil while nothing is read ahead
	free        []*listing // for what is read ahead
	path        []byte     // of the entry that is looked at

	// tree and top are nil while the root is gone, for the reason in lost.
	tree  *tree
	top   *dir
	chain chain
	lost  string

	table  *mountTable
	mounts map[place]*mount
	ids    map[fileID]*dir
	failed map[*dir]error // directories that cannot be listed
	queue  []*dir         // to be listed
	due    dueQueue
	// dirs and files count what is known, watches what is watched.
	dirs, files, watches int
	// listing counts listings of single directories.
	listing uint32

	pass *pass
	pace *pace
	// walk and round number the walks and rounds of passes. walkLeft and roundLeft: the last pass could
	// not complete them. again: events were lost during an urgent pass.
	walk, round                uint32
	walkLeft, roundLeft, again bool

	notifier *notifier // nil until a directory wants one
	// degraded is why notifications are incomplete; logged tells that this was logged.
	degraded error
	logged   bool

	overflows, scans               int
	listedAt, scanStarted          time.Time
	wholeFrom                      time.Time
	scanTook, urgentTook           time.Duration
	scanOps                        int64
	nextEvents, nextRoot, nextHeal time.Time // zero: never
	nextPoll, nextWalk, nextUrgent time.Time // zero: never
	nextPortion                    time.Time // of a paced pass
}

func newOwner(w *Watcher, emit func(Fact)) *owner {
	o := &owner{
		opts:        w.opts,
		newNotifier: w.newNotifier,
		publish:     func(s State) { w.state.Store(&s) },
		nudge:       w.nudge,
		hurried:     &w.hurried,
		pulse:       &w.pulse,
		began:       time.Now().Add(-1),
		pace:        newPace(w.opts.PollOps),
		own:         listing{buffer: make([]byte, listBuffer)},
	}
	// The wait for a receiver is no wait for a file system.
	o.emit = func(fact Fact) {
		call := o.pulse.call.Swap(nil)
		emit(fact)
		if call != nil {
			o.enter(call.op, call.dir, call.name)
		}
	}
	return o
}

// enter shows that calls into the file system for the entry of d of this name are under way, for d itself
// when it is empty, for the root when d is nil.
func (o *owner) enter(op string, d *dir, name string) {
	root := o.opts.Root
	if o.tree != nil {
		root = o.tree.path
	}
	o.pulse.enter(op, root, d, name)
}

// announce sends a fact about the root; the published state already shows it.
func (o *owner) announce(fact Fact) {
	o.publish(o.state())
	o.emit(fact)
}

// loop runs until ctx is done.
func (o *owner) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		o.publish(o.state())
		timer.Reset(time.Until(o.next()))
		select {
		case <-ctx.Done():
		case <-o.poke():
			if o.nextEvents.IsZero() {
				o.nextEvents = time.Now().Add(batch)
			}
		case <-o.nudge:
			o.rescan()
		case <-timer.C:
			o.turn(ctx)
		}
	}
}

// turn does what is due.
func (o *owner) turn(ctx context.Context) {
	now := time.Now()
	o.pulse.turn(now)
	defer o.chain.drop()
	if reached(o.nextEvents, now) {
		o.nextEvents = time.Time{}
		o.takeEvents()
	}
	o.lookDue(ctx, now)
	if reached(o.nextRoot, now) {
		o.checkRoot()
	}
	if o.tree == nil {
		return
	}
	if reached(o.nextHeal, now) {
		o.heal()
	}
	o.startDue(now)
	o.work(ctx, now)
}

// startDue starts the pass that is due.
func (o *owner) startDue(now time.Time) {
	switch {
	case reached(o.nextUrgent, now):
		o.start(true)
	case o.pass != nil:
	case reached(o.nextWalk, now), reached(o.nextPoll, now):
		o.start(false)
	case o.nextPoll.IsZero() && o.polledDirs() > 0:
		o.nextPoll = now.Add(jitter(o.pollEvery()))
	}
}

// work lists what is queued and gets on with the pass, for a slice of time and within the budget.
func (o *owner) work(ctx context.Context, now time.Time) {
	begin, ops := time.Now(), o.chain.ops
	o.pace.refill(now)
	if o.pass != nil && o.pass.urgent {
		defer o.startAhead(ctx)()
	}
	for ctx.Err() == nil && o.tree != nil && o.working() && time.Since(begin) < slice {
		if len(o.queue) == 0 && !o.pass.urgent {
			if now.Before(o.nextPortion) {
				break
			}
			if o.pace.tokens <= 0 {
				o.nextPortion = now.Add(o.pace.pause())
				break
			}
		}
		o.step(ctx)
		if o.pass != nil && !o.pass.urgent {
			o.pace.spend(o.chain.ops - ops)
		}
		ops = o.chain.ops
	}
	if o.pass != nil {
		o.pass.busy += time.Since(begin)
	}
}

// lookDue looks at the files that are due at now.
func (o *owner) lookDue(ctx context.Context, now time.Time) {
	for ctx.Err() == nil {
		f := o.due.next(now)
		if f == nil {
			return
		}
		o.examine(f.dir, f.base())
	}
}

// takeEvents looks at the paths that events named.
func (o *owner) takeEvents() {
	if o.notifier == nil {
		return
	}
	dirty, lost := o.notifier.take()
	if lost != nil {
		o.overflows++
		o.opts.Logger.Warn().Err(lost).Str("root", o.opts.Root).Msg("events were lost; listing the root anew")
		o.listSoon(o.listedAt.Add(overflowShare * o.urgentTook)) // or nothing but listing would be done
	}
	for abs, written := range dirty {
		rel := o.relative(abs)
		switch {
		case rel == ".":
			o.checkRootSoon()
			o.enqueue(o.top)
		case written && !o.opts.Want(rel): // no directory, and nobody's business
		default:
			if d, name := o.find(rel); d != nil {
				o.examine(d, name)
			}
		}
	}
}

// listSoon lets the whole root be listed, not before the given time.
func (o *owner) listSoon(at time.Time) {
	if o.pass != nil && o.pass.urgent {
		o.again = true
		return
	}
	o.nextUrgent = earliest(o.nextUrgent, latest(at, time.Now()))
}

// rescan does what was asked for by Watcher.Rescan.
func (o *owner) rescan() {
	if o.tree == nil {
		o.checkRootSoon()
		return
	}
	o.listSoon(time.Now())
	if o.degraded != nil || len(o.failed) > 0 {
		o.nextHeal = time.Now()
	}
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
	next := earliest(o.nextRoot, o.nextEvents)
	next = earliest(next, o.nextHeal)
	next = earliest(next, o.nextUrgent)
	if len(o.due) > 0 {
		next = earliest(next, o.due[0].due)
	}
	switch {
	case len(o.queue) > 0, o.pass != nil && o.pass.urgent:
		next = time.Now()
	case o.pass != nil:
		next = earliest(next, latest(o.nextPortion, time.Now()))
	default:
		next = earliest(next, earliest(o.nextPoll, o.nextWalk))
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
