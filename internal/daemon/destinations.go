package daemon

import (
	"cmp"
	"context"
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
	dest backlog.Destination
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
	s := newSender(t, d.shelf, nil, d.emit)
	s.stop = stop
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

// newSender returns one for the bundles at places, or for all where that is nil. It does not work yet.
func newSender(t target, s *shelf.Shelf, places []string, emit func(Event)) *sender {
	dest := t.open()
	queue := backlog.New(dest, s, backlog.Options{Watches: t.watches, Places: places, Parallel: t.parallel, Tell: func(news any) {
		e := newsEvent(news)
		e.Destination = dest.Name()
		emit(e)
	}})
	return &sender{target: t, dest: dest, Backlog: queue, done: make(chan struct{})}
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
