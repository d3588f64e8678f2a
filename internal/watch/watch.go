package watch

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Watcher watches one root.
type Watcher struct {
	opts        Options
	newNotifier func() (*notifier, error)
	started     atomic.Bool
	state       atomic.Pointer[State]
	nudge       chan struct{}
	hurried     atomic.Bool
	pulse       pulse
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
	// Source is Inotify or Poll, for the root's file system.
	Source Source
	// Degraded is why directories that should have a watch are polled for now, else empty.
	Degraded string
	// Settle is the effective settle time of the root's file system.
	Settle time.Duration
	// Mounts are the file systems in the tree, by path; the root's is among them.
	Mounts []MountState
	// Directories and Files count what is known: all directories, wanted files.
	Directories, Files int
	// Watches is how many watches of inotify are held.
	Watches int
	// Waiting counts the files that will be looked at again without being asked to.
	Waiting int
	// UnreadableDirs counts directories that cannot be listed.
	UnreadableDirs int
	// Overflows counts how often events were lost since the start.
	Overflows int
	// Scans counts complete passes over the root, or over what is polled in it, since the start.
	// ScanStarted is when the last one began that is complete or under way; zero before the first.
	Scans       int
	ScanStarted time.Time
	// ScanTook and ScanOps are how long the last complete pass took and how many calls into the file
	// system were made meanwhile; Ops counts those since the start. Closing is not counted.
	ScanTook     time.Duration
	ScanOps, Ops int64
	// Listed is when the last pass ended; zero before the first.
	Listed time.Time
	// WholeFrom is when the last complete listing of the whole root began that was the first one, or was
	// asked for; zero before the first. All that was there by then has been told.
	WholeFrom time.Time
}

// New returns a watcher for the root, which need not exist. The error names the option that is wrong.
func New(opts Options) (*Watcher, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	w := &Watcher{opts: opts, newNotifier: newNotifier, nudge: make(chan struct{}, 1)}
	w.state.Store(&State{Root: opts.Root})
	return w, nil
}

// State returns how the watcher is doing. It may be called at any time from any goroutine.
func (w *Watcher) State() State { return *w.state.Load() }

// Progress returns what the watcher is at. It may be called at any time from any goroutine, and costs
// nothing to speak of.
func (w *Watcher) Progress() Progress { return w.pulse.progress() }

// Rescan lets the whole root be listed as soon as possible, and lets what is degraded be tried again. It
// may be called at any time from any goroutine; requests that come before the listing begins are one.
func (w *Watcher) Rescan() {
	select {
	case w.nudge <- struct{}{}:
	default:
	}
}

// Hurry begins or ends a time in which a file need not be quiet for the settle time when the kernel tells that
// nobody has it open for writing; [HurriedSettle] is enough. Where the kernel cannot tell, nothing changes. Its
// beginning lets the whole root be listed, as Rescan does. It may be called at any time from any goroutine.
func (w *Watcher) Hurry(on bool) {
	w.hurried.Store(on)
	if on {
		w.Rescan()
	}
}

// hung is how long a call into a file system lasts before Run gives up waiting for it.
const hung = time.Second

// Run sends facts until ctx is done, then closes what it opened and returns nil. The first listing ends
// with Listed; where the root is missing, RootGone is sent instead. A watcher runs once.
//
// When ctx is done while a call into a file system hangs, because a server does not answer, Run leaves its
// goroutines behind. They end, and close what they opened, when the call returns; they send nothing more.
//
// Facts that were put into a buffered channel and not received stay there with their open files.
// Run does not close the channel, so that several watchers can share one.
func (w *Watcher) Run(ctx context.Context, facts chan<- Fact) error {
	if w.started.Swap(true) {
		return fmt.Errorf("watch root %q: the watcher has been run before", w.opts.Root)
	}
	out := &outlet{ctx: ctx, facts: facts}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		o := newOwner(w, out.send)
		defer o.closeRoot()
		o.checkRootSoon()
		o.loop(ctx)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		if !w.endsUnlessHung(ended) {
			out.shut()
		}
	}
	return nil
}

// endsUnlessHung waits until ended is closed. It returns false when a call into a file system hangs.
func (w *Watcher) endsUnlessHung(ended <-chan struct{}) bool {
	tick := time.NewTicker(hung / 10)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return true
		case now := <-tick.C:
			blocked := w.Progress().Blocked
			if !blocked.Since.IsZero() && now.Sub(blocked.Since) >= hung {
				w.opts.Logger.Warn().Str("root", w.opts.Root).Str("path", blocked.Path).Str("operation", blocked.Op).Time("since", blocked.Since).
					Msg("the file system does not answer; not waiting for it")
				return false
			}
		}
	}
}

// outlet is where facts go.
type outlet struct {
	ctx   context.Context
	facts chan<- Fact
	mu    sync.Mutex
}

// send sends fact, or closes its file when the context is done. The channel is then not touched any
// more: its owner may have closed it.
func (o *outlet) send(fact Fact) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ctx.Err() == nil {
		select {
		case o.facts <- fact:
			return
		case <-o.ctx.Done():
		}
	}
	if fact.File != nil {
		fact.File.Close()
	}
}

// shut returns when no send is under way and, the context being done, none will be.
func (o *outlet) shut() {
	o.mu.Lock()
	defer o.mu.Unlock()
}

func (o *owner) state() State {
	s := State{
		Root:           o.opts.Root,
		RootGone:       o.lost,
		Directories:    o.dirs,
		Files:          o.files,
		Watches:        o.watches,
		Waiting:        len(o.due),
		UnreadableDirs: len(o.failed),
		Overflows:      o.overflows,
		Scans:          o.scans,
		ScanStarted:    o.scanStarted,
		ScanTook:       o.scanTook,
		ScanOps:        o.scanOps,
		Ops:            o.chain.ops,
		Listed:         o.listedAt,
		WholeFrom:      o.wholeFrom,
	}
	if o.tree != nil {
		m := o.top.mount
		s.Path, s.FileSystem, s.Settle, s.Source = o.tree.path, m.kind, m.settle, Inotify
		if m.polled {
			s.Source = Poll
		}
		s.Mounts = o.mountStates()
	}
	if o.degraded != nil {
		s.Degraded = o.degraded.Error()
	}
	return s
}
