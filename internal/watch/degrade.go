package watch

import (
	"math/rand/v2"
	"time"
)

// follow asks for events of d where its file system has any. A directory for which they cannot be had is
// polled.
func (o *owner) follow(d *dir) {
	if o.followable(d) {
		o.followed(d, o.notifier.watch(o.absolute(d.path())))
	}
}

// followable tells that events of d are to be asked for, also where there is a watch: a directory that is renamed
// back and forth loses it. Else there is no watch on d, or none that would be asked for anew.
func (o *owner) followable(d *dir) bool {
	switch {
	case d.mount.polled, o.ids[d.id] != d:
		o.unfollow(d)
		return false
	case o.degraded != nil && !d.watched: // until heal
		return false
	}
	o.chain.ops++
	if err := o.startNotifier(); err != nil {
		o.followed(d, err)
		return false
	}
	return true
}

// followed notes whether events of d could be had.
func (o *owner) followed(d *dir, err error) {
	switch {
	case err == nil && !d.watched:
		d.watched = true
		d.mount.watched++
		o.watches++
	case err == nil:
	default:
		o.unfollow(d)
		if !vanished(err) {
			o.degrade(err)
		}
	}
}

// unfollow ends events for a directory, if there are any.
func (o *owner) unfollow(d *dir) {
	o.await(d)
	if !d.watched {
		return
	}
	d.watched = false
	d.mount.watched--
	o.watches--
	o.notifier.unwatch(o.absolute(d.path()))
}

// startNotifier starts notifications if there are none.
func (o *owner) startNotifier() error {
	if o.notifier != nil {
		return nil
	}
	n, err := o.newNotifier()
	if err == nil {
		o.notifier = n
	}
	return err
}

// degrade makes directories without a watch be polled until notifications can be had.
func (o *owner) degrade(err error) {
	o.degraded = err
	o.nextHeal = earliest(o.nextHeal, time.Now().Add(jitter(o.opts.Heal)))
	if !o.logged {
		o.logged = true
		o.opts.Logger.Warn().Err(err).Str("root", o.opts.Root).Stringer("retry", o.opts.Heal).
			Msg("notifications are incomplete; polling the directories without a watch")
	}
}

// heal gives notifications and directories that could not be listed another try, every Options.Heal.
func (o *owner) heal() {
	o.nextHeal = time.Time{}
	for d := range o.failed {
		o.enqueue(d)
	}
	if o.degraded == nil {
		return
	}
	o.degraded = nil
	for stack := []*dir{o.top}; len(stack) > 0 && o.degraded == nil; {
		d := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		for child := range d.dirs.all() {
			stack = append(stack, child)
		}
		if d.mount == nil || d.watched {
			continue
		}
		o.enter("watch", d, "")
		if o.follow(d); d.watched {
			o.enqueue(d) // for what changed since it was looked at last
		}
	}
	o.pulse.leave()
	if o.degraded == nil {
		o.logged = false
		o.opts.Logger.Info().Str("root", o.opts.Root).Msg("notifications are complete again")
	}
}

// jitter returns a time within a tenth of d, so that watchers that started together do not list together.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(rand.Int64N(int64(d/5)+1))
}
