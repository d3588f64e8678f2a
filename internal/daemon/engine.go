package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pair"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

// maxKept is how many descriptors of finished members are kept open over all watches of an engine.
// Beyond it members are opened and proven again when their set is complete.
const maxKept = 256

type (
	table = pair.Table[*file, setState]
	set   = pair.Set[*file, setState]
	// candidate is a file that could take a role.
	candidate = pair.Member[*file]
)

// setState is what the owner of the sets keeps with each.
type setState struct {
	loaded    bool
	versions  []version // what was published under the key
	busy      bool      // a job is queued or running
	settled   bool      // the set as it is was published, or refused as a whole
	misfit    bool      // it was refused for its config, which may be mended without a word from the watcher
	retry     time.Time // not before then, after a failure
	told      string    // the last event that was told, to tell changes only
	expired   bool
	first     []snapshot.File // the config when the first member appeared
	regroupAt time.Time       // when an update of a published set is no longer waited for
}

// engine owns the sets of one watch. It is used from one goroutine.
type engine struct {
	watch config.Watch
	store *store.Local
	opts  Options
	table *table
	kept  int
	// failure is the cause of the last failure, told once for all sets that it concerns.
	failure string
	// patient makes the engine keep descriptors of members, remember the config at a set's first member,
	// and wait for the other members of a published set when one of them was written anew.
	patient bool
}

func newEngine(w config.Watch, s *store.Local, opts Options) *engine {
	return &engine{watch: w, store: s, opts: opts, table: pair.NewTable[*file, setState](w.Members, filepath.Base(w.Root))}
}

func (e *engine) now() time.Time {
	if e.opts.Now != nil {
		return e.opts.Now()
	}
	return time.Now()
}

func (e *engine) emit(ev Event) {
	ev.Watch = e.watch.Name
	e.opts.Emit(ev)
}

func (e *engine) absolute(path string) string {
	if path == "" {
		return ""
	}
	return filepath.Join(e.watch.Root, path)
}

// take learns a fact about a file, and returns the sets that it concerns.
func (e *engine) take(f watch.Fact) []*set {
	switch f.Kind {
	case watch.Gone:
		return e.gone(f.Path)
	case watch.Settled, watch.Waiting, watch.Unusable:
		return e.place(f)
	}
	return nil
}

// place makes a file a candidate in the sets that it belongs to.
func (e *engine) place(f watch.Fact) []*set {
	defer func() {
		if f.File != nil {
			f.File.Close()
		}
	}()
	if link := (*watch.LinkError)(nil); errors.As(f.Reason, &link) && !link.Dangling && !link.Outside {
		e.remove(f.Path)
		e.emit(Event{Kind: Skipped, Path: e.absolute(f.Path), Reason: link.Error()})
		return nil
	}
	var sets []*set
	for _, h := range e.table.Hits(f.Path) {
		e.drop(e.find(h, f.Path))
		m := &candidate{Path: f.Path, ModTime: f.Stat.ModTime, Wait: f.Reason, Refused: f.Kind == watch.Unusable}
		s := e.table.Put(h, m, e.now())
		if f.Kind == watch.Settled {
			e.prove(s, h.Role, m, &f)
		}
		e.reopen(s)
		sets = append(sets, s)
	}
	return sets
}

// reopen makes a set be judged anew. A set that was done starts to wait now.
func (e *engine) reopen(s *set) {
	if s.State.settled {
		s.Since, s.State.expired = e.now(), false
	}
	s.State.settled, s.State.misfit, s.State.retry, s.State.told = false, false, time.Time{}, ""
}

// find returns the candidate that a path already is.
func (e *engine) find(h pair.Hit, path string) *candidate {
	for _, s := range e.table.Find(path) {
		if s.Captures.Equal(h.Captures) {
			return s.Candidate(h.Role, path)
		}
	}
	return nil
}

// drop gives up what is kept of a candidate.
func (e *engine) drop(m *candidate) {
	if m != nil && m.Value != nil && m.Value.handle != nil {
		m.Value.close()
		e.kept--
	}
}

// prove finds out whether a settled file is whole, unless it is known from a published bundle.
func (e *engine) prove(s *set, role string, m *candidate, f *watch.Fact) {
	if err := pair.CheckKey(s.Key); err != nil {
		m.Wait, m.Refused = err, true
		return
	}
	if err := e.load(s); err != nil {
		m.Wait = err
		return
	}
	m.Value = &file{path: f.Path, stat: f.Stat, evidence: f.Evidence}
	for _, v := range s.State.versions {
		if fingerprint, ok := v.holds(role, f.Stat); ok {
			m.Value.fingerprint = fingerprint
			return
		}
	}
	m.Wait, m.Refused = e.examine(m.Value, f)
	if m.Wait == nil && e.patient {
		e.keep(m.Value, f)
		e.rememberConfig(s)
	}
}

// examine opens the checkpoint. The error is why it cannot be used; refused tells a verdict on the
// file from a passing fault.
func (e *engine) examine(v *file, f *watch.Fact) (err error, refused bool) {
	h := f.File
	if h == nil {
		if h, err = v.open(e.watch.Root); err != nil {
			return err, false
		}
		defer h.Close()
	}
	c, err := read(h, f.Stat.Size, e.watch.Payload)
	if err != nil {
		return err, isVerdict(err)
	}
	v.fingerprint = c.payload.Fingerprint()
	return nil, false
}

func isVerdict(err error) bool {
	var b *checkpoint.Broken
	return errors.As(err, &b)
}

// keep takes over the open descriptor of a member, so that the trainer's rotation cannot take the
// content away.
func (e *engine) keep(v *file, f *watch.Fact) {
	if e.kept < maxKept && f.File != nil {
		v.handle, f.File = f.File, nil
		e.kept++
	}
}

// rememberConfig freezes the config when the first member of a set appears, to tell at completion
// whether it changed.
func (e *engine) rememberConfig(s *set) {
	if s.State.first == nil {
		if frozen, err := freeze(e.watch, s.Captures); err == nil {
			s.State.first = frozen
		}
	}
}

// load reads what was published under the key of a set, once.
func (e *engine) load(s *set) error {
	if s.State.loaded {
		return nil
	}
	known, err := versions(e.store, e.watch.Name, s.Key)
	if err != nil {
		return err
	}
	s.State.versions, s.State.loaded = known, true
	return nil
}

// gone forgets a file that is not there any more, unless its content is kept for a set that waits.
func (e *engine) gone(path string) []*set {
	keep := false
	for _, s := range e.table.Find(path) {
		for _, r := range e.table.Roles() {
			if m := s.Candidate(r.Name, path); m != nil && m.Value != nil && m.Value.handle != nil && !s.State.settled {
				keep = true
			}
		}
	}
	if keep {
		return nil
	}
	sets := e.table.Find(path)
	e.remove(path)
	return sets
}

func (e *engine) remove(path string) {
	for _, s := range e.table.Find(path) {
		for _, r := range e.table.Roles() {
			e.drop(s.Candidate(r.Name, path))
		}
	}
	e.table.Remove(path)
}

// files returns the members of a complete set by role.
func (e *engine) files(s *set) map[string]*file {
	files := make(map[string]*file)
	for _, r := range e.table.Roles() {
		files[r.Name] = s.Member(r.Name).Value
	}
	return files
}

// verdict is what is to be done with a set.
type verdict int

const (
	waits verdict = iota
	published
	regroups // some members of a published set were written anew, the others not yet
	ready
)

// judge decides what is to be done with a set, and for how many roles the newest bundle of the key
// has the same content.
func (e *engine) judge(s *set) (v verdict, same int) {
	if len(s.Missing()) > 0 {
		return waits, 0
	}
	files := e.files(s)
	for i, known := range s.State.versions {
		n := known.same(files)
		if n == len(files) {
			return published, n
		}
		if i == len(s.State.versions)-1 {
			same = n
		}
	}
	if same > 0 {
		return regroups, same
	}
	return ready, 0
}

// job makes the order to bundle a complete set.
func (e *engine) job(s *set, same int) *job {
	j := &job{watch: e.watch, key: s.Key, captures: s.Captures, files: make(map[string]*file), first: s.State.first}
	for role, f := range e.files(s) {
		copied := *f
		j.files[role] = &copied
	}
	if same > 0 {
		last := s.State.versions[len(s.State.versions)-1]
		for _, r := range e.table.Roles() {
			if last.members[r.Name].fingerprint == j.files[r.Name].fingerprint {
				j.notes = append(j.notes, fmt.Sprintf("update: %s has the content that it has in %s; not every member was written anew", r.Name, filepath.Base(last.path)))
			}
		}
	}
	return j
}

// finish learns what became of a job and tells it.
func (e *engine) finish(s *set, j *job, out outcome) {
	s.State.busy = false
	switch {
	case out.manifest != nil:
		s.State.versions = append(s.State.versions, newVersion(out.path, out.manifest))
		e.doneIfPublished(s)
		e.emit(bundledEvent(j, out))
	case out.err == nil:
		s.State.loaded = false
		if err := e.load(s); err != nil {
			e.failed(s, err)
			return
		}
		e.doneIfPublished(s)
		e.emit(Event{Kind: PublishedBefore, Key: s.Key, Path: out.path})
	case errors.Is(out.err, errChanged):
		e.changed(s, j, out.err)
	case errors.Is(out.err, context.Canceled):
	default:
		e.unbundled(s, j, out.err)
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
	s.State.settled, s.State.expired = true, false
	s.State.first, s.State.regroupAt = nil, time.Time{}
	for _, r := range e.table.Roles() {
		m := s.Member(r.Name)
		e.drop(m)
		for _, path := range s.Older(r.Name) {
			e.drop(s.Candidate(r.Name, path))
		}
	}
}

func bundledEvent(j *job, out outcome) Event {
	ev := Event{Kind: Bundled, Key: j.key, Path: out.path, Bytes: out.manifest.Archive.Bytes, Seconds: out.took.Seconds(), Notes: out.manifest.Notes}
	for _, m := range out.manifest.Members {
		ev.Members = append(ev.Members, m.Role)
		ev.Tensors += len(m.Tensors)
	}
	return ev
}

// changed makes the member that changed wait for the watcher's next word on it.
func (e *engine) changed(s *set, j *job, err error) {
	var me *memberError
	if !errors.As(err, &me) {
		return
	}
	if m := current(s, me.role, j.files[me.role]); m != nil {
		e.drop(m)
		m.Wait, m.Value = me.err, nil
	}
}

// current returns the candidate that a job read, nil when the watcher has told of a newer state of the
// file since.
func current(s *set, role string, f *file) *candidate {
	m := s.Candidate(role, f.path)
	if m == nil || m.Value == nil || !m.Value.stat.Same(f.stat) {
		return nil
	}
	return m
}

// unbundled tells a verdict on a set from a fault of the world around it.
func (e *engine) unbundled(s *set, j *job, err error) {
	var me *memberError
	var ce *bundle.MemberError
	var missing *snapshot.MissingError
	var refused *snapshot.RefusedError
	switch {
	case errors.As(err, &me) && isVerdict(err):
		e.refuseMember(s, me.role, j.files[me.role], me.err)
	case errors.As(err, &ce) && isVerdict(err):
		e.refuseMember(s, ce.Role, j.files[ce.Role], ce.Err)
	case errors.As(err, &missing), errors.As(err, &refused):
		s.State.settled, s.State.misfit = true, true
		e.tell(s, Event{Kind: Refused, Key: s.Key, Reason: err.Error()})
	default:
		e.failed(s, err)
	}
}

func (e *engine) refuseMember(s *set, role string, f *file, reason error) {
	if m := current(s, role, f); m != nil {
		e.drop(m)
		m.Wait, m.Refused, m.Value = reason, true, nil
	}
	e.tell(s, Event{Kind: Refused, Key: s.Key, Role: role, Path: e.absolute(f.path), Reason: reason.Error()})
}

// retryAfter is how long the daemon waits after a failure of the world: a full disk, a directory that
// cannot be written.
const retryAfter = 10 * time.Second

func (e *engine) failed(s *set, err error) {
	s.State.retry = e.now().Add(retryAfter)
	if why := cause(err).Error(); why != e.failure || !e.patient {
		e.failure = why
		e.emit(Event{Kind: Failed, Key: s.Key, Reason: err.Error()})
	}
}

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

// tell emits an event about a set unless it says what was said last.
func (e *engine) tell(s *set, ev Event) {
	said := string(ev.Kind) + ev.Role + ev.Path + ev.Reason
	for _, w := range ev.Waits {
		said += w
	}
	if said != s.State.told {
		s.State.told = said
		e.emit(ev)
	}
}

// report tells why a set is not bundled: refused members one by one, else what it waits for.
func (e *engine) report(s *set) {
	missing := s.Missing()
	refused := slices.ContainsFunc(missing, func(m pair.Missing) bool { return m.Refused })
	ev := Event{Kind: Waiting, Key: s.Key}
	for _, m := range missing {
		if m.Refused {
			e.tell(s, Event{Kind: Refused, Key: s.Key, Role: m.Role, Path: e.absolute(m.Path), Reason: m.Reason.Error()})
		}
		ev.Waits = append(ev.Waits, m.String())
	}
	if !refused && len(missing) > 0 {
		e.tell(s, ev)
	}
}

// passedOver tells which files are not used because a newer one takes the same role in the same set.
func (e *engine) passedOver(s *set) {
	for _, r := range e.table.Roles() {
		for _, path := range s.Older(r.Name) {
			e.emit(Event{Kind: Skipped, Key: s.Key, Role: r.Name, Path: e.absolute(path),
				Reason: fmt.Sprintf("passed over: %q is newer and takes the same role", s.Member(r.Name).Path)})
		}
	}
}
