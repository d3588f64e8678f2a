package daemon

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// tick is how often an engine looks for what time alone changes: retries, expiry, regrouping.
const tick = time.Second

// order is a job on its way to the packer and back.
type order struct {
	ctx   context.Context
	job   *job
	reply chan<- outcome // has room for one
}

// serve packs one order after the other until the channel is closed.
func (p *packer) serve(orders <-chan order) {
	for o := range orders {
		o.reply <- p.pack(o.ctx, o.job)
	}
}

// loop runs an engine in the daemon.
type loop struct {
	*engine
	source   watch.Source
	log      zerolog.Logger
	orders   chan<- order
	listed   func() // called once, after the first listing or when there is no root to list
	beat     atomic.Int64
	due      map[*set]time.Time // when time alone can change what is to be done with a set
	misfits  map[*set]bool      // sets that were refused for their config
	queue    []*set             // complete sets, oldest first
	inflight *set
	job      *job
	reply    chan outcome
}

func newLoop(e *engine, log zerolog.Logger, orders chan<- order, listed func()) *loop {
	e.patient = true
	l := &loop{engine: e, source: sourceOf(e.watch), log: log, orders: orders, listed: sync.OnceFunc(listed),
		due: make(map[*set]time.Time), misfits: make(map[*set]bool), reply: make(chan outcome, 1)}
	l.beat.Store(l.now().UnixNano())
	return l
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
		Rescan: l.watch.Rescan, Logger: l.log})
	if err != nil {
		return err
	}
	facts := make(chan watch.Fact)
	ended := make(chan error, 1)
	go func() {
		ended <- w.Run(ctx, facts)
		close(facts)
	}()
	err = l.follow(ctx, facts, ended)
	stop()
	for f := range facts {
		if f.File != nil {
			f.File.Close()
		}
	}
	l.end()
	return err
}

// end waits for a pack that is under way and gives up all descriptors.
func (l *loop) end() {
	if l.inflight != nil {
		l.received(<-l.reply)
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
	timer := time.NewTicker(tick)
	defer timer.Stop()
	for {
		l.beat.Store(l.now().UnixNano())
		var orders chan<- order
		var next order
		if s := l.next(); s != nil {
			orders, next = l.orders, order{ctx: ctx, job: l.job, reply: l.reply}
		}
		select {
		case <-ctx.Done():
			return nil
		case err := <-ended:
			return err
		case f := <-facts:
			l.learn(f)
		case orders <- next:
			l.inflight = l.queue[0]
			l.queue = l.queue[1:]
		case out := <-l.reply:
			l.received(out)
		case <-timer.C:
			l.turn()
		}
	}
}

// next prepares the order for the first set in the queue that is still to be bundled; nil while the
// packer works for this engine, or the disk was full a moment ago.
func (l *loop) next() *set {
	for l.inflight == nil && len(l.queue) > 0 && !l.now().Before(l.resume) {
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

func (l *loop) learn(f watch.Fact) {
	switch f.Kind {
	case watch.Listed:
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

// received learns what became of the set in flight.
func (l *loop) received(out outcome) {
	s := l.inflight
	l.inflight = nil
	l.finish(s, l.job, out)
	if out.manifest != nil {
		l.passedOver(s)
	}
	l.consider(s)
}

// turn looks at the sets for which something has become due.
func (l *loop) turn() {
	now := l.now()
	for s, due := range l.due {
		if !now.Before(due) {
			l.consider(s)
		}
	}
}

// consider does what is to be done with a set now, and notes when to look at it again without a word
// from the watcher or the packer.
func (l *loop) consider(s *set) {
	delete(l.due, s)
	switch {
	case s.State.settled || s.State.busy || l.table.Current(s) != s:
	case s.State.misfit != nil:
		l.misfits[s] = true
	case l.now().Before(s.State.retry):
		l.due[s] = s.State.retry
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
		l.done(s)
		l.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: path})
	case regroups:
		l.regroup(s)
	case ready:
		s.State.regroupAt = time.Time{}
		l.enqueue(s)
	}
}

func (l *loop) enqueue(s *set) {
	s.State.busy = true
	l.queue = append(l.queue, s)
}

// regroup holds an update of a published set back until the other members were written anew, too: a
// pair of a new and an old file is no pair that the trainer made.
func (l *loop) regroup(s *set) {
	if s.State.regroupAt.IsZero() {
		s.State.regroupAt = l.now().Add(l.watch.Regroup)
		l.tell(s, Event{Kind: Waiting, Key: s.Key,
			Waits: []string{"the members of a published set are written anew one by one; waits up to " + l.watch.Regroup.String() + " for the others"}})
	}
	if !l.waitedForOthers(s) {
		l.due[s] = s.State.regroupAt
		return
	}
	l.enqueue(s)
}

// waitedForOthers tells whether the time is over in which the other members of a published set could be
// written anew, too.
func (l *loop) waitedForOthers(s *set) bool {
	return !s.State.regroupAt.IsZero() && !l.now().Before(s.State.regroupAt)
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
		l.due[s] = expiry
	case faulty:
		l.release(s)
	default:
		s.State.expired = true
		l.emit(Event{Kind: Expired, Key: s.Key, Waits: l.waitTexts(s)})
		l.release(s)
	}
	switch {
	case l.now().Before(s.State.retry):
		l.due[s] = s.State.retry
	case s.Complete(): // all but the marker, which the watcher does not tell of
		l.due[s] = l.now().Add(tick)
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
		if m.Value != nil && m.Wait != nil {
			s.State.retry = l.now().Add(retryAfter)
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
		if s.State.misfit == nil || l.table.Current(s) != s {
			delete(l.misfits, s)
			continue
		}
		frozen, err := freeze(l.watch, s.Captures)
		if err != nil || (s.State.misfit.config != nil && !changed(frozen, s.State.misfit.config)) {
			continue
		}
		delete(l.misfits, s)
		s.State.misfit = nil
		l.consider(s)
	}
}
