package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// finish learns what became of a job and tells it.
func (e *engine) finish(s *set, j *job, out outcome) {
	s.State.busy = false
	switch {
	case out.manifest != nil:
		v := version{out.path, out.manifest.Origin().Members}
		s.State.versions = append(s.State.versions, v)
		e.recount(s, v)
		ev := bundledEvent(j, out)
		ev.run = runOf(s)
		ev.naming, ev.waited = out.named, e.now().Sub(s.State.pending().complete)
		e.emit(ev)
		e.worked(s)
		if out.unsynced != nil {
			e.emit(Event{Kind: Failed, Key: s.Key, Path: out.path, Reason: out.unsynced.Error()})
		}
		e.doneIfPublished(s)
	case out.err == nil:
		e.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: out.path})
		e.worked(s)
		s.State.loaded = false
		if err := e.load(s); err != nil {
			e.failed(s, err)
			return
		}
		e.doneIfPublished(s)
	case errors.Is(out.err, errUnlinked):
		e.retried()
		s.State.pend().retry = e.now().Add(retryAfter)
	case errors.Is(out.err, errChanged):
		e.retried()
		e.changed(s, j, out.err)
	case errors.Is(out.err, context.Canceled):
	default:
		e.unbundled(s, j, out)
	}
}

// doneIfPublished closes a set, unless a member was written anew while it was bundled.
func (e *engine) doneIfPublished(s *set) {
	e.failure = ""
	if v, _ := e.judge(s); v == published {
		e.done(s)
	}
}

// done gives up what was kept for a set that is published.
func (e *engine) done(s *set) {
	s.State = setState{settled: true}
	for _, r := range e.table.Roles() {
		for _, m := range s.Candidates(r.Name) {
			e.drop(m)
			if m.Value != nil {
				m.Value.crcs = nil
			}
		}
	}
}

func bundledEvent(j *job, out outcome) Event {
	ev := Event{Kind: Bundled, Key: j.key, Path: out.path, Bytes: out.manifest.Archive.Bytes, Seconds: out.took.Seconds(), Notes: out.manifest.Notes}
	for _, m := range out.manifest.Members {
		ev.Members = append(ev.Members, m.Role)
		ev.Tensors += m.Tensors.Len()
	}
	return ev
}

// changed makes the member that changed wait for the watcher's next word on it. When its name is gone,
// that word was given before.
func (e *engine) changed(s *set, j *job, err error) {
	var me *memberError
	if !errors.As(err, &me) {
		return
	}
	m := current(s, me.role, j.files[me.role])
	if m == nil {
		return
	}
	e.drop(m)
	m.Wait, m.Value = me.err, nil
	if !e.patient {
		e.report(s)
	} else if e.isGone(m.Path) {
		e.remove(m.Path)
	}
}

func (e *engine) isGone(path string) bool {
	defer e.pulse.call("stat", e.absolute(path))()
	_, err := watch.Lstat(e.watch.Root, path)
	return errors.Is(err, fs.ErrNotExist)
}

// current returns the candidate that a job read, nil when the watcher has told of a newer state of the
// file since.
func current(s *set, role string, f *file) *candidate {
	m := s.Candidate(role, f.path)
	if m == nil || m.Value == nil || !m.Value.sameState(f) {
		return nil
	}
	return m
}

// unbundled tells a verdict on a set from a fault of the world around it.
func (e *engine) unbundled(s *set, j *job, out outcome) {
	var me *memberError
	var ce *bundle.MemberError
	switch {
	case errors.As(out.err, &me) && isVerdict(out.err):
		e.refuseMember(s, me.role, j.files[me.role], me.err)
	case errors.As(out.err, &ce) && isVerdict(out.err):
		e.refuseMember(s, ce.Role, j.files[ce.Role], ce.Err)
	case isMisfit(out.err):
		p := s.State.pend()
		p.misfit, p.failure = &misfit{config: digests(out.config)}, out.err.Error()
		e.tell(s, Event{Kind: Refused, Key: s.Key, Reason: out.err.Error(), err: out.err})
	case errors.As(out.err, &me):
		e.unread(s, j, me)
	default:
		e.failed(s, out.err)
	}
}

// unread tells of a member that could not be read for a passing reason.
func (e *engine) unread(s *set, j *job, err *memberError) {
	if current(s, err.role, j.files[err.role]) == nil {
		return // there is a newer state of it
	}
	e.again(s, err)
	e.tell(s, Event{Kind: Failed, Key: s.Key, Role: err.role, Path: e.absolute(err.path), Reason: err.err.Error(), err: err.err})
}

// isMisfit tells whether a set is refused for its config.
func isMisfit(err error) bool {
	var missing *snapshot.MissingError
	var refused *snapshot.RefusedError
	var unread *configError
	return errors.As(err, &missing) || errors.As(err, &refused) || errors.As(err, &unread)
}

func (e *engine) refuseMember(s *set, role string, f *file, reason error) {
	m := current(s, role, f)
	if m == nil {
		return // there is a newer state of it
	}
	e.drop(m)
	m.Wait, m.Refused, m.Value = reason, true, nil
	e.tell(s, Event{Kind: Refused, Key: s.Key, Role: role, Path: e.absolute(f.path), Reason: reason.Error(), err: reason})
}

// again lets a set be tried again after a time that grows with how long it has failed.
func (e *engine) again(s *set, why error) {
	now := e.now()
	p := s.State.pend()
	if p.failing.IsZero() {
		p.failing = now
	}
	p.retry = now.Add(backoff(now.Sub(p.failing)))
	p.failure = why.Error()
	e.retried()
}

// backoff is when to try again what has failed for so long.
func backoff(failing time.Duration) time.Duration { return min(max(failing, retryAfter), retryMost) }

// retried counts a pack that was discarded.
func (e *engine) retried() {
	if m := e.opts.Metrics; m != nil {
		m.Retried(e.watch.Name)
	}
}

// failed tells of a failure of the world, once for all sets that it concerns.
func (e *engine) failed(s *set, err error) {
	e.again(s, err)
	ev := Event{Kind: Failed, Key: s.Key, Reason: err.Error(), err: err, run: runOf(s)}
	var artifact *artifactError
	switch {
	case !e.patient:
		e.emit(ev)
	case isShort(err):
		if e.forgetShort(); len(e.short) == 0 {
			e.emit(ev)
		}
		e.short[s] = isOverBudget(err)
	case errors.As(err, &artifact):
		isNew, retry := e.opts.common.faults.failed(e.now(), err)
		e.resume, s.State.pend().retry = e.now().Add(retry), time.Time{} // it waits in the queue
		if look := e.opts.common.look; look != nil {
			look()
		}
		if isNew {
			e.emit(ev)
		}
	case cause(err).Error() != e.failure:
		e.failure = cause(err).Error()
		e.emit(ev)
	}
}

// isShort tells of a set that does not fit, which says nothing of smaller ones.
func isShort(err error) bool {
	var short *noRoomError
	return errors.As(err, &short) || isOverBudget(err)
}

func isOverBudget(err error) bool {
	var over *overBudgetError
	return errors.As(err, &over)
}

// forgetShort forgets sets without room that are not there any more.
func (e *engine) forgetShort() {
	for s := range e.short {
		if e.table.Current(s) != s {
			delete(e.short, s)
		}
	}
}

// worked notes that the artifact directory can be written.
func (e *engine) worked(s *set) {
	delete(e.short, s)
	if p := s.State.rest; p != nil {
		p.failing, p.failure = time.Time{}, ""
	}
	if !e.patient {
		return
	}
	e.resume = time.Time{}
	if over, lasted := e.opts.common.faults.worked(e.now()); over != "" {
		e.emit(Event{Kind: Healed, Path: e.store.Dir(), Reason: fmt.Sprintf("%s; it lasted %s", over, lasted.Round(time.Second))})
	}
}

// artifactError is about the artifact directory: what the next set would meet as well.
type artifactError struct{ err error }

func (e *artifactError) Error() string { return e.err.Error() }

func (e *artifactError) Unwrap() error { return e.err }

// cause returns the innermost error: what stays the same when the attempt is repeated.
func cause(err error) error {
	for {
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			if e.Unwrap() == nil {
				return err
			}
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			err = e.Unwrap()[0]
		default:
			return err
		}
	}
}
