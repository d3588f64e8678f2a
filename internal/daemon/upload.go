package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// upload is the second stage of a drain: the bundles of the watches go where the config sends them, in half of the
// time that is left; the other half is for reading what is safe to resume from. What does not go is left for the
// next daemon, which goes on with it.
func (d *Daemon) upload(o *drainOrder, watches map[string]bool) []status.Left {
	senders := d.destinations.working(watches)
	parts := make(chan []status.Left, len(senders))
	for _, s := range senders {
		go func() { parts <- s.unsent(o, watches) }()
	}
	defer d.follow(d.destinations.show)()
	var left []status.Left
	for range senders {
		left = append(left, <-parts...)
	}
	return left
}

// tellSending is how often somebody who looks on is told how bundles go.
const tellSending = 100 * time.Millisecond

// follow tells Sending what the destinations do until end is called.
func (o Options) follow(show func() []status.Destination) (end func()) {
	if o.Sending == nil {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		turn := time.NewTicker(tellSending)
		defer turn.Stop()
		for {
			select {
			case <-turn.C:
				o.Sending(show())
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		<-done
	}
}

// working returns the backlogs that bundles of these watches go to.
func (d *destinations) working(watches map[string]bool) (all []*sender) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.senders {
		for w, asked := range watches {
			if asked && s.takes(w) {
				all = append(all, s)
				break
			}
		}
	}
	return all
}

// outage is how long a drain waits for a destination that fails all the time: nobody's job ends later because a
// server is down.
const outage = 5 * time.Second

// unsent sends what there is, and returns what did not go.
func (s *sender) unsent(o *drainOrder, watches map[string]bool) (left []status.Left) {
	ctx, stop := context.WithTimeout(o.ctx, time.Until(o.end())/2)
	defer stop()
	if o.look {
		stop()
	}
	go s.giveUp(ctx, stop)
	all, err := s.Drain(ctx)
	name := s.Status().Name
	if err != nil {
		left = append(left, status.Left{Reasons: []string{fmt.Sprintf("it is not known what %s does not hold yet: %v", name, err)}})
	}
	for _, b := range all {
		if watches[b.Watch] {
			left = append(left, status.Left{Watch: b.Watch, Key: b.Key, Reasons: []string{notSent(name, b)}})
		}
	}
	return left
}

func notSent(name string, b backlog.Left) string {
	if b.Why == nil {
		return fmt.Sprintf("it was not sent to %s yet", name)
	}
	return fmt.Sprintf("it was not sent to %s yet: %v", name, b.Why)
}

// giveUp ends the waiting for a destination that has failed for as long as an outage.
func (s *sender) giveUp(ctx context.Context, stop func()) {
	began := time.Now()
	look := time.NewTicker(outage / 20)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		}
		if since := s.Status().Since; since != nil && time.Since(began) > outage && time.Since(*since) > outage {
			stop()
			return
		}
	}
}
