package daemon

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"
)

// maxPacks is how many packs of one watch can be under way: as many as there can be workers.
const maxPacks = 64

// stallAfter is after how long without a byte a pack is taken for stalled: its file system hangs. Its place
// is then given to others, and its watch begins no further pack.
const stallAfter = time.Minute

// order is a job on its way to the pool and back.
type order struct {
	ctx     context.Context
	job     *job
	replies chan<- reply // has room for two replies for each pack of a watch
	startBy time.Time    // it is not begun later; zero for any time
}

// late tells why an order is not begun any more: nobody waits for it, or its time is over.
func (o order) late(now time.Time) error {
	if err := o.ctx.Err(); err != nil {
		return err
	}
	if !o.startBy.IsZero() && now.After(o.startBy) {
		return fmt.Errorf("%w: no time was left to begin", context.Canceled)
	}
	return nil
}

// reply tells that a job has begun, or what became of it.
type reply struct {
	job     *job
	began   bool
	outcome outcome
}

// pool packs the orders of all watches, so many at a time. A watch has no more than one order that waits, and
// the oldest is served first: so watches take turns.
type pool struct {
	packer  *packer
	opts    Options
	orders  chan order
	workers atomic.Int32
	closed  atomic.Bool   // nothing is started
	changed chan struct{} // one of the two above changed
	ended   chan *work
	done    chan struct{}
	waiting []order // oldest first
	running map[*work]bool
	shown   atomic.Pointer[[]*work]
	pulse   *pulse
}

func newPool(p *packer, opts Options, workers int) *pool {
	l := &pool{packer: p, opts: opts, orders: make(chan order), changed: make(chan struct{}, 1), ended: make(chan *work), done: make(chan struct{}),
		running: make(map[*work]bool), pulse: newPulse(opts)}
	l.workers.Store(int32(workers))
	l.show()
	return l
}

// setWorkers changes how many bundles are packed at a time. Packs that are under way go on.
func (l *pool) setWorkers(n int) {
	l.workers.Store(int32(n))
	l.wake()
}

// setClosed makes the pool start nothing, or start again.
func (l *pool) setClosed(closed bool) {
	l.closed.Store(closed)
	l.wake()
}

func (l *pool) wake() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// run serves orders until stop is closed. It does not wait for packs that are under way: whoever ordered
// them does.
func (l *pool) run(stop <-chan struct{}) {
	defer close(l.done)
	turn := newBeat(tick)
	defer turn.stop()
	for {
		l.pulse.turned()
		l.startWaiting()
		select {
		case <-stop:
			return
		case o := <-l.orders:
			l.waiting = append(l.waiting, o)
			context.AfterFunc(o.ctx, l.wake)
		case w := <-l.ended:
			delete(l.running, w)
			l.show()
		case <-l.changed:
		case <-turn.C:
			turn.again()
			l.findStalled()
		}
	}
}

func (l *pool) startWaiting() {
	for i := slices.IndexFunc(l.waiting, l.mayStart); i >= 0; i = slices.IndexFunc(l.waiting, l.mayStart) {
		o := l.waiting[i]
		l.waiting = slices.Delete(l.waiting, i, i+1)
		o.replies <- reply{job: o.job, began: true}
		if err := o.late(l.opts.now()); err != nil {
			o.replies <- reply{job: o.job, outcome: outcome{err: err}}
			continue
		}
		l.start(o)
	}
}

// mayStart tells whether there is a place for an order now, or whether it is too late for it.
func (l *pool) mayStart(o order) bool {
	if o.late(l.opts.now()) != nil {
		return true
	}
	if l.closed.Load() || l.busy() >= int(l.workers.Load()) {
		return false
	}
	for w := range l.running {
		if w.watch == o.job.watch.Name && w.stalled.Load() {
			return false // it would only stand beside it
		}
	}
	return true
}

// busy counts the packs that take a place.
func (l *pool) busy() int {
	n := 0
	for w := range l.running {
		if !w.stalled.Load() {
			n++
		}
	}
	return n
}

func (l *pool) start(o order) {
	w := o.job.work
	w.pulse.turned()
	l.running[w] = true
	l.show()
	go func() {
		out := l.packer.pack(o.ctx, o.job)
		o.replies <- reply{job: o.job, outcome: out}
		select {
		case l.ended <- w:
		case <-l.done:
		}
	}()
}

// show publishes which packs are under way.
func (l *pool) show() {
	all := make([]*work, 0, len(l.running))
	for w := range l.running {
		all = append(all, w)
	}
	l.shown.Store(&all)
}

// findStalled tells which packs stand still, and which go on.
func (l *pool) findStalled() {
	for w := range l.running {
		idle, in := w.pulse.idle()
		stalled := idle > stallAfter
		if w.stalled.Swap(stalled) == stalled {
			continue
		}
		e := Event{Kind: PackMoves, Watch: w.watch, Key: w.key}
		if stalled {
			e.Kind, e.Reason = PackStalled, fmt.Sprintf("nothing has moved for %s", idle.Round(time.Second))
			if in != nil {
				e.Reason += fmt.Sprintf("; it is in %q of %q", in.op, in.path)
			}
		}
		l.opts.Emit(e)
	}
}
