package daemon

import (
	"context"
	"path/filepath"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/retention"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

// PlanRetention decides what retention does with the bundles of one watch, or of all when that is "". wants
// may leave out whole runs; nil leaves out none. [retention.Withhold] is to follow, and [retention.Apply] carries it out.
func PlanRetention(ctx context.Context, c *config.Config, s *shelf.Shelf, watch string, now time.Time, wants func(shelf.Bundle) bool) ([]retention.Decision, error) {
	watches := make(map[string]config.Watch)
	for _, w := range c.Watches {
		watches[w.Name] = w
	}
	var all []shelf.Bundle
	err := s.Each(ctx, watch, func(b shelf.Bundle) error {
		if wants == nil || wants(b) {
			rankBy(&b, watches[b.Watch])
			all = append(all, b)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	decisions := retention.Plan(all, func(watch string) (config.Retention, bool) {
		w, known := watches[watch]
		return w.Retention, known
	})
	retention.Release(decisions, now, func(watch string) (time.Duration, bool) { return keptLocally(c.Stores, watch) })
	return decisions, nil
}

// prunes tells whether bundles of a watch may lose their archive: by its rules, or because stores have them.
func prunes(c *config.Config, w config.Watch) bool {
	_, released := keptLocally(c.Stores, w.Name)
	return released || !w.Retention.IsZero()
}

// keptLocally is how long bundles of a watch stay here once all stores for it have them: the longest that one of them
// asks for. It is false where one asks for ever, or there is none.
func keptLocally(stores []config.Store, watch string) (longest time.Duration, ok bool) {
	for _, s := range stores {
		if !s.Takes(watch) {
			continue
		}
		if s.KeepLocal < 0 {
			return 0, false
		}
		longest, ok = max(longest, s.KeepLocal), true
	}
	return longest, ok
}

// rankBy leaves of a bundle's metrics the one that its watch ranks by. What the manifest lacks is looked up
// in the CSV files of the run, as long as those are there: trainers write them later than the checkpoint.
func rankBy(b *shelf.Bundle, w config.Watch) {
	name := w.Retention.KeepBest.Metric
	value, known := b.Metrics[name]
	if !known && name != "" && b.State == shelf.Present {
		value, known = csvScore(b, w, name)
	}
	b.Metrics = nil
	if known {
		b.Metrics = bundle.Metrics{name: value}
	}
}

func csvScore(b *shelf.Bundle, w config.Watch, name string) (float64, bool) {
	rel, err := filepath.Rel(w.Root, b.Source)
	if err != nil {
		return 0, false
	}
	for _, m := range w.Members {
		if m.Pattern == nil {
			continue
		}
		if captures, ok := m.Pattern.Match(rel, filepath.Base(w.Root)); ok {
			value, known := csvScores(w, captures, b.Metrics)[name]
			return value, known
		}
	}
	return 0, false
}
