package daemon

import (
	"context"
	"time"
)

// supervise is the coordinator: it serves requests, sees that everything moves, and shows it. It ends when ctx is
// done, after a last drain if that is wanted; until then all that it starts works on.
func (d *Daemon) supervise(ctx, working context.Context, listed <-chan struct{}) error {
	turn := newBeat(d.systemd.period())
	defer turn.stop()
	stop := ctx.Done()
	var drained <-chan struct{} // closed when the last drain is over
	d.turn()
	for {
		select {
		case <-stop:
			d.systemd.stopping()
			if d.AtStop == 0 {
				return nil
			}
			stop, drained = nil, d.drainLast(working)
		case <-drained:
			return nil
		case o := <-d.drains:
			d.passOn(o)
		case err := <-d.failed:
			return err
		case <-listed:
			listed = nil
			d.becomeReady()
		case <-d.Reload:
			d.reloads.ask(d)
		case r := <-d.reloads.results():
			listed = d.reload(working, r, listed)
		case <-d.reloads.renewal():
			for _, r := range d.loops {
				r.renew()
			}
		case <-turn.C:
			turn.again()
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
	if d.Listed != nil {
		go d.Listed()
	}
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
	d.pushStop(now)
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
	if !d.ready {
		d.reloads.extension.ask(d, now)
	}
}

// extension is more time from systemd for as long as something moves.
type extension struct {
	at    time.Time // when it was asked for last
	moved int64     // how far the work was then
}

// ask asks for more time when the work has moved since the last time.
func (e *extension) ask(d *Daemon, now time.Time) {
	if now.Sub(e.at) < extendEach {
		return
	}
	if moved := d.moved(); moved != e.moved {
		e.at, e.moved = now, moved
		d.systemd.extend(extendBy)
	}
}

// pushStop asks for more time to stop while a drain goes on: the one that the unit's ExecStop waits for, or the last
// one. While nobody stops the service it means nothing.
func (d *Daemon) pushStop(now time.Time) {
	if now.Before(d.drainsEnd) {
		d.pushing.ask(d, now)
	}
}

// moved is a number that changes when listings or packs go on.
func (d *Daemon) moved() (n int64) {
	for _, r := range d.loops {
		n += r.learned.Load()
		if w := r.watcher.Load(); w != nil {
			s := w.State()
			n += int64(s.Directories) + int64(s.Files)
		}
	}
	for _, w := range *d.pool.shown.Load() {
		n += w.done.Load()
	}
	return n
}
