package daemon

import (
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// This file is all that the daemon asks of a watcher besides its facts.

// rescanner is a watcher that can be asked to list its root.
type rescanner interface{ Rescan() }

// rescan makes the root be listed soon.
func (l *loop) rescan() {
	w := l.watcher.Load()
	if w == nil {
		return
	}
	if r, ok := any(w).(rescanner); ok {
		r.Rescan()
	}
}

// watcherIdle returns for how long the watcher has not moved, and the call that it is in, nil for none.
func (l *loop) watcherIdle() (time.Duration, *call) {
	return 0, nil
}

// scanned counts a listing of the whole root.
func (l *loop) scanned() {
	w := l.watcher.Load()
	if m := l.opts.Metrics; m != nil && w != nil {
		m.Scanned(l.watch.Name, scanTook(w.State()))
	}
}

func scanTook(watch.State) time.Duration { return 0 }

// rootOf shows how the root is doing.
func (l *loop) rootOf() status.Watch {
	out := status.Watch{Name: l.watch.Name, Root: l.watch.Root, Source: l.source.String(), Pending: []status.Set{}}
	w := l.watcher.Load()
	if w == nil {
		return out
	}
	s := w.State()
	out.Path, out.FileSystem, out.Degraded, out.Gone = s.Path, s.FileSystem, s.Degraded, s.RootGone
	if s.Path != "" {
		out.Source = s.Source.String()
	}
	out.Settle = s.Settle.Seconds()
	out.Directories, out.Files, out.FilesWaiting, out.Unreadable, out.Overflows = s.Directories, s.Files, s.Waiting, s.UnreadableDirs, s.Overflows
	if !s.Listed.IsZero() {
		out.Scan.Ended = &s.Listed
	}
	return out
}
