package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"time"

	sd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/bundlewatch/bundlewatch/internal/config"
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

	wired   Options // with events counted
	config  *config.Config
	orders  chan order
	loops   map[string]*running // by watch name
	failed  chan error
	tidiers *tidiers

	mu      sync.Mutex // guards what events and reloads show
	counts  Counts
	watches int
}

// running is the loop of one watch with the means to end it.
type running struct {
	*loop
	stop context.CancelFunc
	done chan struct{}
}

// Run watches and bundles until the context is done. The error is for a daemon that could not start or
// go on: it wraps [store.ErrLocked] when another one has the artifact directory.
func (d *Daemon) Run(ctx context.Context, c *config.Config) (err error) {
	s, closeStore, err := openStore(c.Artifacts.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	d.use(c)
	d.loops, d.failed = make(map[string]*running), make(chan error, 1)
	d.wired = d.Options
	d.wired.Emit = d.counted(d.Emit)
	d.orders = make(chan order)
	var packing sync.WaitGroup
	packing.Go(func() { newPacker(s, d.wired).serve(d.orders) })
	defer packing.Wait()
	defer close(d.orders)
	defer d.stopAll()
	defer d.stopTidiers()
	d.tidy(ctx, c)
	return d.supervise(ctx, s, d.start(ctx, s, c, nil))
}

// counted serialises events, which come from one goroutine per watch, and counts them.
func (d *Daemon) counted(emit func(Event)) func(Event) {
	return func(e Event) {
		d.mu.Lock()
		d.counts.Add(e.Kind)
		emit(e)
		d.mu.Unlock()
		switch e.Kind {
		case Bundled, Refused, Failed, RootGone:
			d.notify("STATUS=" + d.status())
		}
	}
}

// status is a sentence for systemctl status.
func (d *Daemon) status() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprintf("%d watches; %d bundles published, %d refusals, %d failures since the start",
		d.watches, d.counts.Bundled, d.counts.Refused, d.counts.Failed)
}

// use makes a config the one in force.
func (d *Daemon) use(c *config.Config) {
	d.config = c
	d.mu.Lock()
	defer d.mu.Unlock()
	d.watches = len(c.Watches)
}

// notify tells systemd, if it asked to be told.
func (d *Daemon) notify(state string) {
	if _, err := sd.SdNotify(false, state); err != nil {
		d.Log.Warn().Err(err).Msg("cannot notify systemd")
	}
}

// start begins the loops of all watches that do not run yet. The returned channel is closed when each
// was listed once, and after the channel of an earlier start, unless that is nil.
func (d *Daemon) start(ctx context.Context, s *store.Local, c *config.Config, earlier <-chan struct{}) <-chan struct{} {
	var listing sync.WaitGroup
	for _, w := range c.Watches {
		if d.loops[w.Name] == nil {
			listing.Add(1)
			d.loops[w.Name] = d.begin(ctx, newEngine(w, s, d.wired), listing.Done)
		}
	}
	listed := make(chan struct{})
	go func() {
		if earlier != nil {
			<-earlier
		}
		listing.Wait()
		close(listed)
	}()
	return listed
}

func (d *Daemon) begin(ctx context.Context, e *engine, listed func()) *running {
	ctx, stop := context.WithCancel(ctx)
	l := newLoop(e, d.Log.With().Str("watch", e.watch.Name).Logger(), d.orders, listed)
	r := &running{loop: l, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		defer l.listed()
		if err := l.run(ctx); err != nil {
			select {
			case d.failed <- fmt.Errorf("watch %q: %w", e.watch.Name, err):
			default:
			}
		}
	}()
	return r
}

func (d *Daemon) stopAll() {
	for _, r := range d.loops {
		r.stop()
	}
	for _, r := range d.loops {
		<-r.done
	}
}

// supervise serves signals and the watchdog.
func (d *Daemon) supervise(ctx context.Context, s *store.Local, listed <-chan struct{}) error {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil {
		d.Log.Warn().Err(err).Msg("ignoring the watchdog")
	}
	period := tick
	if interval > 0 {
		period = interval / 3
	}
	pulse := time.NewTicker(period)
	defer pulse.Stop()
	for {
		select {
		case <-ctx.Done():
			d.notify(sd.SdNotifyStopping)
			return nil
		case err := <-d.failed:
			return err
		case <-listed:
			listed = nil
			d.Log.Info().Int("watches", len(d.config.Watches)).Msg("ready: every root was listed")
			d.notify(sd.SdNotifyReady + "\nSTATUS=" + d.status())
		case <-d.Reload:
			listed = d.reload(ctx, s, listed)
		case <-pulse.C:
			if interval > 0 && d.alive(max(interval, 2*tick)) {
				d.notify(sd.SdNotifyWatchdog)
			}
		}
	}
}

// alive tells whether every loop has turned lately.
func (d *Daemon) alive(within time.Duration) bool {
	now := d.now()
	for name, r := range d.loops {
		if last := time.Unix(0, r.beat.Load()); now.Sub(last) > within {
			d.Log.Error().Str("watch", name).Dur("since", now.Sub(last)).Msg("a watch makes no progress; its file system may hang")
			return false
		}
	}
	return true
}

// reload replaces the watches that changed. All that can fail happens first: a bad config changes
// nothing. The returned channel is closed when the daemon is ready again, nil when it is now; listed is
// that of the listing that is under way.
func (d *Daemon) reload(ctx context.Context, s *store.Local, listed <-chan struct{}) <-chan struct{} {
	d.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", sd.SdNotifyReloading, monotonicMicroseconds()))
	c, err := d.Load()
	if err == nil && c.Artifacts.Dir != d.config.Artifacts.Dir {
		err = fmt.Errorf("artifacts.dir changed from %q to %q: restart the daemon for that", d.config.Artifacts.Dir, c.Artifacts.Dir)
	}
	if err != nil {
		d.refuseReload(err, listed == nil)
		return listed
	}
	kept := d.stopChanged(c)
	d.use(c)
	listed = d.start(ctx, s, c, listed)
	d.tidy(ctx, c)
	d.Log.Info().Int("watches", len(c.Watches)).Int("unchanged", kept).Msg("config reloaded")
	return listed
}

func (d *Daemon) refuseReload(err error, ready bool) {
	d.Log.Error().Err(err).Msg("reload refused; the old config stays in force")
	state := "STATUS=reload refused, the old config stays in force: " + firstLine(err.Error())
	if ready {
		state = sd.SdNotifyReady + "\n" + state
	}
	d.notify(state)
}

// stopChanged ends the loops of watches that the new config has not, or has otherwise.
func (d *Daemon) stopChanged(c *config.Config) (kept int) {
	wanted := make(map[string]config.Watch)
	for _, w := range c.Watches {
		wanted[w.Name] = w
	}
	for name, r := range d.loops {
		if w, ok := wanted[name]; ok && reflect.DeepEqual(w, r.watch) {
			kept++
			continue
		}
		r.stop()
		<-r.done
		delete(d.loops, name)
	}
	return kept
}

func firstLine(s string) string {
	for i, r := range s {
		if r == '\n' {
			return s[:i]
		}
	}
	return s
}

func monotonicMicroseconds() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		return 0
	}
	return t.Nano() / 1000
}
