// Package retention decides which bundles of an artifact directory keep their archives.
package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/pattern"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// Decision is what happens to a bundle, and why.
type Decision struct {
	Bundle shelf.Bundle
	Prune  bool
	// Released tells that no rule wants it to go: it goes here because the stores have it, and stays there.
	Released bool
	Why      string // for people
}

// Plan decides on all bundles of an artifact directory at once. policy gives the rules of a watch, and
// whether there is such a watch. It looks at nothing but its arguments, and the same arguments give the
// same decisions, in the order of the bundles. A bundle is pruned only when it is present, not pinned, its
// watch has rules, and none of them asks for it.
func Plan(bundles []shelf.Bundle, policy func(watch string) (config.Retention, bool)) []Decision {
	decisions := make([]Decision, len(bundles))
	runs := make(map[[2]string][]int)
	for i, b := range bundles {
		decisions[i].Bundle = b
		id := [2]string{b.Watch, b.Run}
		runs[id] = append(runs[id], i)
	}
	for id, members := range runs {
		rules, known := policy(id[0])
		r := run{all: decisions, rules: rules, members: members}
		switch {
		case !known:
			r.keepAll("no watch of this name is in the config")
		case rules.IsZero():
			r.keepAll("no rule of retention for this watch")
		default:
			r.decide()
		}
	}
	return decisions
}

// run is what is decided together: the bundles of one training run.
type run struct {
	all     []Decision
	rules   config.Retention
	members []int
	reasons map[int][]string
}

func (r *run) keepAll(why string) {
	for _, i := range r.members {
		r.all[i].Why = why
	}
}

func (r *run) decide() {
	r.reasons = make(map[int][]string)
	slices.SortFunc(r.members, func(a, b int) int { return older(r.all[a].Bundle, r.all[b].Bundle) })
	for _, i := range r.members {
		if r.all[i].Bundle.Pinned {
			r.keep(i, "pinned")
		}
	}
	r.keepLast()
	r.keepEvery()
	r.keepBest()
	for _, i := range r.members {
		d := &r.all[i]
		switch {
		case d.Bundle.State == shelf.Pruned:
			d.Why = "pruned before"
		case !present(d.Bundle):
			d.Why = "damaged: retention leaves it alone"
		case len(r.reasons[i]) > 0:
			d.Why = strings.Join(r.reasons[i], ", ")
		default:
			d.Prune, d.Why = true, "not among "+describe(r.rules)
		}
	}
}

// older orders bundles by the time of their publication, those of one moment by their places.
func older(a, b shelf.Bundle) int {
	return cmp.Or(a.Published.Compare(b.Published), pattern.CompareNatural(a.Place, b.Place))
}

func present(b shelf.Bundle) bool { return b.State == shelf.Present || b.State == shelf.Verified }

func (r *run) keep(i int, why string) { r.reasons[i] = append(r.reasons[i], why) }

// keepLast keeps the newest of those that have an archive.
func (r *run) keepLast() {
	left := r.rules.KeepLast
	for _, i := range slices.Backward(r.members) {
		if left > 0 && present(r.all[i].Bundle) {
			r.keep(i, fmt.Sprintf("among the last %d", r.rules.KeepLast))
			left--
		}
	}
}

// keepEvery counts pruned bundles too, so that a bundle that was kept stays kept.
func (r *run) keepEvery() {
	var last time.Time
	for n, i := range r.members {
		every := r.rules.KeepEvery
		switch {
		case every.Count > 0 && n%every.Count == 0:
			r.keep(i, fmt.Sprintf("one in %d", every.Count))
		case every.Span > 0:
			if at := r.all[i].Bundle.Published.Truncate(every.Span); n == 0 || !at.Equal(last) {
				r.keep(i, "the first in "+every.Span.String())
				last = at
			}
		}
	}
}

// keepBest keeps those with the best metric, newer ones first where it is equal, and those without.
func (r *run) keepBest() {
	best := r.rules.KeepBest
	if best.Metric == "" {
		return
	}
	var ranked []int
	for _, i := range r.members {
		_, known := r.all[i].Bundle.Metrics[best.Metric]
		switch {
		case !present(r.all[i].Bundle):
		case known:
			ranked = append(ranked, i)
		default:
			r.keep(i, fmt.Sprintf("its %s is not known", best.Metric))
		}
	}
	slices.SortStableFunc(ranked, func(a, b int) int {
		x, y := r.all[a].Bundle.Metrics[best.Metric], r.all[b].Bundle.Metrics[best.Metric]
		if best.Mode == config.ModeMax {
			x, y = y, x
		}
		return cmp.Or(cmp.Compare(x, y), older(r.all[b].Bundle, r.all[a].Bundle))
	})
	for _, i := range ranked[:min(best.N, len(ranked))] {
		r.keep(i, fmt.Sprintf("among the %d best by %s (%g)", best.N, best.Metric, r.all[i].Bundle.Metrics[best.Metric]))
	}
}

// describe writes rules for the reason of a pruning.
func describe(rules config.Retention) string {
	var parts []string
	if rules.KeepLast > 0 {
		parts = append(parts, fmt.Sprintf("the last %d", rules.KeepLast))
	}
	if n := rules.KeepEvery.Count; n > 0 {
		parts = append(parts, fmt.Sprintf("one in %d", n))
	}
	if d := rules.KeepEvery.Span; d > 0 {
		parts = append(parts, "the first in "+d.String())
	}
	if b := rules.KeepBest; b.Metric != "" {
		parts = append(parts, fmt.Sprintf("the %d best by %s", b.N, b.Metric))
	}
	return strings.Join(parts, ", ")
}

// Release makes bundles be pruned, whatever the rules say, that have been here long enough: for so long after their
// publication as keep says for their watch. Where it says nothing, and of bundles that are pinned or damaged, the
// decision stays. [Withhold] is to follow.
func Release(decisions []Decision, now time.Time, keep func(watch string) (time.Duration, bool)) {
	for i := range decisions {
		d := &decisions[i]
		if after, ok := keep(d.Bundle.Watch); ok && !d.Prune && !d.Bundle.Pinned && present(d.Bundle) && now.Sub(d.Bundle.Published) >= after {
			d.Prune, d.Released, d.Why = true, true, fmt.Sprintf("kept in the stores, here for %s", after)
		}
	}
}

// Withhold keeps bundles that were to be pruned and that have to go somewhere first. unproved says of such a decision why
// the bundle is not proved to have arrived, "" when it is, or when it goes nowhere.
func Withhold(decisions []Decision, unproved func(Decision) string) {
	for i := range decisions {
		d := &decisions[i]
		if !d.Prune {
			continue
		}
		if why := unproved(*d); why != "" {
			d.Prune, d.Why = false, why
		}
	}
}

// Apply carries out the decisions: it prunes what they name, and takes back the tombstones of prunings that
// did not end where the bundle is to stay. done is told the outcome of every pruning; an error of one does
// not keep the others from being tried.
func Apply(s *shelf.Shelf, decisions []Decision, tool string, now time.Time, done func(d Decision, freed int64, err error)) {
	for _, d := range decisions {
		switch {
		case d.Prune:
			freed, err := s.Prune(d.Bundle, d.Why, tool, now)
			done(d, freed, err)
		case d.Bundle.HalfGone:
			if err := s.Restore(d.Bundle); err != nil {
				done(d, 0, err)
			}
		}
	}
}
