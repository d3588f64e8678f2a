package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const retentionFile = `[artifacts]
dir = "/a"
[retention]
keep_last = 5
keep_every = "6h"
[[watch]]
name = "one"
root = "/r/1"
members = { m = "{run}/m.pt" }
[[watch]]
name = "two"
root = "/r/2"
members = { m = "{run}/m.pt" }
config = { metrics = ["{run}/metrics.csv"] }
[watch.retention]
keep_every = 10
keep_best = { metric = "val_loss", n = 3 }
[[watch]]
name = "three"
root = "/r/3"
members = { m = "{run}/m.pt" }
[watch.retention]
`

func TestRetentionOfAWatchTakesThePlaceOfTheFiles(t *testing.T) {
	c, err := Parse("/etc/bundlewatch.toml", retentionFile)
	require.NoError(t, err)
	require.Equal(t, Retention{KeepLast: 5, KeepEvery: Every{Span: 6 * time.Hour}}, c.Watches[0].Retention)
	require.Equal(t, Retention{KeepEvery: Every{Count: 10}, KeepBest: Best{Metric: "val_loss", Mode: ModeMin, N: 3}}, c.Watches[1].Retention)
	require.True(t, c.Watches[2].Retention.IsZero(), "an empty table keeps all")
	require.Equal(t, "{run}/metrics.csv", c.Watches[1].Config.Metrics[0].String())
}

func TestRetentionProblems(t *testing.T) {
	const head = "[artifacts]\ndir = \"/a\"\n[[watch]]\nname = \"w\"\nroot = \"/r\"\nmembers = { m = \"{run}/m.pt\" }\n[retention]\n"
	for text, want := range map[string]string{
		"keep_last = 0":                                   `/c.toml:8: retention.keep_last: found the number 0, expected a whole number of at least 1`,
		"keep_last = \"5\"":                               `/c.toml:8: retention.keep_last: found "5", expected a whole number of at least 1`,
		"keep_last = 1.5":                                 `/c.toml:8: retention.keep_last: found the number 1.5, expected a whole number of at least 1`,
		"keep_every = \"often\"":                          `/c.toml:8: retention.keep_every: found "often", expected a whole number of bundles, or a duration of at least "1s", such as "6h"`,
		"keep_every = -1":                                 `/c.toml:8: retention.keep_every: found the number -1, expected a whole number of at least 1`,
		"keep_best = { n = 2 }":                           `/c.toml:8: retention.keep_best.metric: found nothing, expected a string`,
		"keep_best = { metric = \"x\", mode = 1 }":        `/c.toml:8: retention.keep_best.mode: found the number 1, expected a string in quotes that is not empty`,
		"keep_best = { metric = \"x\", mode = \"maxi\" }": `/c.toml:8: retention.keep_best.mode: found "maxi", expected "min" or "max", did you mean "max"?`,
		"keep_best = { metric = \"x\", most = 1 }":        `/c.toml:8: retention.keep_best.most: found an unknown key, expected one of "metric", "mode" or "n", did you mean "mode"?`,
		"keep_best = 3":                                   `/c.toml:8: retention.keep_best: found the number 3, expected a table keep_best = { … }`,
		"keep_newest = 1":                                 `/c.toml:8: retention.keep_newest: found an unknown key, expected one of "keep_last", "keep_every" or "keep_best", did you mean "keep_best"?`,
	} {
		_, err := Parse("/c.toml", head+text)
		require.ErrorContains(t, err, want, text)
	}
}
