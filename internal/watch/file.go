package watch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// file is what the owner knows of one wanted path.
type file struct {
	path string
	dir  *dir
	stat Stat
	// listed is the number of the last listing that met the file.
	listed uint32
	// pursuit is nil when the file has settled and that was told: there may be millions of those.
	*pursuit
}

// pursuit is what is known of a file that is not known to have settled.
type pursuit struct {
	// since is when stat became what it is; zero before the first look.
	since time.Time
	// unreadable is since when the file cannot be opened; zero when it can or was not tried.
	unreadable time.Time
	// held is open while a writer has the file open.
	held *os.File
	// told and reason are the last fact that was sent; told is zero before the first.
	told   Kind
	reason string
	// due and queued belong to dueQueue; queued is the position counted from one.
	due    time.Time
	queued int
}

func (f *file) base() string { return f.path[strings.LastIndexByte(f.path, '/')+1:] }

// look decides what st, which was just read, means for f.
func (o *owner) look(f *file, st Stat) {
	f.listed = o.listing
	if f.pursuit == nil && st.Same(f.stat) {
		return
	}
	now := time.Now()
	f.pursue(now)
	changed := o.observe(f, st, now)
	if reason := o.unusable(f); reason != nil {
		o.refuse(f, reason)
		return
	}
	if f.told == Settled && !changed {
		f.rest()
		return
	}
	if settle := o.settleOf(f); now.Sub(f.since) < settle {
		o.wait(f, ErrChanging, f.since.Add(settle))
		return
	}
	o.judge(f, now)
}

// pursue begins with a file that had settled.
func (f *file) pursue(now time.Time) {
	if f.pursuit == nil {
		f.pursuit = &pursuit{since: now, told: Settled}
	}
}

// rest ends the pursuit of a file that has settled.
func (f *file) rest() {
	if f.queued == 0 {
		f.pursuit = nil
	}
}

// settleOf is how long f must be quiet before it is judged.
func (o *owner) settleOf(f *file) time.Duration {
	settle := f.dir.mount.settle
	if o.hurried.Load() && !f.dir.mount.network {
		return min(settle, HurriedSettle)
	}
	return settle
}

// observe restarts the clock of f when st differs from what was known.
func (o *owner) observe(f *file, st Stat, now time.Time) (changed bool) {
	first := f.since.IsZero()
	if !first && st.Same(f.stat) {
		return false
	}
	if st.id() != f.stat.id() {
		f.release()
	}
	f.stat = st
	f.since = now
	f.unreadable = time.Time{}
	if first {
		f.since = now.Add(-provenQuiet(st, f.dir.mount.filesystem, now))
	}
	return true
}

// provenQuiet returns for how long a file seen for the first time has been unchanged for certain. The
// change time of a local file is set by this host's clock at every change and by nothing else.
func provenQuiet(st Stat, on filesystem, now time.Time) time.Duration {
	if on.network {
		return 0
	}
	return max(0, now.Sub(time.Unix(0, st.ChangeTime)))
}

// judge looks at a file that has been quiet for long enough.
func (o *owner) judge(f *file, now time.Time) {
	if f.held == nil && !o.open(f, now) {
		return
	}
	o.chain.ops += 2
	closed, why, err := probeWriters(f.held, f.dir.mount.filesystem)
	if err != nil {
		o.wait(f, err, now.Add(o.settleOf(f)/2))
		return
	}
	if settle := f.dir.mount.settle; closed != ClosedYes && now.Sub(f.since) < settle { // judged in a hurry, and in vain
		f.release()
		o.wait(f, ErrChanging, f.since.Add(settle))
		return
	}
	st, _, err := o.chain.stat(f.dir, f.base())
	if err != nil {
		f.release()
		o.missed(f, err, now)
		return
	}
	if !st.Same(f.stat) {
		f.release()
		o.look(f, st)
		return
	}
	o.settled(f, Evidence{Quiet: now.Sub(f.since), Closed: closed, ClosedWhy: why})
}

// open opens f as f.held. When it returns false, f's next step is arranged.
func (o *owner) open(f *file, now time.Time) bool {
	opened, st, err := o.chain.file(f.dir, f.base())
	if errors.Is(err, fs.ErrPermission) {
		// A change of mode would have shown: it was unreadable for as long as it was quiet.
		f.unreadable = f.since
	}
	if err != nil {
		o.missed(f, err, now)
		return false
	}
	if !st.Same(f.stat) {
		opened.Close()
		o.look(f, st)
		return false
	}
	f.held = opened
	f.unreadable = time.Time{}
	return true
}

// missed handles a file that could not be opened or looked at.
func (o *owner) missed(f *file, err error, now time.Time) {
	f.pursue(now)
	settle := f.dir.mount.settle
	switch {
	case vanished(err), errors.Is(err, ErrNotRegular):
		o.due.schedule(f, now.Add(settle/2))
	case errors.Is(err, unix.EAGAIN):
		o.wait(f, fmt.Errorf("%w: another process holds a lease", ErrWriter), now.Add(settle/2))
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOMEM):
		o.wait(f, fmt.Errorf("%w for want of resources: %w", ErrUnreadable, err), now.Add(settle))
	default:
		o.unreadable(f, err, now)
	}
}

// unreadable waits with f for the settle time, then refuses it.
func (o *owner) unreadable(f *file, err error, now time.Time) {
	if f.unreadable.IsZero() {
		f.unreadable = now
	}
	reason := fmt.Errorf("%w: %w (owner uid %d, mode %v): run as the owner, or with CAP_DAC_READ_SEARCH", ErrUnreadable, err, f.stat.UID, f.stat.Mode)
	end := f.unreadable.Add(f.dir.mount.settle)
	if now.Before(end) {
		o.wait(f, reason, end)
		return
	}
	o.refuse(f, reason)
}

// wait tells that f is not settled and looks again at the given time.
func (o *owner) wait(f *file, cause error, until time.Time) {
	o.due.schedule(f, until)
	if errors.Is(cause, ErrChanging) && f.told == Waiting && f.held != nil {
		return // The writer that was told is at work; "still changing" would say less.
	}
	o.tell(f, cause.Error(), Fact{Kind: Waiting, Reason: &WaitError{Cause: cause, Since: time.Now()}})
}

// refuse tells that f is unusable and leaves it until it changes or is listed again.
func (o *owner) refuse(f *file, reason error) {
	o.due.cancel(f)
	f.release()
	o.tell(f, reason.Error(), Fact{Kind: Unusable, Reason: reason})
}

func (o *owner) settled(f *file, evidence Evidence) {
	o.due.cancel(f)
	opened := f.held
	f.held = nil
	if o.opts.NoFiles {
		opened.Close()
		opened = nil
	}
	// Every change of a settled file was told as Waiting or is told here.
	f.told = 0
	o.tell(f, "", Fact{Kind: Settled, File: opened, Evidence: evidence})
	f.rest()
}

// tell sends a fact about f unless it was the last one sent.
func (o *owner) tell(f *file, reason string, fact Fact) {
	if f.told == fact.Kind && f.reason == reason {
		return
	}
	f.told, f.reason = fact.Kind, reason
	fact.Path, fact.Stat = f.path, f.stat
	o.emit(fact)
}

// gone forgets f.
func (o *owner) gone(f *file) {
	f.pursue(time.Now())
	o.due.cancel(f)
	f.release()
	f.dir.files = f.dir.files.without(f)
	o.files--
	if f.told != 0 {
		o.tell(f, "", Fact{Kind: Gone})
	}
}

func (f *file) release() {
	if f.held != nil {
		f.held.Close()
		f.held = nil
	}
}

// unusable returns why f can never be opened, nil for a regular file.
func (o *owner) unusable(f *file) error {
	if f.stat.Mode&fs.ModeSymlink == 0 {
		return typeError(f.stat.Mode)
	}
	target, err := o.chain.readlink(f.dir, f.base())
	if err != nil {
		return fmt.Errorf("%w: a symbolic link: %w", ErrNotRegular, err)
	}
	link := &LinkError{Target: target}
	rel := path.Join(path.Dir(f.path), target)
	if path.IsAbs(target) || rel == ".." || strings.HasPrefix(rel, "../") {
		link.Outside = true
		return link
	}
	_, err = o.tree.lstat(rel)
	link.Dangling = err != nil
	return link
}
