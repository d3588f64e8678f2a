package daemon

import (
	"fmt"
	"math"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// hungAfter is after how long a call into a file system is taken to hang, and a goroutine that is in none to
// be stuck.
const hungAfter = 30 * time.Second

// vigil sees which goroutines move. One that hangs in a call into a file system is told, and counted out: a
// restart would hang there, too, and the others work. One that stands still for any other reason is a
// fault, which a restart mends.
type vigil struct {
	now    func() time.Time
	emit   func(Event)
	within time.Duration // after which time something hangs or is stuck
	hung   map[string]*hanging
	stuck  map[string]bool
}

// hanging is a call that does not come back.
type hanging struct {
	call  call
	watch string
	path  string // of the root or the artifact directory
}

func newVigil(opts Options, within time.Duration) *vigil {
	return &vigil{now: opts.now, emit: opts.Emit, within: within, hung: make(map[string]*hanging), stuck: make(map[string]bool)}
}

// ward is somebody that the vigil looks after.
type ward struct {
	name, watch, path string
	idle              time.Duration
	in                *call
}

// ward returns how the goroutines of a watch are doing: that of the loop, else that of the watcher, which can
// wait for the loop.
func (l *loop) ward() ward {
	w := ward{name: "watch " + l.watch.Name, watch: l.watch.Name, path: l.watch.Root}
	w.idle, w.in = l.pulse.idle()
	idle, in := l.watcherIdle()
	if in == nil {
		idle = min(idle, l.punctual())
	}
	if w.in == nil && idle > w.idle {
		w.idle, w.in = idle, in
	}
	return w
}

// longTurn is how long a turn of a loop may take before its watcher is not blamed for waiting to be heard.
const longTurn = 5 * time.Second

// turned begins a turn of the loop.
func (l *loop) turned() {
	now := l.now()
	if began := l.turnBegan.Swap(&now); began != nil && now.Sub(*began) > longTurn {
		l.longEnded.Store(&now)
	}
	l.pulse.turned()
}

// punctual is for how long the loop has listened to its watcher without long breaks.
func (l *loop) punctual() time.Duration {
	began, ended := l.turnBegan.Load(), l.longEnded.Load()
	switch {
	case began == nil || l.now().Sub(*began) > longTurn:
		return 0
	case ended == nil:
		return math.MaxInt64
	}
	return l.now().Sub(*ended)
}

// look takes in how somebody is doing, and returns whether the watchdog may be fed for all of that; newly
// tells that nobody knew of it.
func (v *vigil) look(w ward) (alive, newly bool) {
	stands := w.idle > v.within
	h, known := v.hung[w.name]
	hangs := stands && w.in != nil
	switch {
	case hangs && !known:
		h = &hanging{call: *w.in, watch: w.watch, path: w.path}
		v.hung[w.name] = h
		v.emit(Event{Kind: Hung, Watch: w.watch, Path: w.path,
			Reason: fmt.Sprintf("%q of %q has not come back for %s", w.in.op, w.in.path, w.idle.Round(time.Second))})
	case known && !hangs:
		delete(v.hung, w.name)
		v.emit(Event{Kind: Answers, Watch: w.watch, Path: w.path,
			Reason: fmt.Sprintf("%q of %q came back after %s", h.call.op, h.call.path, v.now().Sub(h.call.since).Round(time.Second))})
	}
	stuck := stands && w.in == nil
	newly = (hangs && !known) || (stuck && !v.stuck[w.name])
	v.stuck[w.name] = stuck
	return !stuck, newly
}

// forget ends the care for somebody who is not there any more.
func (v *vigil) forget(name string) {
	delete(v.hung, name)
	delete(v.stuck, name)
}

// callOf shows a call that hangs, nil for none.
func (v *vigil) callOf(name string) *status.Call {
	h := v.hung[name]
	if h == nil {
		return nil
	}
	return shownCall(&h.call, v.now())
}

// shownCall shows a call as of now. Its beginning is reckoned back from now, so that it is right when the
// wall clock was set in between.
func shownCall(c *call, now time.Time) *status.Call {
	if c == nil {
		return nil
	}
	lasts := now.Sub(c.since)
	return &status.Call{Op: c.op, Path: clip(c.path), Since: now.Add(-lasts).Round(0), Seconds: lasts.Seconds()}
}
