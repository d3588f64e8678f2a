package retention

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/bundlewatch/bundlewatch/internal/bundle"
	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/shelf"
)

var start = time.Date(2026, 1, 2, 3, 30, 0, 0, time.UTC)

// series are bundles of one run, one an hour, with the losses given; a negative one stands for none.
func series(run string, losses ...float64) []shelf.Bundle {
	var all []shelf.Bundle
	for i, loss := range losses {
		key := fmt.Sprintf("%s/%d", run, i)
		b := shelf.Bundle{Place: "w/" + key, Watch: "w", Run: run, Key: key, State: shelf.Present, Published: start.Add(time.Duration(i) * time.Hour)}
		if loss >= 0 {
			b.Metrics = bundle.Metrics{"loss": loss}
		}
		all = append(all, b)
	}
	return all
}

func with(rules config.Retention) func(string) (config.Retention, bool) {
	return func(watch string) (config.Retention, bool) { return rules, watch == "w" }
}

// pruned returns the keys that go.
func pruned(decisions []Decision) []string {
	keys := []string{}
	for _, d := range decisions {
		if d.Prune {
			keys = append(keys, d.Bundle.Key)
		}
	}
	return keys
}

func TestPlan(t *testing.T) {
	five := []float64{5, 3, 4, 1, 2}
	for name, c := range map[string]struct {
		rules  config.Retention
		change func([]shelf.Bundle)
		want   []string
	}{
		"no rule":                   {want: []string{}},
		"last":                      {rules: config.Retention{KeepLast: 2}, want: []string{"r/0", "r/1", "r/2"}},
		"more than there are":       {rules: config.Retention{KeepLast: 9}, want: []string{}},
		"every":                     {rules: config.Retention{KeepEvery: config.Every{Count: 2}}, want: []string{"r/1", "r/3"}},
		"span":                      {rules: config.Retention{KeepEvery: config.Every{Span: 2 * time.Hour}}, want: []string{"r/2", "r/4"}},
		"best":                      {rules: config.Retention{KeepBest: config.Best{Metric: "loss", Mode: config.ModeMin, N: 2}}, want: []string{"r/0", "r/1", "r/2"}},
		"best is the largest":       {rules: config.Retention{KeepBest: config.Best{Metric: "loss", Mode: config.ModeMax, N: 2}}, want: []string{"r/1", "r/3", "r/4"}},
		"any rule is enough":        {rules: config.Retention{KeepLast: 1, KeepBest: config.Best{Metric: "loss", Mode: config.ModeMin, N: 1}}, want: []string{"r/0", "r/1", "r/2"}},
		"an unknown metric stays":   {rules: config.Retention{KeepBest: config.Best{Metric: "loss", Mode: config.ModeMin, N: 1}}, change: func(b []shelf.Bundle) { b[0].Metrics = nil }, want: []string{"r/1", "r/2", "r/4"}},
		"a pin stays":               {rules: config.Retention{KeepLast: 1}, change: func(b []shelf.Bundle) { b[1].Pinned = true }, want: []string{"r/0", "r/2", "r/3"}},
		"damaged stays":             {rules: config.Retention{KeepLast: 1}, change: func(b []shelf.Bundle) { b[1].State = shelf.Damaged }, want: []string{"r/0", "r/2", "r/3"}},
		"pruned does not count":     {rules: config.Retention{KeepLast: 2}, change: func(b []shelf.Bundle) { b[4].State = shelf.Pruned }, want: []string{"r/0", "r/1"}},
		"pruned counts for every":   {rules: config.Retention{KeepEvery: config.Every{Count: 2}}, change: func(b []shelf.Bundle) { b[1].State = shelf.Pruned }, want: []string{"r/3"}},
		"another watch's are kept":  {rules: config.Retention{KeepLast: 1}, change: func(b []shelf.Bundle) { b[0].Watch, b[1].Watch = "x", "x" }, want: []string{"r/2", "r/3"}},
		"another run counts apart":  {rules: config.Retention{KeepLast: 1}, change: func(b []shelf.Bundle) { b[0].Run, b[1].Run = "q", "q" }, want: []string{"r/0", "r/2", "r/3"}},
		"equal metrics: newest":     {rules: config.Retention{KeepBest: config.Best{Metric: "loss", N: 1}}, change: func(b []shelf.Bundle) { b[4].Metrics = bundle.Metrics{"loss": 1} }, want: []string{"r/0", "r/1", "r/2", "r/3"}},
		"every, published together": {rules: config.Retention{KeepEvery: config.Every{Count: 4}}, change: func(b []shelf.Bundle) { b[3].Published = b[4].Published }, want: []string{"r/1", "r/2", "r/3"}},
	} {
		bundles := series("r", five...)
		if c.change != nil {
			c.change(bundles)
		}
		got := Plan(bundles, with(c.rules))
		require.Equal(t, c.want, pruned(got), name)
		for i, d := range got {
			require.Equal(t, bundles[i].Place, d.Bundle.Place, "%s: the order is that of the bundles", name)
			require.NotEmpty(t, d.Why, name)
		}
	}
}

// What was pruned stays a part of the series, so a second plan prunes nothing.
func TestPlanSettles(t *testing.T) {
	rules := config.Retention{KeepLast: 2, KeepEvery: config.Every{Count: 3}, KeepBest: config.Best{Metric: "loss", Mode: config.ModeMin, N: 1}}
	bundles := series("r", 9, 8, 7, 6, 1, 4, 3, 2, 2, 5, 6, 7)
	first := Plan(bundles, with(rules))
	require.Equal(t, []string{"r/1", "r/2", "r/5", "r/7", "r/8"}, pruned(first))
	for i, d := range first {
		if d.Prune {
			bundles[i].State = shelf.Pruned
		}
	}
	require.Empty(t, pruned(Plan(bundles, with(rules))))
}

func TestRelease(t *testing.T) {
	all := series("r", 1, 2, 3, 4)
	all[0].Pinned = true
	all[1].State = shelf.Pruned
	now := start.Add(10 * time.Hour)
	keep := func(after time.Duration, ok bool) func(string) (time.Duration, bool) {
		return func(watch string) (time.Duration, bool) { require.Equal(t, "w", watch); return after, ok }
	}
	for _, c := range []struct {
		after time.Duration
		ok    bool
		want  []string
	}{{0, true, []string{"r/2", "r/3"}}, {8 * time.Hour, true, []string{"r/2"}}, {9 * time.Hour, true, []string{}}, {0, false, []string{}}} {
		decisions := Plan(all, with(config.Retention{KeepLast: 9}))
		Release(decisions, now, keep(c.after, c.ok))
		require.Equal(t, c.want, pruned(decisions))
	}
}
