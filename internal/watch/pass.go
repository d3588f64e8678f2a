package watch

import (
	"context"
	"io/fs"
	"math"
	"time"
)

// pass visits the directories of the root once: all of them, or those that have no watch.
//
// An urgent pass reads everything, as fast as it can. Any other is paced: it asks each directory for its
// times, and reads it only when they changed or are too young to tell. Beyond that it has spare calls for
// what no directory's times can show: for looking at files that have settled (a round is complete when
// all were looked at), and for reading directories whose times did not change (a walk is complete when
// all were read). What does not fit into one pass is left for the next one, so that a round and a walk are
// spread over as many passes as they need, while every directory is visited in each.
//
// A walk passes over directories that have a watch and the times that they had, unless it is thorough: they
// would have to change unnoticed twice. It looks at their files, as a round does.
type pass struct {
	all, urgent bool
	// thorough: the walk reads directories with a watch, too.
	thorough bool
	// whole: the pass began at the root, and not at the entrances of what is polled.
	whole     bool
	started   time.Time
	opsBefore int64
	busy      time.Duration
	stack     []*dir
	// spare is how many calls are left for rounds and walks.
	spare int64
	// walkCut and roundCut: spare did not suffice.
	walkCut, roundCut bool
}

// start begins a pass, in the place of the one that is under way.
func (o *owner) start(urgent bool) {
	now := time.Now()
	all := urgent || o.walkLeft || reached(o.nextWalk, now)
	if all && (urgent || !o.walkLeft) {
		o.walk++
	}
	if all {
		o.nextWalk = time.Time{}
	}
	if urgent {
		o.nextUrgent = time.Time{}
	}
	if !o.roundLeft {
		o.round++
	}
	o.nextPoll = time.Time{}
	o.pass = &pass{all: all, urgent: urgent, thorough: o.walk%thoroughEach == 0, started: now, opsBefore: o.chain.ops, spare: o.spare(urgent)}
	o.pass.stack, o.pass.whole = o.entrances(all)
	o.scanStarted = now
}

// entrances returns the directories from which a pass reaches all that it is to visit: the root when it
// is to go everywhere, else where the polled file systems are mounted.
func (o *owner) entrances(all bool) (from []*dir, whole bool) {
	for _, m := range o.mounts {
		switch {
		case m.polled:
			for d := range m.tops {
				from = append(from, d)
			}
		case m.watched < m.dirs:
			all = true
		}
	}
	if all {
		return []*dir{o.top}, true
	}
	return from, false
}

// spare is how many calls a pass may spend on rounds and walks: what the budget leaves of the time until
// the next pass, and at least as many as it takes to visit the directories. Where nothing is polled, no
// latency depends on it.
func (o *owner) spare(urgent bool) int64 {
	polled := int64(o.polledDirs())
	if urgent || polled == 0 {
		return math.MaxInt64
	}
	visits := polled + polled/4
	return max(visits, int64(float64(o.opts.PollOps)*o.pollEvery().Minutes())-visits)
}

// polledDirs counts directories that are listed and not watched.
func (o *owner) polledDirs() int {
	n := 0
	for _, m := range o.mounts {
		n += m.dirs - m.watched
	}
	return n
}

// pollEvery is the time from the start of one pass over what is polled to the start of the next.
func (o *owner) pollEvery() time.Duration {
	if o.opts.Poll != 0 {
		return o.opts.Poll
	}
	var shortest time.Duration
	for _, m := range o.mounts {
		if m.watched < m.dirs && (shortest == 0 || m.settle < shortest) {
			shortest = m.settle
		}
	}
	return max(shortest, minPoll)
}

// working tells that there is something to do at once.
func (o *owner) working() bool { return len(o.queue) > 0 || o.pass != nil }

// step lists or visits one directory, or ends the pass.
func (o *owner) step(ctx context.Context) {
	switch p := o.pass; {
	case len(o.queue) > 0:
		o.listNext(ctx)
	case p == nil:
	case len(p.stack) == 0 && o.readsAhead():
		o.learnNext(ctx)
	case len(p.stack) == 0:
		o.finish()
	default:
		last := len(p.stack) - 1
		d := p.stack[last]
		p.stack[last] = nil
		p.stack = p.stack[:last]
		o.visit(ctx, d)
	}
}

// visit does what the pass is to do with d. The directories in it that are known come next; those that
// turn up are queued by listing d.
func (o *owner) visit(ctx context.Context, d *dir) {
	if d.forgotten {
		return
	}
	p := o.pass
	for child := range d.dirs.all() {
		if p.whole || child.mount == nil || child.mount == d.mount {
			p.stack = append(p.stack, child)
		}
	}
	switch {
	case p.urgent && d.walked != o.walk: // else it was listed for another reason since the pass began
		o.list(ctx, d)
	case p.urgent:
	case d.polled() && d.mount != nil:
		o.glance(ctx, d)
	case p.all:
		o.walkTo(ctx, d)
	}
}

// walkTo lists d, if the walk did not get to it yet.
func (o *owner) walkTo(ctx context.Context, d *dir) {
	if d.walked == o.walk {
		return
	}
	if o.pass.spare <= 0 {
		o.pass.walkCut = true
		return
	}
	before := o.chain.ops
	if d.watched && !o.pass.thorough {
		o.glance(ctx, d)
	} else {
		o.list(ctx, d)
	}
	o.pass.spare -= o.chain.ops - before
}

// glance asks for the times of d and does what they call for.
func (o *owner) glance(ctx context.Context, d *dir) {
	o.enter("look at", d, "")
	st, at, err := o.statDir(d)
	o.pulse.leave()
	switch {
	case err != nil:
		o.unlisted(d, err)
	case st.id() != d.id, at != d.mount.at, !d.stable, st.ModTime != d.modified, st.ChangeTime != d.changed, o.failed[d] != nil:
		o.list(ctx, d)
	case d.watched:
		d.walked = o.walk
		o.lookAgain(ctx, d)
	default:
		o.walkTo(ctx, d)
		o.lookAgain(ctx, d)
	}
}

// statDir returns the state of what is under the name of d now.
func (o *owner) statDir(d *dir) (Stat, place, error) {
	if d.parent != nil {
		return o.chain.stat(d.parent, d.name)
	}
	fd, err := o.chain.fd(d)
	if err != nil {
		return Stat{}, 0, err
	}
	o.chain.ops++
	st, at, err := statAt(fd, "", d.mount.statFlags())
	if err != nil {
		return Stat{}, 0, &fs.PathError{Op: "stat", Path: d.name, Err: err}
	}
	return st, at, nil
}

// lookAgain looks at the files in d, if the round did not get to them yet.
func (o *owner) lookAgain(ctx context.Context, d *dir) {
	if d.looked == o.round || d.files == nil {
		return
	}
	if o.pass.spare <= 0 {
		o.pass.roundCut = true
		return
	}
	before := o.chain.ops
	for f := range d.files.all() {
		if ctx.Err() != nil {
			return
		}
		o.examine(d, f.base())
	}
	d.looked = o.round
	o.pass.spare -= o.chain.ops - before
}

// finish ends a pass whose directories were all visited.
func (o *owner) finish() {
	p := o.pass
	o.pass, o.free = nil, nil
	now := time.Now()
	o.scans++
	o.listedAt, o.scanTook, o.scanOps = now, now.Sub(p.started), o.chain.ops-p.opsBefore
	o.roundLeft = p.roundCut
	if p.urgent {
		o.urgentTook, o.wholeFrom = o.scanTook, p.started
	}
	if p.all {
		o.walkLeft = p.walkCut
		o.nextWalk = latest(now, p.started.Add(o.walkEvery(p.busy)))
	}
	if o.again {
		o.again = false
		o.nextUrgent = now.Add(overflowShare * o.urgentTook)
	}
	if o.polledDirs() > 0 {
		o.nextPoll = latest(p.started.Add(jitter(o.pollEvery())), now.Add(busyShare*p.busy))
	}
	o.chain.drop() // the receiver may take its time
	o.announce(Fact{Kind: Listed})
}

const (
	// thoroughEach is how many walks make one that is thorough.
	thoroughEach = 10
	// quietShare is how many times as long as it was at work a walk rests where everything has a watch, and
	// mostRescans how many times Options.Rescan it rests at most: a tree that is slow to answer is not
	// therefore left alone for days.
	quietShare  = 2000
	mostRescans = 10
)

// walkEvery is the time from the start of a walk that was at work for so long to the start of the next.
func (o *owner) walkEvery(busy time.Duration) time.Duration {
	every := o.opts.Rescan
	if o.polledDirs() == 0 {
		every = max(every, min(quietShare*busy, mostRescans*every))
	}
	return jitter(every)
}

// pace spreads the calls of passes evenly over time.
type pace struct {
	rate float64 // per second
	// tokens are calls that may be made now; negative when more were made.
	tokens float64
	last   time.Time
}

const (
	// paceTick is the time between two portions of a paced pass.
	paceTick = 100 * time.Millisecond
	// paceDebt is for how long a pass waits at most for what other work cost.
	paceDebt = 10 * time.Second
)

func newPace(opsPerMinute int) *pace { return &pace{rate: float64(opsPerMinute) / 60} }

func (p *pace) portion() float64 { return max(1, p.rate*paceTick.Seconds()) }

func (p *pace) refill(now time.Time) {
	p.tokens = min(p.portion(), p.tokens+p.rate*max(0, now.Sub(p.last).Seconds()))
	p.last = now
}

func (p *pace) spend(ops int64) {
	p.tokens = max(p.tokens-float64(ops), -p.rate*paceDebt.Seconds())
}

// pause is the time until there is a whole portion.
func (p *pace) pause() time.Duration {
	return max(paceTick, time.Duration((p.portion()-p.tokens)/p.rate*float64(time.Second)))
}
