package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/checkpoint"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pair"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
	"github.com/bundlewatch/bundlewatch/internal/snapshot"
	"github.com/bundlewatch/bundlewatch/internal/store"
	"github.com/bundlewatch/bundlewatch/internal/watch"
)

type (
	table = pair.Table[*file, setState]
	set   = pair.Set[*file, setState]
	// candidate is a file that could take a role.
	candidate = pair.Member[*file]
)

// setState is what the owner of the sets keeps with each. Most sets have been published, and there may be very many.
type setState struct {
	loaded   bool
	busy     bool // a job is queued or running
	settled  bool // the set as it is was published
	expired  bool
	versions []version // what was published under the key; forgotten when the set is done
	rest     *pending  // nil where all of it is zero
}

// pending is what is kept with a set on its way to a bundle.
type pending struct {
	// misfit is set when the set was refused for its config, which may be mended without a word from
	// the watcher: the config that was refused.
	misfit    *misfit
	retry     time.Time // not before then, after a failure
	failing   time.Time // since when attempts fail; zero when the last did not
	failure   string    // why the last attempt failed
	complete  time.Time // since when it is complete; zero when it is not
	told      map[subject]string
	first     []snapshot.File // the config when the first member appeared
	regroupAt time.Time       // when an update of a published set is no longer waited for
	saves     []save          // of each role that was seen, since the newest bundle of the key
}

// pending returns what is kept, for reading.
func (s *setState) pending() *pending {
	if s.rest == nil {
		return &pending{}
	}
	return s.rest
}

// pend returns what is kept, for changing it.
func (s *setState) pend() *pending {
	if s.rest == nil {
		s.rest = &pending{}
	}
	return s.rest
}

// save is how often a role was seen with new content, and with which content last.
type save struct {
	role        string
	count       int
	fingerprint string
}

// saved counts new content of a role.
func (s *setState) saved(role, fingerprint string) {
	p := s.pend()
	i := slices.IndexFunc(p.saves, func(last save) bool { return last.role == role })
	if i < 0 && fingerprint != "" {
		p.saves = append(p.saves, save{role, 1, fingerprint})
	} else if i >= 0 && p.saves[i].fingerprint != fingerprint {
		p.saves[i] = save{role, p.saves[i].count + 1, fingerprint}
	}
}

// forgetSaves begins to count anew.
func (s *setState) forgetSaves() {
	if s.rest != nil {
		s.rest.saves = nil
	}
}

// savesOf returns how often a role was seen with new content.
func (s *setState) savesOf(role string) int {
	for _, last := range s.pending().saves {
		if last.role == role {
			return last.count
		}
	}
	return 0
}

// misfit is a config that was refused; its files are nil when they could not even be read.
type misfit struct{ config []snapshot.File }

// subject is what an event is about: the set, or one of its members.
type subject struct{ role, path string }

// engine owns the sets of one watch. It is used from one goroutine.
type engine struct {
	watch config.Watch
	store *store.Local
	opts  Options
	table *table
	trees map[string]tree // directories that can take a role, by path
	pulse *pulse
	kept  int
	first configs
	short map[*set]bool // sets for which there is no room; true where that is for the budget
	// failure is the cause of the last failure, told once for all sets that it concerns.
	failure string
	// resume is when the artifact directory is written to again after it failed.
	resume time.Time
	// patient makes the engine keep descriptors of members, remember the config at a set's first member,
	// and wait for the other members of a published set when one of them was written anew.
	patient bool
}

func newEngine(w config.Watch, s *store.Local, opts Options) *engine {
	if opts.common == nil {
		opts.common = newCommon(config.Limits{})
	}
	return &engine{watch: w, store: s, opts: opts, trees: make(map[string]tree), pulse: newPulse(opts), short: make(map[*set]bool),
		table: pair.NewTable[*file, setState](w.Members, filepath.Base(w.Root))}
}

// common is what the engines of a daemon share.
type common struct {
	kept   *budget
	faults *faults
	alerts atomic.Pointer[config.Alerts]
	look   func() // at the artifact directory, because it failed; nil when nobody looks after it

	witness *provenance.Witness // nil for none
	rush    atomic.Int32        // watches that are drained
}

func newCommon(l config.Limits) *common {
	c := &common{kept: newBudget(keptFiles(l)), faults: &faults{}}
	c.alerts.Store(&config.Alerts{})
	return c
}

func (e *engine) now() time.Time { return e.opts.now() }

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
		e.witnessed(f)
		return e.place(f)
	case watch.Unlisted:
		e.emit(Event{Kind: Skipped, Path: e.absolute(f.Path), Reason: f.Reason.Error()})
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
		sets := e.table.Find(f.Path)
		e.remove(f.Path)
		e.emit(Event{Kind: Skipped, Path: e.absolute(f.Path), Reason: link.Error()})
		return sets
	}
	var sets []*set
	for _, h := range e.hits(f.Path) {
		if h.Tree {
			if s := e.placeInTree(h, f); s != nil {
				sets = append(sets, s)
			}
			continue
		}
		e.drop(e.find(h, f.Path))
		m := &candidate{Path: f.Path, ModTime: f.Stat.ModTime, Wait: f.Reason, Refused: f.Kind == watch.Unusable}
		s := e.table.Put(h, m, e.now())
		e.reopen(s)
		delete(s.State.pending().told, subject{h.Role, e.absolute(f.Path)})
		if f.Kind == watch.Settled {
			e.prove(s, h.Role, m, &f)
		}
		sets = append(sets, s)
	}
	return sets
}

// reopen makes a set be judged anew. A set that was done starts to wait now.
func (e *engine) reopen(s *set) {
	if s.State.settled {
		s.Since, s.State.expired = e.now(), false
	}
	s.State.settled = false
	if p := s.State.rest; p != nil {
		p.misfit, p.retry, p.failing, p.failure, p.complete = nil, time.Time{}, time.Time{}, "", time.Time{}
		delete(p.told, subject{})
	}
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
		e.opts.common.kept.give()
	}
}

// prove finds out whether a settled file is whole, unless it is known from a published bundle. A
// member with a value that waits without being refused could not be proven for a passing reason.
func (e *engine) prove(s *set, role string, m *candidate, f *watch.Fact) {
	if m.Value != nil && m.Value.leaves != nil {
		e.proveTree(s, role, m)
		return
	}
	if err := checkKey(s.Key); err != nil {
		m.Wait, m.Refused = err, true
		return
	}
	m.Value = &file{path: f.Path, stat: f.Stat, evidence: f.Evidence}
	if m.Wait = e.load(s); m.Wait != nil {
		return
	}
	for _, v := range s.State.versions {
		if fingerprint, ok := v.holds(role, f.Stat); ok {
			m.Value.fingerprint = fingerprint
			s.State.saved(role, fingerprint)
			return
		}
	}
	m.Value.crcs = new(checkpoint.Ranges)
	m.Wait, m.Refused = e.examine(m.Value, f)
	switch {
	case m.Refused, errors.Is(m.Wait, errChanged): // the watcher tells when there is something new
		m.Value = nil
	case m.Wait == nil && e.patient:
		s.State.saved(role, m.Value.fingerprint)
		if !s.State.expired { // else nothing would give the descriptor up
			e.keep(m.Value, f)
		}
		e.rememberConfig(s)
	}
}

// checkKey makes sure that a key can name a bundle and does not look like the inside of one.
func checkKey(key string) error {
	if err := pair.CheckKey(key); err != nil {
		return err
	}
	if slices.Contains(strings.Split(key, "/"), bundle.ManifestName) {
		return fmt.Errorf("%w: %q has the segment %q, which marks a bundle", pair.ErrKey, key, bundle.ManifestName)
	}
	return nil
}

// examine opens the checkpoint. The error is why it cannot be used; refused tells a verdict on the
// file from a passing fault.
func (e *engine) examine(v *file, f *watch.Fact) (err error, refused bool) {
	h := f.File
	if h == nil {
		if h, err = e.open(v); err != nil {
			return err, false
		}
		defer h.Close()
	}
	r := newReader(h, e.absolute(v.path), f.Stat.Size, e.pulse, nil, v.crcs)
	defer r.pages.Drop()
	c, err := read(r, filepath.Base(v.path), f.Stat.Size, e.watch.Payload)
	if err != nil {
		return err, isVerdict(err)
	}
	if c.format == checkpoint.Unknown && !e.isQuiet(v) {
		return errTooYoung, false
	}
	v.fingerprint = c.fingerprint()
	return nil, false
}

// errTooYoung is why a file waits that settled in a hurry although its format cannot prove it whole.
var errTooYoung = errors.New("its format cannot prove it whole, and it is not quiet for the settle time yet")

// isQuiet tells whether a file has been unchanged for the settle time. Files of network file systems always have,
// when they have settled; for others the change time tells.
func (e *engine) isQuiet(v *file) bool {
	last := v.stat.ChangeTime
	for _, l := range v.leaves {
		last = max(last, l.stat.ChangeTime)
	}
	return v.evidence.Quiet >= e.watch.Settle || e.now().Sub(time.Unix(0, last)) >= e.watch.Settle
}

func (e *engine) access() access { return access{root: e.watch.Root, pulse: e.pulse} }

func (e *engine) open(v *file) (*os.File, error) {
	defer e.pulse.call("open", e.absolute(v.path))()
	return v.open(e.watch.Root)
}

func isVerdict(err error) bool {
	var b *checkpoint.Broken
	return errors.As(err, &b)
}

// keep takes over the open descriptor of a member, so that the trainer's rotation cannot take the
// content away.
func (e *engine) keep(v *file, f *watch.Fact) {
	if f.File != nil && e.opts.common.kept.take() {
		v.handle, f.File = f.File, nil
		e.kept++
	}
}

// rememberConfig freezes the config when the first member of a set appears, to tell at completion
// whether it changed.
func (e *engine) rememberConfig(s *set) {
	if s.State.pending().first == nil {
		if frozen, err := e.freeze(s); err == nil {
			s.State.pend().first = e.first.keep(frozen, e.table, e.now())
		}
	}
}

func (e *engine) freeze(s *set) ([]snapshot.File, error) {
	defer e.pulse.call("freeze the config", e.watch.Root)()
	return freeze(e.watch, s.Captures)
}

// load reads what was published under the key of a set, once.
func (e *engine) load(s *set) error {
	if s.State.loaded {
		return nil
	}
	defer e.pulse.call("read manifests", filepath.Join(e.store.Dir(), e.watch.Name, s.Key))()
	known, _, err := versions(e.store, e.watch.Name, s.Key)
	if err != nil {
		return err
	}
	s.State.versions, s.State.loaded = known, true
	return nil
}

// gone forgets a file that is not there any more, unless its content is kept for a set that waits.
func (e *engine) gone(path string) []*set {
	var sets []*set
	for _, h := range e.hits(path) {
		if h.Tree {
			sets = append(sets, e.goneFromTree(h, path)...)
		}
	}
	if checkpoint.IsShardIndex(path) {
		return sets // it is no candidate for itself
	}
	keep := false
	for _, s := range e.table.Find(path) {
		for _, r := range e.table.Roles() {
			if m := s.Candidate(r.Name, path); m != nil && m.Value != nil && m.Value.handle != nil && !s.State.settled {
				keep = true
			}
		}
	}
	if keep {
		return sets
	}
	sets = append(sets, e.table.Find(path)...)
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
