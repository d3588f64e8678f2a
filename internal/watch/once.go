package watch

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// Once lists the root, waits for files that have not settled yet, for two and a half settle times at
// most, and returns one fact for every wanted file, sorted by path: Settled, Waiting or Unusable, and one
// for every directory that is Unlisted. The caller closes the files; with Options.NoFiles there are none.
//
// It takes no notifications, so a file that appears after the listing is not in the answer. The error
// is that of a root that cannot be opened, or ctx's.
func Once(ctx context.Context, opts Options) ([]Fact, error) {
	opts.Source = Poll
	w, err := New(opts)
	if err != nil {
		return nil, err
	}
	last := lastFacts{}
	o := newOwner(w, last.keep)
	if err := o.openRoot(); err != nil {
		return nil, err
	}
	defer o.closeRoot()
	for o.start(true); ctx.Err() == nil && o.working(); {
		o.step(ctx)
	}
	o.settleAll(ctx, time.Now().Add(5*o.top.mount.settle/2))
	if err := ctx.Err(); err != nil {
		last.close()
		return nil, err
	}
	for d, err := range o.failed {
		last.keep(Fact{Path: d.path(), Kind: Unlisted, Reason: fmt.Errorf("cannot be listed: %w", err)})
	}
	return last.sorted(), nil
}

// settleAll looks at the files that wait, until there is none or the deadline has passed.
func (o *owner) settleAll(ctx context.Context, deadline time.Time) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for len(o.due) > 0 && !o.due[0].due.After(deadline) {
		timer.Reset(time.Until(o.due[0].due))
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			o.lookDue(ctx, time.Now())
			for ctx.Err() == nil && len(o.queue) > 0 {
				o.step(ctx)
			}
			o.chain.drop()
		}
	}
}

// lastFacts is the last fact of each path.
type lastFacts map[string]Fact

func (l lastFacts) keep(fact Fact) {
	if old := l[fact.Path]; old.File != nil {
		old.File.Close()
	}
	switch fact.Kind {
	case Settled, Waiting, Unusable, Unlisted:
		l[fact.Path] = fact
	default:
		delete(l, fact.Path)
	}
}

func (l lastFacts) close() {
	for _, fact := range l {
		if fact.File != nil {
			fact.File.Close()
		}
	}
}

func (l lastFacts) sorted() []Fact {
	facts := make([]Fact, 0, len(l))
	for _, fact := range l {
		facts = append(facts, fact)
	}
	slices.SortFunc(facts, func(a, b Fact) int { return cmp.Compare(a.Path, b.Path) })
	return facts
}
