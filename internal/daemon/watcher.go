package daemon

import (
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// This file is all that the daemon asks of a watcher besides its facts.

// rescan makes the root be listed soon.
func (l *loop) rescan() {
	if w := l.watcher.Load(); w != nil {
		w.Rescan()
	}
}

// watcherIdle returns for how long the watcher has not moved, and the call that it is in, nil for none.
func (l *loop) watcherIdle() (time.Duration, *call) {
	w := l.watcher.Load()
	if w == nil {
		return 0, nil
	}
	p := w.Progress()
	if p.Beat.IsZero() { // it has not begun
		return 0, nil
	}
	idle := time.Since(p.Beat)
	if p.Blocked.Since.IsZero() {
		return idle, nil
	}
	return idle, &call{op: p.Blocked.Op, path: p.Blocked.Path, since: p.Blocked.Since}
}

// scanned counts a listing of the whole root.
func (l *loop) scanned() {
	w := l.watcher.Load()
	if m := l.opts.Metrics; m != nil && w != nil {
		m.Scanned(l.watch.Name, w.State().ScanTook)
	}
}

// rootOf shows how the root is doing.
func (l *loop) rootOf(now time.Time) status.Watch {
	out := status.Watch{Name: l.watch.Name, Root: l.watch.Root, Source: l.source.String(), Pending: []status.Set{}}
	w := l.watcher.Load()
	if w == nil {
		return out
	}
	s := w.State()
	out.Path, out.FileSystem, out.Degraded, out.Gone = s.Path, s.FileSystem, clip(s.Degraded), clip(s.RootGone)
	if s.Path != "" {
		out.Source = s.Source.String()
	}
	out.Settle = s.Settle.Seconds()
	out.Directories, out.Files, out.FilesWaiting, out.Unreadable, out.Overflows = s.Directories, s.Files, s.Waiting, s.UnreadableDirs, s.Overflows
	out.Inotify, out.Operations = s.Watches, s.Ops
	out.Scan = status.Scan{Count: s.Scans, Seconds: s.ScanTook.Seconds(), Operations: s.ScanOps}
	if !s.Listed.IsZero() {
		out.Scan.Ended = back(now, s.Listed)
	}
	if s.ScanStarted.After(s.Listed) {
		out.Scan.Running = back(now, s.ScanStarted)
	}
	out.Mounts, out.MountsLeftOut = mounts(s.Mounts)
	return out
}

// shownMounts is how many file systems of a tree are shown one by one.
const shownMounts = 20

func mounts(all []watch.MountState) (shown []status.Mount, leftOut int) {
	for _, m := range all[:min(len(all), shownMounts)] {
		shown = append(shown, status.Mount{Path: clip(m.Path), FileSystem: m.FileSystem, Source: m.Source, Degraded: clip(m.Degraded),
			Settle: m.Settle.Seconds(), Directories: m.Directories})
	}
	return shown, len(all) - len(shown)
}
