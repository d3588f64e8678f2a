package daemon

import (
	"context"
	"time"
)

// supervise is the coordinator: it serves requests, sees that everything moves, and shows it.
func (d *Daemon) supervise(ctx context.Context, listed <-chan struct{}) error {
	turn := time.NewTicker(d.systemd.period())
	defer turn.Stop()
	d.turn()
	for {
		select {
		case <-ctx.Done():
			d.systemd.stopping()
			return nil
		case err := <-d.failed:
			return err
		case <-listed:
			listed = nil
			d.becomeReady()
		case <-d.Reload:
			d.reloads.ask(d)
		case r := <-d.reloads.results():
			listed = d.reload(ctx, r, listed)
		case <-d.reloads.renewal():
			for _, r := range d.loops {
				r.renew()
			}
		case <-turn.C:
			d.turn()
		}
	}
}

// renew asks the loop to bundle every set again.
func (l *loop) renew() {
	select {
	case l.renewed <- struct{}{}:
	default:
	}
}

func (d *Daemon) becomeReady() {
	d.ready = true
	d.Log.Info().Int("watches", len(d.config.Watches)).Msg("ready: every root was listed")
	d.systemd.ready(d.show().Summary, d.now())
}

// turn does what time alone asks for.
func (d *Daemon) turn() {
	if slept := d.clocks.slept(); slept > 0 {
		d.Log.Info().Str("suspended", slept.Round(time.Second).String()).Msg("the machine was suspended; listing every root")
		d.rescan()
	}
	alive := d.oversee()
	now := d.now()
	if d.Shown {
		d.windows.retry(d.config)
	}
	s := d.show()
	for _, e := range d.alarms.update(d.conditions(s, now), now) {
		d.wired.Emit(e)
	}
	d.systemd.say(s.Summary, now)
	if alive {
		d.systemd.feed(now)
	}
	d.awaitListings(now)
}

func (d *Daemon) rescan() {
	for _, r := range d.loops {
		r.rescan()
	}
}

// oversee looks after everybody who works, and returns whether the watchdog may be fed.
func (d *Daemon) oversee() bool {
	alive := true
	for _, r := range d.loops {
		w := r.ward()
		alive = d.look(w) && alive
		if d.vigil.hung[w.name] != nil {
			r.listed() // as far as it can be
		}
	}
	keeper := ward{name: "artifacts", path: d.store.Dir()}
	keeper.idle, keeper.in = d.keeper.pulse.idle()
	pool := ward{name: "pool"}
	pool.idle, pool.in = d.pool.pulse.idle()
	if keeper.in == nil { // it rests between two looks
		keeper.idle = max(0, keeper.idle-keepEach)
	}
	if d.store.Dir() == "" {
		return d.look(keeper) && d.look(pool) && alive
	}
	curator := ward{name: "retention", path: d.store.Dir()}
	curator.idle, curator.in = d.curator.pulse.idle()
	return d.look(curator) && d.look(keeper) && d.look(pool) && alive
}

func (d *Daemon) look(w ward) bool {
	alive, newly := d.vigil.look(w)
	if !alive && newly {
		d.Log.Error().Str("goroutine", w.name).Str("idle", w.idle.Round(time.Second).String()).
			Msg("no progress, and in no call into a file system; leaving it to the watchdog")
	}
	return alive
}

// A start may take as long as it goes on: systemd is asked for more time while the first listings move.
const (
	extendEach = 15 * time.Second
	extendBy   = time.Minute
)

func (d *Daemon) awaitListings(now time.Time) {
	if d.ready || now.Sub(d.reloads.extended) < extendEach {
		return
	}
	var moved int64
	for _, r := range d.loops {
		moved += r.learned.Load()
		if w := r.watcher.Load(); w != nil {
			s := w.State()
			moved += int64(s.Directories) + int64(s.Files)
		}
	}
	if moved != d.reloads.moved {
		d.reloads.extended, d.reloads.moved = now, moved
		d.systemd.extend(extendBy)
	}
}
