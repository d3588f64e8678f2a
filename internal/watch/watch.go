package watch

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Watcher watches one root.
type Watcher struct {
	opts        Options
	newNotifier func() (*notifier, error)
	started     atomic.Bool
	state       atomic.Pointer[State]
}

// State is how a watcher is doing.
type State struct {
	// Root is the absolute path as configured, Path the directory that it led to when it was opened,
	// empty while the root is gone.
	Root, Path string
	// RootGone is why the root is not there, else empty.
	RootGone string
	// FileSystem is the type of the root's file system, such as "ext4".
	FileSystem string
	// Source is Inotify or Poll.
	Source Source
	// Degraded is why a root with source Inotify is polled for now, else empty.
	Degraded string
	// Settle is the effective settle time of the root's file system.
	Settle time.Duration
	// Directories and Files count what is known: all directories, wanted files.
	Directories, Files int
	// Waiting counts the files that will be looked at again without being asked to.
	Waiting int
	// UnreadableDirs counts directories that cannot be listed.
	UnreadableDirs int
	// Overflows counts how often events were lost since the start.
	Overflows int
	// Listed is when the last listing of the whole root ended; zero before the first.
	Listed time.Time
}

// New returns a watcher for the root, which need not exist. The error names the option that is wrong.
func New(opts Options) (*Watcher, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Watcher{opts: opts, newNotifier: newNotifier}
	w.state.Store(&State{Root: opts.Root})
	return w, nil
}

// State returns how the watcher is doing. It may be called at any time from any goroutine.
func (w *Watcher) State() State { return *w.state.Load() }

// Run sends facts until ctx is done, then closes what it opened and returns nil. The first listing ends
// with Listed; where the root is missing, RootGone is sent instead. A watcher runs once.
//
// Facts that were put into a buffered channel and not received stay there with their open files.
// Run does not close the channel, so that several watchers can share one.
func (w *Watcher) Run(ctx context.Context, facts chan<- Fact) error {
	if w.started.Swap(true) {
		return fmt.Errorf("watch root %q: the watcher has been run before", w.opts.Root)
	}
	o := &owner{
		opts:        w.opts,
		newNotifier: w.newNotifier,
		publish:     func(s State) { w.state.Store(&s) },
		emit:        func(fact Fact) { send(ctx, facts, fact) },
	}
	defer o.closeRoot()
	o.checkRootSoon()
	o.loop(ctx)
	return nil
}

// send sends fact, or closes its file when ctx is done.
func send(ctx context.Context, facts chan<- Fact, fact Fact) {
	select {
	case facts <- fact:
	case <-ctx.Done():
		if fact.File != nil {
			fact.File.Close()
		}
	}
}

func (o *owner) state() State {
	s := State{
		Root:           o.opts.Root,
		RootGone:       o.lost,
		Source:         o.source,
		Directories:    len(o.dirs),
		Files:          o.files,
		Waiting:        len(o.due),
		UnreadableDirs: o.unreadableDirs,
		Overflows:      o.overflows,
		Listed:         o.listedAt,
	}
	if o.tree != nil {
		s.Path = o.tree.path
		s.FileSystem = o.top.on.name
		s.Settle = o.settle(o.top.on)
	}
	if o.degraded != nil {
		s.Degraded = o.degraded.Error()
	}
	return s
}
