package tidy

import (
	"context"
	"time"

	"github.com/fsnotify/fsnotify"
)

// minPause is the shortest time between two passes of a runner.
const minPause = time.Second

// Run makes passes until ctx is done: one at once, then after events of the root's top level, when a stray becomes
// old enough, and every Rescan besides. The same refusal or failure is told once.
func (t *Tidier) Run(ctx context.Context) {
	t.opts.Emit = once(t.opts.Emit)
	t.unattended = true
	events := newTopEvents(t.block.Root)
	defer events.close()
	for {
		events.renew()
		due, err := t.Pass(ctx)
		if err != nil || !t.pause(ctx, minPause, nil) {
			return
		}
		wait := t.block.Rescan
		if !due.IsZero() {
			wait = min(wait, max(due.Sub(t.opts.now()), 0))
		}
		if !t.pause(ctx, wait, events.changed()) {
			return
		}
	}
}

// pause waits for so long, or for an event; it is false when ctx is done.
func (t *Tidier) pause(ctx context.Context, wait time.Duration, event <-chan struct{}) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-event:
	}
	return ctx.Err() == nil
}

// once drops what is nobody's concern in a daemon, and what was said before of the same file.
func once(emit func(Event)) func(Event) {
	said := make(map[string]string)
	return func(e Event) {
		switch e.Kind {
		case Left:
			return
		case Moved: // the block works
			delete(said, string(Failed))
			delete(said, string(Stopped))
		case RootBack:
			delete(said, string(RootGone))
		case Refused, Failed, Stopped, RootGone:
			about := string(e.Kind) + e.From
			if said[about] == e.Reason {
				return
			}
			said[about] = e.Reason
		}
		emit(e)
	}
}

// topEvents tells that something happened at the top level of a directory. Without notifications, as on network
// file systems, it tells nothing.
type topEvents struct {
	root    string
	watcher *fsnotify.Watcher
	nudge   chan struct{} // has room for one
	done    chan struct{}
}

func newTopEvents(root string) *topEvents {
	e := &topEvents{root: root, nudge: make(chan struct{}, 1), done: make(chan struct{})}
	w, err := fsnotify.NewWatcher()
	if err != nil {
		close(e.done)
		return e
	}
	e.watcher = w
	go e.follow()
	return e
}

func (e *topEvents) follow() {
	defer close(e.done)
	for {
		select {
		case event, ok := <-e.watcher.Events:
			if !ok {
				return
			}
			if event.Has(fsnotify.Write) {
				continue // it will be old enough when it is written no more
			}
		case _, ok := <-e.watcher.Errors:
			if !ok {
				return
			}
		}
		select {
		case e.nudge <- struct{}{}:
		default:
		}
	}
}

// renew watches the root again in case it is another directory than before.
func (e *topEvents) renew() {
	if e.watcher == nil {
		return
	}
	_ = e.watcher.Remove(e.root)
	_ = e.watcher.Add(e.root) // if it is not there, rescans find it
}

func (e *topEvents) changed() <-chan struct{} { return e.nudge }

func (e *topEvents) close() {
	if e.watcher != nil {
		e.watcher.Close()
	}
	<-e.done
}
