package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// draining is a drain as the loop of a watch knows it.
type draining struct {
	*drainOrder
	// Until when files that are not quiet yet, and writers, are waited for; zero before the root was listed.
	patient, writers time.Time
	bundled          []status.Bundle
}

// hurryTick is how often a loop looks whether a drain is over.
const hurryTick = 50 * time.Millisecond

// hurry begins a drain.
func (l *loop) hurry(q *draining) {
	if q.look {
		q.parts <- l.tellDrain(q)
		return
	}
	if len(l.drains) == 0 {
		ticker, rush := time.NewTicker(hurryTick), &l.opts.common.rush
		rush.Add(1)
		l.hurried, l.ease = ticker.C, func() { ticker.Stop(); rush.Add(-1) }
	}
	l.drains = append(l.drains, q)
	l.newestFirst()
	if w := l.watcher.Load(); w != nil {
		w.Hurry(true)
	}
}

// endDrains tells of the drains that are over, and ends the hurry with the last one.
func (l *loop) endDrains() {
	l.drains = slices.DeleteFunc(l.drains, func(q *draining) bool {
		over := l.isOver(q)
		if over {
			l.closed = l.closed || q.last
			q.parts <- l.tellDrain(q)
		}
		return over
	})
	if len(l.drains) > 0 {
		return
	}
	l.ease()
	l.hurried, l.ease = nil, func() {}
	if w := l.watcher.Load(); w != nil {
		w.Hurry(false)
	}
}

// leaveDrains tells of the drains of a loop that ends.
func (l *loop) leaveDrains() {
	for _, q := range l.drains {
		q.parts <- l.tellDrain(q)
	}
	l.drains = nil
}

// isOver tells whether there is nothing left for a drain to do, or no time.
func (l *loop) isOver(q *draining) bool {
	if q.ctx.Err() != nil || l.isGoneRoot() {
		return true
	}
	now := time.Now()
	if !l.isListed(q) && now.Before(q.startBy) {
		return false // later nothing is started, whatever the listing would find
	}
	starts := now.Before(q.startBy) && !l.now().Before(l.resume) && q.stopped() == ""
	for s := range l.open {
		if !l.concerns(q, s) {
			continue
		}
		if s.State.busy && (starts || l.isPacked(s)) || now.Before(q.patient) && l.isUnfinished(s, settlesSoon...) ||
			now.Before(q.writers) && l.isUnfinished(s, watch.ErrWriter) {
			return false
		}
	}
	return true
}

// isPacked tells whether a set is being bundled; one that the pool has and did not begin is not.
func (l *loop) isPacked(s *set) bool {
	for j, packed := range l.packing {
		if packed == s {
			return j != l.offer
		}
	}
	return false
}

func (l *loop) isGoneRoot() bool {
	w := l.watcher.Load()
	return w != nil && w.State().RootGone != ""
}

// writersTime is for how long a drain waits for writers at most: who writes after the job's end is not of the job.
const writersTime = 2 * time.Second

// treeTime is within which time a directory is looked into whose files have settled: see putTree.
const treeTime = 3 * tick

// isListed tells whether the root was listed since a drain was asked for. From then on it is patient for as long as a
// single pass is, two and a half settle times, and at least until directories were looked into.
func (l *loop) isListed(q *draining) bool {
	if !q.patient.IsZero() {
		return true
	}
	w := l.watcher.Load()
	if w == nil {
		return false
	}
	st := w.State()
	if !st.WholeFrom.After(q.asked) {
		return false
	}
	settle := st.Settle
	for _, m := range st.Mounts {
		settle = max(settle, m.Settle)
	}
	now := time.Now()
	q.patient, q.writers = now.Add(max(5*settle/2, treeTime)), now.Add(min(5*settle/2, writersTime))
	return true
}

// settlesSoon is why a member is not finished yet, and will be when it is left alone.
var settlesSoon = []error{watch.ErrChanging, errUnproven, errTooYoung}

func (l *loop) isUnfinished(s *set, causes ...error) bool {
	for _, r := range l.table.Roles() {
		m := s.Member(r.Name)
		if m == nil || m.Wait == nil || m.Refused {
			continue
		}
		if slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(m.Wait, cause) }) {
			return true
		}
	}
	return false
}

// holdsBack tells whether nothing is started: a drain does not know the newest set yet, or its time is over.
func (l *loop) holdsBack() bool {
	if len(l.drains) == 0 {
		return l.closed
	}
	now := time.Now()
	if now.After(l.startBy()) {
		return true
	}
	return slices.ContainsFunc(l.drains, func(q *draining) bool {
		if now.After(q.asked.Add(q.startBy.Sub(q.asked) / 3)) {
			return false // some of the time is for what is known
		}
		if !l.isListed(q) {
			return true
		}
		for s := range l.open {
			if now.Before(q.patient) && l.concerns(q, s) && l.isUnfinished(s, settlesSoon...) {
				return true
			}
		}
		return false
	})
}

// startBy is until when bundles are started: as long as any drain wants it; zero without one.
func (l *loop) startBy() time.Time {
	var by time.Time
	for _, q := range l.drains {
		by = latest(by, q.startBy)
	}
	return by
}

// newestFirst orders the queue by when the trainer saved.
func (l *loop) newestFirst() {
	slices.SortStableFunc(l.queue, func(a, b *set) int { return cmp.Compare(l.saved(b), l.saved(a)) })
}

// saved is when the newest member of a set was written, in nanoseconds since 1970.
func (l *loop) saved(s *set) (newest int64) {
	for _, r := range l.table.Roles() {
		if m := s.Member(r.Name); m != nil {
			newest = max(newest, m.ModTime)
		}
	}
	return newest
}

// concerns tells whether a set has a file that a drain is about.
func (l *loop) concerns(q *draining, s *set) bool {
	if len(q.below) == 0 {
		return true
	}
	for _, r := range l.table.Roles() {
		for _, m := range s.Candidates(r.Name) {
			if q.isAbout(l.absolute(m.Path)) {
				return true
			}
		}
	}
	return false
}

func (o *drainOrder) isAbout(path string) bool {
	return slices.ContainsFunc(o.below, func(dir string) bool { return under(path, dir) })
}

// noteBundle remembers a bundle for the drains during which it was made.
func (l *loop) noteBundle(r reply) {
	if r.outcome.manifest == nil || len(l.drains) == 0 {
		return
	}
	b := status.Bundle{Watch: l.watch.Name, Key: clip(r.job.key), Path: r.outcome.path, Bytes: r.outcome.manifest.Archive.Bytes,
		Seconds: r.outcome.took.Seconds(), At: l.now().Round(0)}
	for _, q := range l.drains {
		if l.isAboutJob(q, r.job) {
			q.bundled = append(q.bundled, b)
		}
	}
}

func (l *loop) isAboutJob(q *draining, j *job) bool {
	if len(q.below) == 0 {
		return true
	}
	for _, f := range j.files {
		if q.isAbout(l.absolute(f.path)) {
			return true
		}
	}
	return false
}

// tellDrain sums a drain up.
func (l *loop) tellDrain(q *draining) drainPart {
	p := drainPart{watch: l.watch.Name, Drained: status.Drained{Bundled: q.bundled, Left: l.leftOfRoot(q)}}
	for _, s := range l.table.Sets() {
		switch {
		case !l.concerns(q, s):
		case l.open[s]:
			p.Left = append(p.Left, l.leftOver(q, s))
		default:
			p.Before++
		}
	}
	p.Before -= len(q.bundled)
	p.Before = max(0, p.Before)
	return p
}

// leftOfRoot are the reasons why there can be more than is known.
func (l *loop) leftOfRoot(q *draining) []status.Left {
	if len(q.below) > 0 && !Overlaps(l.watch.Root, q.below) {
		return nil
	}
	var left []status.Left
	add := func(format string, args ...any) {
		left = append(left, status.Left{Watch: l.watch.Name, Reasons: []string{fmt.Sprintf(format, args...)}})
	}
	w := l.watcher.Load()
	switch {
	case w == nil:
		add("root %q was not listed", l.watch.Root)
	case w.State().RootGone != "":
		add("root %q is not there: %s", l.watch.Root, w.State().RootGone)
	case q.patient.IsZero() && !(q.look && !w.State().WholeFrom.IsZero()):
		add("root %q was not listed in time", l.watch.Root)
	case w.State().UnreadableDirs > 0:
		add("directories that cannot be listed: %d", w.State().UnreadableDirs)
	}
	return left
}

// leftOver tells why a set is not durable.
func (l *loop) leftOver(q *draining, s *set) status.Left {
	state := l.stateOf(s, l.isPacked(s))
	left := status.Left{Watch: l.watch.Name, Key: clip(s.Key), State: state}
	for _, reason := range l.reasons(s, state) {
		left.Reasons = append(left.Reasons, clip(reason))
	}
	switch state {
	case status.Packing:
		left.Reasons = append(left.Reasons, "it is being bundled, and no time was left")
	case status.Queued:
		left.Reasons = append(left.Reasons, "it is complete, and "+cmp.Or(q.stopped(), "no time was left to begin"))
	}
	return left
}
