package daemon

import (
	"context"
	"errors"
	"io/fs"
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
	source    watch.Source
	log       zerolog.Logger
	orders    chan<- order
	listed    func() // called once, after the first listing or when there is no root to list
	beat      atomic.Int64
	attention map[*set]bool // sets that are not done
	queue     []*set        // complete sets, oldest first
	inflight  *set
	job       *job
	reply     chan outcome
}

func newLoop(e *engine, log zerolog.Logger, orders chan<- order, listed func()) *loop {
	e.patient = true
	l := &loop{engine: e, source: sourceOf(e.watch), log: log, orders: orders, listed: sync.OnceFunc(listed),
		attention: make(map[*set]bool), reply: make(chan outcome, 1)}
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
	w, err := watch.New(watch.Options{Root: l.watch.Root, Want: l.table.Wants, Source: l.source, Settle: l.watch.Settle,
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
		l.release(s)
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
// packer works for this engine.
func (l *loop) next() *set {
	for l.inflight == nil && len(l.queue) > 0 {
		s := l.queue[0]
		if v, same := l.judge(s); !s.State.settled && (v == ready || v == regroups) {
			l.job = l.engine.job(s, same)
			return s
		}
		s.State.busy = false
		l.queue = l.queue[1:]
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
		l.attention[s] = true
		l.consider(s)
	}
}

// received learns what became of the set in flight.
func (l *loop) received(out outcome) {
	s := l.inflight
	l.inflight = nil
	l.finish(s, l.job, out)
	l.attention[s] = true
	l.consider(s)
}

// turn looks at everything that is not done.
func (l *loop) turn() {
	for s := range l.attention {
		l.consider(s)
	}
}

// consider does what is to be done with a set now.
func (l *loop) consider(s *set) {
	if s.State.settled || l.table.Find(l.anyPath(s)) == nil {
		delete(l.attention, s)
		return
	}
	if s.State.busy || l.now().Before(s.State.retry) {
		return
	}
	switch v, _ := l.judge(s); v {
	case waits:
		l.wait(s)
	case published:
		l.done(s)
		l.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: l.publishedAs(s)})
	case regroups:
		l.regroup(s)
	case ready:
		l.enqueue(s)
	}
}

// anyPath returns the path of a member, "" when the set was forgotten.
func (l *loop) anyPath(s *set) string {
	for _, r := range l.table.Roles() {
		if m := s.Member(r.Name); m != nil {
			return m.Path
		}
	}
	return ""
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
	if !l.now().Before(s.State.regroupAt) {
		l.enqueue(s)
	}
}

// wait tells refusals at once, and a set that has waited too long once.
func (l *loop) wait(s *set) {
	l.reprove(s)
	ev := Event{Kind: Expired, Key: s.Key}
	for _, m := range s.Missing() {
		if m.Refused {
			l.tell(s, Event{Kind: Refused, Key: s.Key, Role: m.Role, Path: l.absolute(m.Path), Reason: m.Reason.Error()})
			return
		}
		ev.Waits = append(ev.Waits, m.String())
	}
	if !s.State.expired && len(ev.Waits) > 0 && l.now().Sub(s.Since) >= l.watch.Expire {
		s.State.expired = true
		l.emit(ev)
		l.release(s)
	}
}

// reprove tries again to open members that could not be opened for a passing reason.
func (l *loop) reprove(s *set) {
	for _, r := range l.table.Roles() {
		m := s.Member(r.Name)
		if m == nil || m.Value == nil || m.Wait == nil || m.Refused {
			continue
		}
		s.State.retry = l.now().Add(retryAfter)
		m.Wait, m.Refused = l.examine(m.Value, &watch.Fact{Path: m.Path, Stat: m.Value.stat})
		if errors.Is(m.Wait, errChanged) {
			m.Value = nil
		}
	}
}

// release gives up the descriptors of a set. A member whose name is gone is then lost.
func (l *loop) release(s *set) {
	for _, r := range l.table.Roles() {
		for _, path := range l.pathsOf(s, r.Name) {
			m := s.Candidate(r.Name, path)
			if m == nil || m.Value == nil || m.Value.handle == nil {
				continue
			}
			l.drop(m)
			if _, err := watch.Lstat(l.watch.Root, path); errors.Is(err, fs.ErrNotExist) {
				l.remove(path)
			}
		}
	}
}

func (l *loop) pathsOf(s *set, role string) []string {
	m := s.Member(role)
	if m == nil {
		return nil
	}
	return append([]string{m.Path}, s.Older(role)...)
}

// retryMisfits looks again at sets that were refused for their config.
func (l *loop) retryMisfits() {
	for _, s := range l.table.Sets() {
		if s.State.misfit {
			s.State.settled = false
			l.attention[s] = true
			l.consider(s)
		}
	}
}
