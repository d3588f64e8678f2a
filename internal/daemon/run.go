package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/notify"
	"github.com/bundlewatch/bundlewatch/internal/provenance"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/store"
)

// Daemon is one run of the program beside training.
type Daemon struct {
	Options
	Log zerolog.Logger
	// Load reads the config again, for a reload.
	Load func() (*config.Config, error)
	// Reload receives a value for each request to reload.
	Reload <-chan struct{}
	// Shown makes the daemon answer `bundlewatch status` and, where the config says so, HTTP.
	Shown bool
	// Listed is called when every root was listed, at the start and after a reload; nil for nothing.
	Listed func()
	// AtStop is for how long it drains when it is told to stop; 0 to stop at once.
	AtStop time.Duration

	grace     time.Duration // of tests, in place of teardown and replaceFor
	wired     Options       // with events counted, and what all watches share
	config    *config.Config
	started   time.Time
	store     *store.Local
	pool      *pool
	keeper    *keeper
	curator   *curator
	alarms    alarms
	notifier  *notify.Notifier
	vigil     *vigil
	systemd   systemd
	clocks    clocks
	journal   journal
	windows   windows
	board     status.Board
	loops     map[string]*running // by watch name
	leaving   []*running          // of an earlier config, that did not end in time
	failed    chan error
	ready     bool
	reloads   reloads
	tidiers   *tidiers
	drains    chan *drainOrder
	drainsEnd time.Time // of all drains that were asked for
	pushing   extension // of the time to stop, until then

	destinations destinations
	targets      func(*config.Config) []target // of tests
}

// running is the loop of one watch with the means to end it.
type running struct {
	*loop
	stop context.CancelFunc
	done chan struct{}
}

// How long the daemon waits for what hangs, so that it ends before systemd's TimeoutStopSec of 30 s, and goes
// on with a reload.
const (
	teardown   = 20 * time.Second
	lastWork   = 5 * time.Second // for the staging directory, after that
	replaceFor = 5 * time.Second
)

// Run watches and bundles until the context is done. The error is for a daemon that could not start or
// go on: it wraps [store.ErrLocked] when another one has the artifact directory. What hangs in a file system
// when the context is done is left behind after a while; it can publish nothing any more.
func (d *Daemon) Run(ctx context.Context, c *config.Config) (err error) {
	first := load(func() (*config.Config, error) { return c, nil })
	if first.err != nil {
		return first.err
	}
	if d.store, err = openStore(c.Artifacts.Dir); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.closeStore()) }()
	d.prepare(c)
	defer d.closeNotifier()
	d.sign(first.key)
	defer d.wired.common.witness.Close()
	defer d.windows.close()
	stop := make(chan struct{})
	go d.pool.run(stop)
	go d.keeper.run(stop)
	defer close(stop)
	lasting := ctx
	if d.AtStop > 0 {
		lasting = context.WithoutCancel(ctx) // the last drain begins when ctx is done
	}
	working, end := context.WithCancel(lasting)
	if d.store.Dir() != "" {
		go d.curator.run(working)
	}
	defer d.stopAll()
	defer d.stopTidiers()
	defer end()
	d.tidy(working, c)
	defer d.stopSending()
	if err := d.send(working, c); err != nil {
		return err
	}
	return d.supervise(ctx, working, d.start(working, c, nil))
}

// prepare makes what all watches share.
func (d *Daemon) prepare(c *config.Config) {
	d.started = d.now()
	d.reloads = reloads{renewals: make(chan struct{}, 1)}
	d.loops, d.failed = make(map[string]*running), make(chan error, 1)
	if d.Metrics == nil {
		d.Metrics = status.NewMetrics(&d.board, d.Tool)
	}
	d.wired = d.Options
	d.wired.common = newCommon(c.Limits)
	d.notifier, d.alarms = d.newNotifier(), make(alarms)
	counted := d.journal.counted(func(e Event) {
		d.Emit(e)
		d.herald(e)
		if e.Kind == Sent {
			d.curator.ask(e.Watch)
		}
	}, d.Metrics, d.now)
	d.destinations.emit = counted
	d.wired.Emit = func(e Event) {
		counted(e)
		if e.Kind == Bundled {
			d.curator.ask(e.Watch)
			d.destinations.published(e.Path)
		}
	}
	packer := newPacker(d.store, d.wired, c.Limits)
	packer.witness = provenance.NewWitness("/proc")
	packer.throttle.rush = &d.wired.common.rush
	d.wired.common.witness = packer.witness
	d.pool = newPool(packer, d.wired, c.Limits.Workers)
	d.keeper = newKeeper(d.store, packer.room, d.wired)
	d.curator = newCurator(packer.room, d.wired)
	d.curator.unproved = d.destinations.unproved
	d.curator.changed, d.curator.packing = d.keeper.lookSoon, func() []*work { return *d.pool.shown.Load() }
	d.wired.common.look = d.keeper.lookSoon
	d.keeper.close, d.keeper.renewed, d.keeper.fatal = d.pool.setClosed, d.renewed, d.fail
	d.systemd = newSystemd(d.Log)
	d.vigil = newVigil(d.wired, d.systemd.within())
	d.clocks = newClocks()
	if d.drains == nil {
		d.drains = make(chan *drainOrder)
	}
	d.windows = windows{log: d.Log, board: &d.board, metrics: d.Metrics, drain: d.Drain, now: d.now}
	d.use(c)
	d.keeper.look()
	if d.Shown {
		d.windows.open(c)
	}
}

// use makes a config the one in force.
func (d *Daemon) use(c *config.Config) {
	d.config = c
	names := make([]string, len(c.Watches))
	for i, w := range c.Watches {
		names[i] = w.Name
	}
	d.Metrics.Watches(names)
	d.pool.setWorkers(max(1, c.Limits.Workers))
	d.pool.packer.throttle.setRate(c.Limits.ReadRate)
	d.pool.packer.throttle.setCPU(packerCPU(c.Limits))
	d.pool.packer.room.setFloor(c.Limits.FreeSpace)
	d.pool.packer.room.budget.Store(c.Artifacts.Budget)
	d.wired.common.alerts.Store(&c.Alerts)
	d.notifier.Use(c.Notify)
	d.curator.use(c)
	d.wired.common.kept.most.Store(int64(keptFiles(c.Limits)))
	d.keeper.lookSoon()
}

// renewed makes every set be bundled again. It is called from the keeper's goroutine.
func (d *Daemon) renewed() {
	d.curator.renew()
	d.reloads.askRenewal()
}

// fail ends the daemon.
func (d *Daemon) fail(err error) {
	select {
	case d.failed <- err:
	default:
	}
}

// start begins the loops of all watches that do not run yet. The returned channel is closed when each
// was listed once, and after the channel of an earlier start, unless that is nil.
func (d *Daemon) start(ctx context.Context, c *config.Config, earlier <-chan struct{}) <-chan struct{} {
	var waits []<-chan struct{}
	for _, w := range c.Watches {
		if d.loops[w.Name] == nil {
			listed := make(chan struct{})
			d.loops[w.Name] = d.begin(ctx, newEngine(w, d.store, d.wired), func() { close(listed) })
			waits = append(waits, listed)
		}
	}
	if earlier != nil {
		waits = append(waits, earlier)
	}
	all := make(chan struct{})
	go func() {
		for _, w := range waits {
			<-w
		}
		close(all)
	}()
	return all
}

func (d *Daemon) begin(ctx context.Context, e *engine, listed func()) *running {
	ctx, stop := context.WithCancel(ctx)
	l := newLoop(e, d.Log.With().Str("watch", e.watch.Name).Logger(), d.pool.orders, listed)
	r := &running{loop: l, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer l.listed()
		if err := l.run(ctx); err != nil {
			d.fail(fmt.Errorf("watch %q: %w", e.watch.Name, err))
		}
	}()
	return r
}

// stopAll ends all loops, and with them the packs that are under way.
func (d *Daemon) stopAll() {
	all := d.leaving
	for _, r := range d.loops {
		r.stop()
		all = append(all, r)
	}
	for _, r := range await(all, cmp.Or(d.grace, teardown)) {
		r.listed() // nobody waits for it any more
		_, in := r.pulse.idle()
		line := d.Log.Error().Str("watch", r.watch.Name).Str("root", r.watch.Root)
		if in != nil {
			line = line.Str("op", in.op).Str("path", in.path)
		}
		line.Msg("watch hangs; stopping without it")
	}
}

// await waits for loops that were stopped, and returns those that did not end in time.
func await(loops []*running, within time.Duration) (late []*running) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	over := false
	for _, r := range loops {
		if !over {
			select {
			case <-r.done:
				continue
			case <-timer.C:
				over = true
			}
		}
		select {
		case <-r.done:
		default:
			late = append(late, r)
		}
	}
	return late
}

// closeStore gives the artifact directory up. It does not wait for one that hangs: its locks end with the
// process, and the next start sweeps.
func (d *Daemon) closeStore() error {
	if d.store.Dir() == "" {
		return nil
	}
	closed := make(chan error, 1)
	go func() { closed <- d.store.Close() }()
	timer := time.NewTimer(lastWork)
	defer timer.Stop()
	select {
	case err := <-closed:
		return err
	case <-timer.C:
		d.Log.Error().Str("path", d.store.Dir()).Msg("artifact directory hangs; stopping without sweeping it")
		return nil
	}
}
