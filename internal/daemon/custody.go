package daemon

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/backlog"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/retention"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// custodian is a destination that is asked whether a bundle may go here.
type custodian struct {
	target
	// mayHold tells, without asking, whether it makes sense to ask.
	mayHold func(shelf.Bundle) bool
	// holds asks, as Has of [backlog.Destination] does.
	holds func(context.Context, shelf.Bundle) (bool, error)
	// removed asks whether a bundle was removed there on purpose. Then the error wraps [backlog.ErrRemoved].
	removed func(context.Context, shelf.Bundle) error
}

// custody decides for one pass of retention whether bundles may go here because of what the destinations have.
type custody struct {
	// custodians are those of the moment.
	custodians func() []custodian
	// within is how long each may take to answer, 0 for as long as it takes.
	within time.Duration
	failed map[string]string // why one could not be asked, by name: it is asked no further
}

// Unproved returns what [retention.Withhold] asks where no daemon works: whether the destinations of a config are proved
// to hold a bundle. The rule is that of the daemon.
func Unproved(ctx context.Context, c *config.Config, tool string) func(retention.Decision) string {
	return unproved(ctx, targets(c, tool))
}

func unproved(ctx context.Context, all []target) func(retention.Decision) string {
	asked := make([]custodian, len(all))
	for i, t := range all {
		dest := t.open()
		asked[i] = custodian{target: t, mayHold: func(shelf.Bundle) bool { return true }, holds: dest.Has, removed: removedFrom(dest)}
	}
	return newCustody(0, func() []custodian { return asked }).unproved(ctx)
}

// askWithin is how long a destination may take to say whether it still holds a bundle: a daemon has more to do.
const askWithin = 10 * time.Second

// unproved returns what [retention.Withhold] asks during one pass of the daemon.
func (d *destinations) unproved(ctx context.Context, c *config.Config) func(retention.Decision) string {
	return newCustody(askWithin, func() []custodian { return d.custodians(c) }).unproved(ctx)
}

// custodians are the destinations that work, and those of the config that do not yet, or not any more: these are not
// known to hold anything.
func (d *destinations) custodians(c *config.Config) (all []custodian) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range targets(c, "") {
		if !slices.ContainsFunc(d.senders, func(s *sender) bool { return reflect.DeepEqual(s.spec, t.spec) }) {
			all = append(all, custodian{target: t, mayHold: func(shelf.Bundle) bool { return false }})
		}
	}
	for _, s := range d.senders {
		all = append(all, custodian{target: s.target, mayHold: s.mayHold, holds: s.Confirm, removed: removedFrom(s.dest)})
	}
	return all
}

// mayHold tells whether the destination was found to hold a bundle, or one that this host may prune there to be removed.
func (s *sender) mayHold(b shelf.Bundle) bool { return s.Holds(b) || s.prunes && s.Removed(b) }

// removedFrom returns how a destination is asked for what was removed there; of a registry nothing is known.
func removedFrom(dest backlog.Destination) func(context.Context, shelf.Bundle) error {
	if d, ok := dest.(interface {
		Removed(context.Context, shelf.Bundle) error
	}); ok {
		return d.Removed
	}
	return func(context.Context, shelf.Bundle) error { return nil }
}

func newCustody(within time.Duration, custodians func() []custodian) *custody {
	return &custody{custodians: custodians, within: within, failed: make(map[string]string)}
}

func (p *custody) unproved(ctx context.Context) func(retention.Decision) string {
	return func(d retention.Decision) string {
		all := slices.DeleteFunc(slices.Clone(p.custodians()), func(c custodian) bool { return !c.takes(d.Bundle.Watch) })
		for _, c := range all {
			if !c.mayHold(d.Bundle) {
				return "it is not proved to be at " + c.name + " yet"
			}
		}
		for _, c := range all {
			if why := p.ask(ctx, c, d); why != "" {
				return why
			}
		}
		return ""
	}
}

// ask says why a bundle may not go here because of one destination, "" when it may: when that is proved to hold it, or
// when it was removed there on purpose, and this host prunes there, too. What only goes because others have it stays
// also where it is about to be removed.
func (p *custody) ask(ctx context.Context, c custodian, d retention.Decision) string {
	if why := p.failed[c.name]; why != "" {
		return why
	}
	if p.within > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, p.within)
		defer stop()
	}
	holds, err := c.holds(ctx, d.Bundle)
	if err == nil && (!holds || d.Released) {
		err = c.removed(ctx, d.Bundle)
	}
	switch {
	case errors.Is(err, backlog.ErrRemoved) && c.prunes && !d.Released:
		return ""
	case errors.Is(err, backlog.ErrConflict), errors.Is(err, backlog.ErrRefused):
		return fmt.Sprintf("%s does not hold it: %v", c.name, err)
	case err != nil:
		p.failed[c.name] = fmt.Sprintf("%s cannot be asked whether it holds it: %v", c.name, err)
		return p.failed[c.name]
	case !holds:
		return c.name + " does not hold it"
	}
	return ""
}
