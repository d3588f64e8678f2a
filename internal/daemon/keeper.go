package daemon

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/store"
)

// keepEach is the time between two looks at the artifact directory.
const keepEach = 5 * time.Second

// keeper looks after the artifact directory: whether it is there, and whether there is room. It has a
// goroutine of its own, because its file system can hang as well.
type keeper struct {
	store   *store.Local
	room    *room
	opts    Options
	close   func(bool)  // makes the pool start nothing, or start again
	renewed func()      // every set is to be bundled again
	fatal   func(error) // the daemon cannot go on
	pulse   *pulse
	poke    chan struct{}
	shown   atomic.Pointer[kept]
}

// kept is what the keeper saw last.
type kept struct {
	space
	floor   int64
	stopped string    // why nothing is started; "" when bundles are
	cause   string    // of it, which stays the same while it lasts
	since   time.Time // of stopped
}

// The causes that are no errors.
const (
	causeFloor  = "floor"
	causeBudget = "budget"
)

func newKeeper(s *store.Local, r *room, opts Options) *keeper {
	k := &keeper{store: s, room: r, opts: opts, pulse: newPulse(opts), poke: make(chan struct{}, 1)}
	k.shown.Store(&kept{})
	return k
}

// lookSoon asks for a look.
func (k *keeper) lookSoon() {
	select {
	case k.poke <- struct{}{}:
	default:
	}
}

func (k *keeper) run(stop <-chan struct{}) {
	turn := newBeat(keepEach)
	defer turn.stop()
	for {
		k.pulse.turned()
		select {
		case <-stop:
			return
		case <-k.poke:
		case <-turn.C:
			turn.again()
		}
		k.look()
	}
}

// look finds out how the artifact directory is, and tells what is new.
func (k *keeper) look() {
	if k.store.Dir() == "" {
		return // only strays are moved
	}
	now := kept{}
	before := k.shown.Load()
	over := k.pulse.call("look after", k.store.Dir())
	err := k.check()
	if err == nil {
		now.space, now.floor, err = k.room.look()
	}
	over()
	switch {
	case err != nil:
		now.space, now.floor = before.space, before.floor
		now.stopped, now.cause = err.Error(), cause(err).Error()
	case now.free < now.floor:
		now.stopped = fmt.Sprintf("%s are free in %q, less than the floor of %s", status.Size(now.free), k.store.Dir(), status.Size(now.floor))
		now.cause = causeFloor
	default:
		if now.stopped = k.room.full(); now.stopped != "" {
			now.cause = causeBudget
		}
	}
	k.conclude(before, &now)
}

func (k *keeper) conclude(before, now *kept) {
	dir := k.store.Dir()
	now.since = k.opts.now()
	if now.cause != "" && now.cause == before.cause {
		now.since = before.since
	}
	k.shown.Store(now)
	k.close(now.stopped != "")
	switch {
	case now.cause == before.cause:
	case now.cause != "":
		k.opts.Emit(Event{Kind: Stopped, Path: dir, Reason: now.stopped})
	default:
		k.opts.Emit(Event{Kind: Started, Path: dir, Reason: fmt.Sprintf("%s; it lasted %s", before.stopped, k.opts.now().Sub(before.since).Round(time.Second))})
	}
}

// check makes the artifact directory anew when it was removed.
func (k *keeper) check() error {
	err := k.store.Check()
	if !errors.Is(err, store.ErrLost) {
		return err
	}
	if renewErr := k.store.Renew(); renewErr != nil {
		if errors.Is(renewErr, store.ErrLocked) {
			k.fatal(renewErr)
		}
		return errors.Join(renewErr, err)
	}
	k.opts.Emit(Event{Kind: Renewed, Path: k.store.Dir(), Reason: err.Error()})
	k.renewed()
	return nil
}
