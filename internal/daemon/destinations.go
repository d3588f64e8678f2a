package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/registry"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// target is a destination of bundles that the config asks for.
type target struct {
	name     string
	spec     any      // what the config says of it; a change makes another destination
	watches  []string // whose bundles go there; empty for all
	parallel int
	open     func() backlog.Destination
	sweeper  *sweeper // nil where this host does not sweep
	prunes   bool     // this host prunes there, too
}

func (t target) takes(watch string) bool {
	return len(t.watches) == 0 || slices.Contains(t.watches, watch)
}

// targets are the destinations of a config, in its order.
func targets(c *config.Config, tool string) []target {
	var all []target
	for _, s := range c.Stores {
		all = append(all, storeTarget(c, s))
	}
	for _, p := range c.Pushes {
		all = append(all, target{name: p.Name, spec: p, watches: p.Watches, parallel: p.Parallel, open: func() backlog.Destination {
			access := registry.Access{PlainHTTP: p.PlainHTTP, CAFile: p.CAFile, Credentials: p.Credentials, Agent: tool, Rate: p.Rate}
			return registry.NewDestination(p.Name, registry.NewRepository(p.Repository, access))
		}})
	}
	return all
}

// destinations are the backlogs of a daemon.
type destinations struct {
	shelf   *shelf.Shelf
	emit    func(Event)
	mu      sync.Mutex
	senders []*sender
}

// sender is a backlog that works, with the means to end it.
type sender struct {
	target
	*backlog.Backlog
	stop context.CancelFunc
	done chan struct{}
}

// use makes the destinations of a config the ones that work, and returns those that were stopped. Those that did
// not change go on.
func (d *destinations) use(ctx context.Context, wanted []target) (stopped []*sender) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.senders
	d.senders = nil
	for _, t := range wanted {
		i := slices.IndexFunc(before, func(s *sender) bool { return reflect.DeepEqual(s.spec, t.spec) })
		if i >= 0 {
			d.senders = append(d.senders, before[i])
			before = slices.Delete(slices.Clone(before), i, i+1)
			continue
		}
		d.senders = append(d.senders, d.begin(ctx, t))
	}
	for _, s := range before {
		s.stop()
	}
	return before
}

func (d *destinations) begin(ctx context.Context, t target) *sender {
	ctx, stop := context.WithCancel(ctx)
	s := &sender{target: t, Backlog: newBacklog(t, d.shelf, nil, d.emit), stop: stop, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		var sweeps sync.WaitGroup
		if t.sweeper != nil {
			sweeps.Go(func() { t.sweeper.run(ctx, d.emit) })
		}
		s.Run(ctx)
		sweeps.Wait()
	}()
	return s
}

// Backlogs returns a backlog for each destination of a config, in its order, for work without a daemon. Each needs
// its Run.
func Backlogs(c *config.Config, s *shelf.Shelf, tool string, emit func(Event)) []*backlog.Backlog {
	var all []*backlog.Backlog
	for _, t := range targets(c, tool) {
		all = append(all, newBacklog(t, s, nil, emit))
	}
	return all
}

// Unproved returns what [retention.Withhold] asks: whether the destinations of a config are proved to hold a bundle.
// One that cannot be asked holds nothing; it is asked no further.
func Unproved(ctx context.Context, c *config.Config, tool string) func(shelf.Bundle) string {
	return unproved(ctx, targets(c, tool))
}

func unproved(ctx context.Context, all []target) func(shelf.Bundle) string {
	dests, failed := make([]backlog.Destination, len(all)), make([]error, len(all))
	for i, t := range all {
		dests[i] = t.open()
	}
	return func(b shelf.Bundle) string {
		for i, dest := range dests {
			if !all[i].takes(b.Watch) {
				continue
			}
			has, err := false, failed[i]
			if err == nil {
				has, err = dest.Has(ctx, b)
			}
			switch {
			case errors.Is(err, backlog.ErrConflict), errors.Is(err, backlog.ErrRefused):
				return fmt.Sprintf("%s does not hold it: %v", dest.Name(), err)
			case err != nil:
				failed[i] = err
				return fmt.Sprintf("%s cannot be asked whether it holds it: %v", dest.Name(), err)
			case !has:
				return "it was not sent to " + dest.Name() + " yet"
			}
		}
		return ""
	}
}

// newBacklog returns a backlog of the bundles at places, or of all where that is nil.
func newBacklog(t target, s *shelf.Shelf, places []string, emit func(Event)) *backlog.Backlog {
	dest := t.open()
	return backlog.New(dest, s, backlog.Options{Watches: t.watches, Places: places, Parallel: t.parallel, Tell: func(news any) {
		e := newsEvent(news)
		e.Destination = dest.Name()
		emit(e)
	}})
}

// newsEvent is what a backlog tells, as an event.
func newsEvent(news any) Event {
	about := func(kind Kind, b shelf.Bundle) Event {
		return Event{Kind: kind, Watch: b.Watch, Key: b.Key, Path: b.Path, Bytes: b.Archive.Bytes}
	}
	switch n := news.(type) {
	case backlog.Sent:
		e := about(Sent, n.Bundle)
		e.Seconds = n.Seconds
		return e
	case backlog.Refused:
		e := about(Unsendable, n.Bundle)
		e.Reason = n.Err.Error()
		return e
	case backlog.Failing:
		return Event{Kind: SendFailing, Reason: n.Err.Error()}
	case backlog.Healed:
		return Event{Kind: SendHealed, Reason: "it lasted " + n.Lasted.Round(time.Second).String()}
	}
	panic(fmt.Sprintf("unknown news %T", news))
}

// published tells every backlog of a new bundle. It does not wait.
func (d *destinations) published(path string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shelf == nil {
		return
	}
	place, err := filepath.Rel(d.shelf.Dir(), path)
	if err != nil {
		return // it is below the shelf
	}
	for _, s := range d.senders {
		s.Published(filepath.ToSlash(place))
	}
}

// askWithin is how long a destination may take to say whether it still holds a bundle.
const askWithin = 10 * time.Second

// confirmed returns what [destinations.unconfirmed] says for the bundles of one pass. A destination that could not be
// asked once is asked no further.
func (d *destinations) confirmed(ctx context.Context, c *config.Config) func(shelf.Bundle) string {
	failed := make(map[*sender]string)
	return func(b shelf.Bundle) string { return cmp.Or(d.unproved(c, b), d.unconfirmed(ctx, b, failed)) }
}

// unconfirmed asks the destinations that were proved to hold a bundle whether they still do, and says which does not, ""
// when all do.
func (d *destinations) unconfirmed(ctx context.Context, b shelf.Bundle, failed map[*sender]string) string {
	d.mu.Lock()
	senders := slices.Clone(d.senders)
	d.mu.Unlock()
	for _, s := range senders {
		if !s.takes(b.Watch) || s.prunes && s.Removed(b) {
			continue
		}
		if failed[s] != "" {
			return failed[s]
		}
		within, stop := context.WithTimeout(ctx, askWithin)
		held, err := s.Confirm(within, b)
		stop()
		name := s.Status().Name
		switch {
		case s.prunes && errors.Is(err, backlog.ErrRemoved):
		case errors.Is(err, backlog.ErrConflict), errors.Is(err, backlog.ErrRefused):
			return fmt.Sprintf("%s does not hold it any more: %v", name, err)
		case err != nil:
			failed[s] = fmt.Sprintf("%s cannot be asked whether it still holds it: %v", name, err)
			return failed[s]
		case !held:
			return name + " does not hold it any more"
		}
	}
	return ""
}

// unproved says which destination is not known to hold a bundle that has to go there, "" when all do. It asks none.
// One of the config that does not work yet, or not any more, is not known to hold anything. Where this host prunes, what
// another one has pruned is settled, too.
func (d *destinations) unproved(c *config.Config, b shelf.Bundle) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range targets(c, "") {
		works := func(s *sender) bool { return reflect.DeepEqual(s.spec, t.spec) }
		if t.takes(b.Watch) && !slices.ContainsFunc(d.senders, works) {
			return "it is not proved to be at " + t.name + " yet"
		}
	}
	for _, s := range d.senders {
		if s.takes(b.Watch) && !s.Holds(b) && !(s.prunes && s.Removed(b)) {
			return "it is not proved to be at " + s.Status().Name + " yet"
		}
	}
	return ""
}

func (d *destinations) show() []status.Destination {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []status.Destination
	for _, s := range d.senders {
		shown := s.Status()
		shown.Error = clip(shown.Error)
		if s.sweeper != nil {
			shown.Sweeps = s.sweeper.state()
		}
		all = append(all, shown)
	}
	return all
}

// send starts and stops backlogs as the config asks for. It does not wait long for one that hangs.
func (d *Daemon) send(ctx context.Context, c *config.Config) error {
	wanted := targets(c, d.Tool)
	if d.targets != nil {
		wanted = d.targets(c)
	}
	if len(wanted) > 0 {
		if err := d.destinations.open(d.store.Dir()); err != nil {
			return err
		}
	}
	d.awaitSenders(d.destinations.use(ctx, wanted), cmp.Or(d.grace, replaceFor))
	return nil
}

func (d *destinations) open(dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shelf != nil {
		return nil
	}
	s, err := shelf.Open(dir)
	d.shelf = s
	return err
}

// lastSend is how long the daemon waits for backlogs when it stops. What hangs is in a file system or a library, and
// loses nothing.
const lastSend = 3 * time.Second

// stopSending ends all backlogs. What is under way is resumed by the next start.
func (d *Daemon) stopSending() {
	d.awaitSenders(d.destinations.use(context.Background(), nil), cmp.Or(d.grace, lastSend))
}

// awaitSenders waits for backlogs that were stopped.
func (d *Daemon) awaitSenders(stopped []*sender, within time.Duration) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for _, s := range stopped {
		select {
		case <-s.done:
			continue
		case <-timer.C:
			timer.Reset(0) // for the next one
		}
		select {
		case <-s.done:
		default:
			d.Log.Error().Str("destination", s.Status().Name).Msg("destination hangs; going on without it")
		}
	}
}
