package daemon

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// tick is how often an engine looks for what time alone changes: retries, expiry, regrouping.
const tick = time.Second

// loop runs an engine in the daemon.
type loop struct {
	*engine
	source  watch.Source
	log     zerolog.Logger
	orders  chan<- order
	listed  func()             // called once, after the first listing or when there is no root to list
	due     map[*set]time.Time // when time alone can change what is to be done with a set
	nextDue time.Time          // no set is due before that
	misfits map[*set]bool      // sets that were refused for their config
	open    map[*set]bool      // sets that are not published
	queue   []*set             // complete sets, oldest first
	packing map[*job]*set
	job     *job // made for the first set of the queue
	offer   *job // that the pool has, and has not begun
	replies chan reply
	renewed chan struct{} // asks to bundle every set again
	asked   chan *draining
	drains  []*draining // that are under way
	closed  bool        // nothing is started any more
	hurried <-chan time.Time
	ease    func()       // ends the ticks of hurried
	learned atomic.Int64 // facts, to see that a first listing goes on
	watcher atomic.Pointer[watch.Watcher]
	shown   atomic.Pointer[view]
	changed bool      // since shown was made
	counted time.Time // when all sets were last looked through for shown

	runs     map[string]*cadence // by the name of the run
	stallAt  time.Time           // of the next look for runs that stall
	scouting bool                // a run is being looked at
	scouts   chan scouted

	lastShow, nextShow time.Time

	turnBegan, longEnded atomic.Pointer[time.Time] // of turns, see punctual
}

func newLoop(e *engine, log zerolog.Logger, orders chan<- order, listed func()) *loop {
	e.patient = true
	return &loop{engine: e, source: sourceOf(e.watch), log: log, orders: orders, listed: sync.OnceFunc(listed), due: make(map[*set]time.Time),
		misfits: make(map[*set]bool), open: make(map[*set]bool), packing: make(map[*job]*set), replies: make(chan reply, 2*maxPacks+2),
		renewed: make(chan struct{}, 1), runs: make(map[string]*cadence), scouts: make(chan scouted, 1),
		asked: make(chan *draining), ease: func() {}}
}

func sourceOf(w config.Watch) watch.Source {
	switch w.Source {
	case config.SourceInotify:
		return watch.Inotify
	case config.SourcePoll:
		return watch.Poll
	}
	return watch.Auto
}

// run follows the root until the context is done. A pack that is under way is then discarded.
func (l *loop) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	w, err := watch.New(watch.Options{Root: l.watch.Root, Want: l.wants, Source: l.source, Settle: l.watch.Settle,
		Rescan: l.watch.Rescan, PollOps: l.watch.PollOps, Logger: l.log})
	if err != nil {
		return err
	}
	l.watcher.Store(w)
	facts := make(chan watch.Fact)
	ended := make(chan error, 1)
	go func() {
		ended <- w.Run(ctx, facts)
		close(facts)
	}()
	err = l.follow(ctx, facts, ended)
	l.leaveDrains()
	stop()
	for f := range facts {
		if f.File != nil {
			f.File.Close()
		}
	}
	l.end()
	return err
}

// end waits for packs that are under way and gives up all descriptors.
func (l *loop) end() {
	for len(l.packing) > 0 {
		l.received(<-l.replies)
	}
	for _, s := range l.table.Sets() {
		for _, r := range l.table.Roles() {
			for _, m := range s.Candidates(r.Name) {
				l.drop(m)
			}
		}
	}
}

func (l *loop) follow(ctx context.Context, facts <-chan watch.Fact, ended <-chan error) error {
	turn := newBeat(tick)
	defer turn.stop()
	defer l.ease()
	for {
		l.turned()
		var orders chan<- order
		var next order
		if l.offer == nil && l.next() != nil {
			orders, next = l.orders, order{ctx: ctx, job: l.job, replies: l.replies, startBy: l.startBy()}
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case f := <-facts:
			l.learned.Add(1)
			l.learn(f)
		case orders <- next:
			l.ordered()
		case r := <-l.replies:
			l.received(r)
		case <-l.renewed:
			l.republish()
		case q := <-l.asked:
			l.hurry(q)
		case <-l.hurried:
			l.endDrains()
		case r := <-l.scouts:
			l.scoutedRun(r)
		case <-turn.C:
			turn.again()
			l.turn()
		}
	}
}

// next prepares the job for the first set in the queue that is still to be bundled; nil while a pack of this
// watch is stalled, or the artifact directory failed a moment ago.
func (l *loop) next() *set {
	for len(l.queue) > 0 && !l.now().Before(l.resume) && !l.stalled() && !l.holdsBack() {
		s := l.queue[0]
		if v, same := l.judge(s); v == ready || (v == regroups && l.waitedForOthers(s)) {
			l.job = l.engine.job(s, same)
			return s
		}
		s.State.busy = false
		l.queue = l.queue[1:]
		l.consider(s)
	}
	return nil
}

// stalled tells whether a pack of this watch stands still. More of them would only stand beside it.
func (l *loop) stalled() bool {
	for j := range l.packing {
		if j.work.stalled.Load() {
			return true
		}
	}
	return false
}

// ordered notes that the pool took the job.
func (l *loop) ordered() {
	l.packing[l.job] = l.queue[0]
	l.queue = l.queue[1:]
	l.job, l.offer, l.changed = nil, l.job, true
}

func (l *loop) learn(f watch.Fact) {
	l.changed = true
	switch f.Kind {
	case watch.Listed:
		l.scanned()
		l.retryMisfits()
		l.listed()
		return
	case watch.RootGone:
		l.emit(Event{Kind: RootGone, Path: l.watch.Root, Reason: f.Reason.Error()})
		l.listed()
		return
	case watch.RootBack:
		l.emit(Event{Kind: RootBack, Path: l.watch.Root})
		return
	}
	for _, s := range l.take(f) {
		l.consider(s)
	}
}

// received learns that a pack has begun, or what became of it.
func (l *loop) received(r reply) {
	if r.began {
		l.offer, l.changed = nil, true
		return
	}
	s := l.packing[r.job]
	delete(l.packing, r.job)
	l.finish(s, r.job, r.outcome)
	l.noteBundle(r)
	if r.outcome.manifest != nil {
		l.passedOver(s)
	}
	l.consider(s)
}

// republish makes all sets be bundled again whose bundles are not there any more.
func (l *loop) republish() {
	l.resume = time.Time{}
	for _, s := range l.table.Sets() {
		s.State.loaded, s.State.versions = false, nil
		s.State.forgetSaves()
		if err := l.load(s); err != nil {
			l.failed(s, err)
		}
		if s.State.settled {
			l.reopen(s)
		}
		l.consider(s)
	}
}

// turn looks at the sets for which something has become due.
func (l *loop) turn() {
	if now := l.now(); !now.Before(l.nextDue) {
		l.lookAtDue(now)
	}
	l.stall()
	l.show()
}

// lookAtDue looks at the sets that are due at now, and finds out when the next one is.
func (l *loop) lookAtDue(now time.Time) {
	l.nextDue = now.Add(dueAtLeast)
	for s, due := range l.due {
		if now.Before(due) {
			l.nextDue = earlier(l.nextDue, due)
		} else {
			l.consider(s)
		}
	}
}

// dueAt notes when to look at a set again.
func (l *loop) dueAt(s *set, at time.Time) {
	l.due[s] = at
	l.nextDue = earlier(l.nextDue, at)
}

// dueAtLeast is how often sets are looked through for one that is due, at least.
const dueAtLeast = time.Minute

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// consider does what is to be done with a set now, and notes when to look at it again without a word
// from the watcher or the packer.
func (l *loop) consider(s *set) {
	l.changed = true
	delete(l.due, s)
	defer l.count(s)
	switch {
	case s.State.settled || s.State.busy || l.table.Current(s) != s:
	case s.State.pending().misfit != nil:
		l.misfits[s] = true
	case l.now().Before(s.State.pending().retry):
		l.dueAt(s, s.State.pending().retry)
	default:
		l.act(s)
	}
}

func (l *loop) act(s *set) {
	switch v, _ := l.judge(s); v {
	case waits:
		l.wait(s)
	case published:
		path := l.publishedAs(s)
		l.came(s)
		l.done(s)
		l.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: path})
	case regroups:
		l.regroup(s)
	case ready:
		s.State.pend().regroupAt = time.Time{}
		l.enqueue(s)
	}
}

// count notes whether a set is still to be bundled.
func (l *loop) count(s *set) {
	if s.State.settled || l.table.Current(s) != s {
		delete(l.open, s)
	} else {
		l.open[s] = true
	}
}

func (l *loop) enqueue(s *set) {
	s.State.busy = true
	if s.State.pending().complete.IsZero() {
		s.State.pend().complete = l.now()
		l.came(s)
		l.emit(Event{Kind: Complete, Key: s.Key})
	}
	l.queue = append(l.queue, s)
	if len(l.drains) > 0 {
		l.newestFirst()
	}
}

// regroup holds an update of a published set back until the other members were written anew, too: a
// pair of a new and an old file is no pair that the trainer made.
func (l *loop) regroup(s *set) {
	if s.State.pending().regroupAt.IsZero() {
		s.State.pend().regroupAt = l.now().Add(l.watch.Regroup)
		l.tell(s, Event{Kind: Waiting, Key: s.Key,
			Waits: []string{"the members of a published set are written anew one by one; waits up to " + l.watch.Regroup.String() + " for the others"}})
	}
	if !l.waitedForOthers(s) {
		l.dueAt(s, s.State.pending().regroupAt)
		return
	}
	l.enqueue(s)
}

// waitedForOthers tells whether the time is over in which the other members of a published set could be
// written anew, too.
func (l *loop) waitedForOthers(s *set) bool {
	return !s.State.pending().regroupAt.IsZero() && !l.now().Before(s.State.pending().regroupAt)
}

// wait tells faulty members at once, and a set that has waited too long once.
func (l *loop) wait(s *set) {
	l.reprove(s)
	if v, _ := l.judge(s); v != waits {
		l.act(s)
		return
	}
	faulty := l.tellFaults(s)
	expiry := s.Since.Add(l.watch.Expire)
	switch {
	case s.State.expired:
	case l.now().Before(expiry):
		l.dueAt(s, expiry)
	case faulty:
		l.release(s)
	default:
		s.State.expired = true
		l.emit(Event{Kind: Expired, Key: s.Key, Waits: l.waitTexts(s), run: runOf(s)})
		l.release(s)
	}
	switch {
	case l.now().Before(s.State.pending().retry):
		l.dueAt(s, s.State.pending().retry)
	case s.Complete(): // all but the marker, which the watcher does not tell of
		l.dueAt(s, l.now().Add(tick))
	}
}

// reprove tries again to prove members that could not be proven for a passing reason.
func (l *loop) reprove(s *set) {
	for _, r := range l.table.Roles() {
		m := s.Member(r.Name)
		if m == nil || m.Value == nil || m.Wait == nil || m.Refused {
			continue
		}
		l.prove(s, r.Name, m, &watch.Fact{Path: m.Path, Stat: m.Value.stat, Evidence: m.Value.evidence})
		switch {
		case m.Value == nil || m.Wait == nil:
		case errors.Is(m.Wait, errTooYoung):
			s.State.pend().retry = l.now().Add(l.watch.Settle)
		default:
			l.again(s, m.Wait)
		}
	}
}

// release gives up the descriptors of a set. A member whose name is gone is then lost.
func (l *loop) release(s *set) {
	for _, r := range l.table.Roles() {
		for _, m := range s.Candidates(r.Name) {
			if m.Value == nil || m.Value.handle == nil {
				continue
			}
			l.drop(m)
			if l.isGone(m.Path) {
				l.remove(m.Path)
			}
		}
	}
}

// retryMisfits looks again at sets that were refused for a config that is another one now.
func (l *loop) retryMisfits() {
	for s := range l.misfits {
		if s.State.pending().misfit == nil || l.table.Current(s) != s {
			delete(l.misfits, s)
			continue
		}
		frozen, err := l.freeze(s)
		if err != nil || (s.State.pending().misfit.config != nil && !changed(frozen, s.State.pending().misfit.config)) {
			continue
		}
		delete(l.misfits, s)
		s.State.pend().misfit = nil
		l.consider(s)
	}
}
