package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/retention"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// When the curator works. A pass takes at most a twentieth of the time, however large the artifact directory is.
const (
	pruneSoon    = 2 * time.Second  // after a bundle was published, so that many of them make one pass
	pruneEach    = time.Hour        // for metrics that a trainer writes later than its checkpoints
	measureEach  = 10 * time.Minute // for what others put into the directory or take from it
	measureFull  = 15 * time.Second // while the budget is used up
	curatorShare = 20
)

// curator applies retention and measures the artifact directory. It has a goroutine of its own, so that
// publishing never waits for it, and hangs alone where a file system does.
type curator struct {
	room    *room
	opts    Options
	packing func() []*work // what is under way
	changed func()         // room was made
	// unproved returns what says, during one pass, why a bundle is not known to be where it has to go, "" when it is.
	unproved func(context.Context, *config.Config) func(retention.Decision) string
	graves   Graves
	pulse    *pulse
	config   atomic.Pointer[config.Config]

	mu      sync.Mutex
	asked   map[string]bool // watches in which something is new
	pruneAt time.Time       // when that is looked at; zero when nothing is
	stale   bool            // the directory was made anew
	shown   curated

	// Of the goroutine.
	notBefore time.Time
	measureAt time.Time
	allAt     time.Time
	told      map[string]string // the last failure, by the place of a bundle or the name of a watch
	failing   map[string]string // why rules could not be applied, by watch
}

// curated is what the curator did last.
type curated struct {
	ended   time.Time // of the last pass; zero before the first
	took    time.Duration
	failing string    // why it could not do all of it; "" when it could
	since   time.Time // of failing
	unseen  string    // why the directory could not be measured; "" when it could
}

func newCurator(r *room, opts Options) *curator {
	return &curator{room: r, opts: opts, pulse: newPulse(opts), packing: func() []*work { return nil }, changed: func() {}, unproved: noDestinations, asked: make(map[string]bool),
		told: make(map[string]string), failing: make(map[string]string)}
}

// use makes a config the one in force.
func (c *curator) use(cfg *config.Config) {
	c.config.Store(cfg)
	c.askAll()
}

// prunes tells whether any watch has rules.
func (c *curator) prunes() bool {
	cfg := c.config.Load()
	return slices.ContainsFunc(cfg.Watches, func(w config.Watch) bool { return prunes(cfg, w) })
}

// ask asks for a pass over the bundles of a watch. Many requests make one pass.
func (c *curator) ask(watch string) { c.askAt(watch, c.opts.now().Add(pruneSoon)) }

func (c *curator) askAt(watch string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[watch] = true
	if c.pruneAt.IsZero() {
		c.pruneAt = at
	}
}

func (c *curator) askAll() {
	for _, w := range c.config.Load().Watches {
		c.ask(w.Name)
	}
}

// renew forgets what the directory took: it was made anew.
func (c *curator) renew() {
	c.mu.Lock()
	c.stale = true
	c.mu.Unlock()
	c.askAll()
}

// mustMeasure tells whether it is time to measure.
func (c *curator) mustMeasure(now time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	stale := c.stale
	c.stale = false
	return stale || !now.Before(c.measureAt)
}

// due takes what was asked for when its time has come.
func (c *curator) due(now time.Time) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pruneAt.IsZero() || now.Before(c.pruneAt) || now.Before(c.notBefore) {
		return nil
	}
	asked := c.asked
	c.asked, c.pruneAt = make(map[string]bool), time.Time{}
	return asked
}

func (c *curator) state() curated {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.shown
}

// run works until the context is done.
func (c *curator) run(ctx context.Context) {
	turn := newBeat(tick)
	defer turn.stop()
	defer c.graves.Close()
	for {
		c.turn(ctx)
		c.pulse.turned()
		select {
		case <-ctx.Done():
			return
		case <-turn.C:
			turn.again()
		}
	}
}

// turn does what is due.
func (c *curator) turn(ctx context.Context) {
	now := c.opts.now()
	if c.mustMeasure(now) {
		c.measure(ctx)
	}
	if c.allAt.IsZero() || !now.Before(c.allAt) {
		c.allAt = now.Add(pruneEach)
		c.askAll()
	}
	if asked := c.due(now); asked != nil {
		c.pass(ctx, asked)
	}
}

func (c *curator) measure(ctx context.Context) {
	begin, began := c.opts.now(), time.Now()
	over := c.pulse.call("measure", c.room.dir)
	err := c.room.usage.measure(ctx, begin, c.pulse.turned)
	over()
	wait := time.Duration(measureEach)
	if c.room.full() != "" {
		wait = measureFull
	}
	c.measureAt = begin.Add(max(wait, curatorShare*time.Since(began)))
	if ctx.Err() != nil {
		return
	}
	why := ""
	if err != nil {
		why = err.Error()
	}
	c.mu.Lock()
	isNew := c.shown.unseen != why
	c.shown.unseen = why
	c.mu.Unlock()
	if err != nil && isNew {
		c.opts.Emit(Event{Kind: PruneFailed, Path: c.room.dir, Reason: why})
	}
	c.changed()
}

// pass applies the rules of the watches that were asked for.
func (c *curator) pass(ctx context.Context, asked map[string]bool) {
	began := time.Now()
	p := pass{curator: c}
	failing := make(map[string]string)
	cfg := c.config.Load()
	for _, w := range cfg.Watches {
		switch {
		case !prunes(cfg, w):
		case asked[w.Name]:
			p.why = ""
			p.watch(ctx, w.Name)
			p.looked = true
			if p.why != "" {
				failing[w.Name] = p.why
			}
		case c.failing[w.Name] != "":
			failing[w.Name] = c.failing[w.Name]
		}
	}
	c.failing = failing
	if ctx.Err() != nil || !p.looked {
		return
	}
	now := c.opts.now()
	c.notBefore = now.Add(curatorShare * time.Since(began))
	since := c.showPass(now, time.Since(began))
	if p.freed > 0 {
		c.changed()
	}
	for _, watch := range p.again {
		c.askAt(watch, now.Add(backoff(now.Sub(since))))
	}
}

// showPass shows how a pass went, and returns since when passes fail.
func (c *curator) showPass(now time.Time, took time.Duration) (failingSince time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown.ended, c.shown.took, c.shown.failing = now, took, ""
	for _, w := range slices.Sorted(maps.Keys(c.failing)) {
		c.shown.failing = cmp.Or(c.shown.failing, c.failing[w])
	}
	switch {
	case c.shown.failing == "":
		c.shown.since = time.Time{}
		return now
	case c.shown.since.IsZero():
		c.shown.since = now
	}
	return c.shown.since
}

// pass is what one pass found.
type pass struct {
	*curator
	looked bool // at any watch
	freed  int64
	why    string   // the rules of the watch could not be applied
	again  []string // watches that have to be looked at again
}

// watch applies the rules of one watch.
func (p *pass) watch(ctx context.Context, watch string) {
	decisions, s, err := p.plan(ctx, watch)
	switch {
	case ctx.Err() != nil, errors.Is(err, fs.ErrNotExist): // nothing was published yet
		return
	case err != nil:
		p.fail(Event{Watch: watch, Path: p.room.dir, Reason: err.Error(), err: err}, watch)
		p.again = append(p.again, watch)
		return
	}
	delete(p.told, watch)
	failed, later, noTombs := false, false, false
	for _, d := range decisions {
		if ctx.Err() != nil {
			return
		}
		if d.Prune && p.isPacking(d.Bundle) {
			later = true
			continue
		}
		if d.Prune && !d.Released {
			if noTombs = noTombs || !p.bury(ctx, d); noTombs {
				failed = true // what keeps one from its tomb keeps the others
				continue
			}
		}
		over := p.pulse.call("prune", d.Bundle.Path)
		retention.Apply(s, []retention.Decision{d}, p.opts.Tool, p.opts.now(), func(d retention.Decision, freed int64, err error) {
			failed = p.done(d, freed, err) || failed
		})
		over()
	}
	if failed || later {
		p.again = append(p.again, watch)
	}
}

func (p *pass) plan(ctx context.Context, watch string) ([]retention.Decision, *shelf.Shelf, error) {
	defer p.pulse.call("list the bundles of "+watch+" in", p.room.dir)()
	s, err := shelf.Open(p.room.dir)
	if err != nil {
		return nil, nil, err
	}
	cfg := p.config.Load()
	decisions, err := PlanRetention(ctx, cfg, s, watch, p.opts.now(), func(shelf.Bundle) bool {
		p.pulse.turned()
		return true
	})
	unproved := p.unproved(ctx, cfg)
	retention.Withhold(decisions, func(d retention.Decision) string {
		p.pulse.turned()
		return unproved(d)
	})
	return decisions, s, err
}

// noDestinations are those of who sends nothing: every bundle is where it has to go.
func noDestinations(context.Context, *config.Config) func(retention.Decision) string {
	return func(retention.Decision) string { return "" }
}

// bury puts the tombs for a bundle, and tells whether it may be pruned. A store that is waited for is no reason to take
// the curator for stuck.
func (p *pass) bury(ctx context.Context, d retention.Decision) bool {
	cfg := p.config.Load()
	done := make(chan error, 1)
	go func() { done <- p.graves.Bury(ctx, cfg, d) }()
	turn := time.NewTicker(time.Second)
	defer turn.Stop()
	about := "the tombs of " + d.Bundle.Watch
	for {
		select {
		case <-turn.C:
			p.pulse.turned()
			continue
		case err := <-done:
			p.pulse.turned()
			switch {
			case ctx.Err() != nil:
				return false
			case err == nil:
				delete(p.told, about)
				return true
			}
			b := d.Bundle
			p.fail(Event{Watch: b.Watch, Key: b.Key, Path: b.Path, Reason: err.Error(), err: err, run: b.Run}, about)
			return false
		}
	}
}

// isPacking tells whether a bundle of the same key is being made: what is known of its versions stays as it is
// meanwhile.
func (p *pass) isPacking(b shelf.Bundle) bool {
	for _, w := range p.packing() {
		if w.watch == b.Watch && w.key == b.Key {
			return true
		}
	}
	return false
}

// done tells what became of a pruning, and whether it failed.
func (p *pass) done(d retention.Decision, freed int64, err error) (failed bool) {
	b := d.Bundle
	switch {
	case errors.Is(err, shelf.ErrKept): // somebody pinned it, or it is another one now: the next pass sees
		return false
	case err != nil:
		p.fail(Event{Watch: b.Watch, Key: b.Key, Path: b.Path, Reason: err.Error(), err: err, run: b.Run}, b.Place)
		return true
	}
	delete(p.told, b.Place)
	p.freed += freed
	p.room.usage.added(-freed, p.opts.now())
	p.opts.Emit(Event{Kind: Pruned, Watch: b.Watch, Key: b.Key, Path: b.Path, Bytes: freed, Reason: d.Why, run: b.Run})
	return false
}

// fail remembers a failure, and tells it once per cause.
func (p *pass) fail(e Event, about string) {
	p.why = cmp.Or(p.why, e.Reason)
	if why := cause(e.err).Error(); p.told[about] != why {
		p.told[about] = why
		e.Kind = PruneFailed
		p.opts.Emit(e)
	}
}

// problem says what somebody should look at, "" for nothing.
func (s curated) problem() string {
	switch {
	case s.failing != "":
		return fmt.Sprintf("retention fails: %s", s.failing)
	case s.unseen != "":
		return s.unseen
	}
	return ""
}
