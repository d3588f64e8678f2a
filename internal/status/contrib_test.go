package status

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// offered are the metrics that there are, with their labels. Prometheus adds job and instance.
func offered(t *testing.T) map[string][]string {
	t.Helper()
	_, m := metrics()
	families, err := m.registry.Gather()
	require.NoError(t, err)
	all := make(map[string][]string)
	for _, f := range families {
		labels := []string{"job", "instance"}
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		if f.GetType().String() == "HISTOGRAM" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				all[f.GetName()+suffix] = append(slices.Clone(labels), "le")
			}
			continue
		}
		all[f.GetName()] = labels
	}
	return all
}

var (
	ourMetric  = regexp.MustCompile(`\b(bundlewatch_[a-z_]+)\b(?:\{([^}]*)\})?`)
	matcher    = regexp.MustCompile(`([a-z_]+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping   = regexp.MustCompile(`\bby \(([^)]*)\)`)
	legend     = regexp.MustCompile(`\{\{\s*(?:\$labels\.)?([a-z]+)\s*\}\}`)
	alertValue = regexp.MustCompile(`^[a-z_|]+$`)
)

// checkQuery holds every metric and label of a query to those that there are, and returns the labels that its result
// can have.
func checkQuery(t *testing.T, query string, all map[string][]string) (labels []string) {
	t.Helper()
	found := ourMetric.FindAllStringSubmatch(query, -1)
	for _, f := range found {
		require.Contains(t, all, f[1], "in %s", query)
		labels = append(labels, all[f[1]]...)
		for _, m := range matcher.FindAllStringSubmatch(f[2], -1) {
			require.Contains(t, all[f[1]], m[1], "%s has no such label, in %s", f[1], query)
			if m[1] == "alert" && alertValue.MatchString(m[2]) {
				for _, name := range strings.Split(m[2], "|") {
					require.Contains(t, slices.Concat(watchAlerts, destinationAlerts, otherAlerts), AlertName(name), query)
				}
			}
		}
	}
	for _, g := range grouping.FindAllStringSubmatch(query, -1) {
		for _, name := range strings.Split(g[1], ",") {
			require.Contains(t, labels, strings.TrimSpace(name), query)
		}
	}
	return labels
}

type dashboard struct {
	UID        string `json:"uid"`
	Templating struct {
		List []struct{ Name, Definition string } `json:"list"`
	} `json:"templating"`
	Panels []struct {
		ID      int    `json:"id"`
		Type    string `json:"type"`
		Title   string `json:"title"`
		GridPos struct{ X, Y, W, H int }
		Targets []struct {
			Expr         string `json:"expr"`
			LegendFormat string `json:"legendFormat"`
			Datasource   struct{ UID string }
		} `json:"targets"`
	} `json:"panels"`
}

// The dashboard shows only what there is, and names no data source of somebody's own.
func TestDashboardShowsWhatThereIs(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "contrib", "grafana", "bundlewatch.json"))
	require.NoError(t, err)
	var d dashboard
	require.NoError(t, json.Unmarshal(data, &d))
	all := offered(t)
	ids, queries := make(map[int]bool), 0
	for _, v := range d.Templating.List {
		checkQuery(t, v.Definition, all)
	}
	for _, p := range d.Panels {
		require.False(t, ids[p.ID], "two panels have the id %d", p.ID)
		ids[p.ID] = true
		require.NotEmpty(t, p.Title)
		require.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for _, target := range p.Targets {
			queries++
			labels := checkQuery(t, target.Expr, all)
			require.NotEmpty(t, labels, "%s asks for no metric of ours: %s", p.Title, target.Expr)
			require.Equal(t, "${datasource}", target.Datasource.UID)
			for _, l := range legend.FindAllStringSubmatch(target.LegendFormat, -1) {
				require.Contains(t, labels, l[1], p.Title)
			}
		}
	}
	require.Greater(t, queries, 30)
	require.NotContains(t, string(data), "http", "nothing leads anywhere")
	for name := range all {
		if strings.HasPrefix(name, "bundlewatch_artifacts_") {
			require.Contains(t, string(data), name, "room is shown whole")
		}
	}
}

// The rules ask only for what there is. What promtool says of them is for test/contrib.
func TestRulesAskForWhatThereIs(t *testing.T) {
	all := offered(t)
	for _, name := range []string{"rules.yml", "rules_test.yml"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "contrib", "prometheus", name))
		require.NoError(t, err)
		n := 0
		for line := range strings.Lines(string(data)) {
			if _, query, ok := strings.Cut(line, " expr: "); ok {
				checkQuery(t, query, all)
				n++
			} else if strings.Contains(line, "series: ") {
				checkQuery(t, line, all)
				n++
			}
		}
		require.Greater(t, n, 8, name)
		if name == "rules.yml" {
			require.Equal(t, strings.Count(string(data), "- alert:"), n)
		}
	}
}

// docs/alerts.md has a row for every alert.
func TestAlertPageIsComplete(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "alerts.md"))
	require.NoError(t, err)
	rows := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (watch|destination)? ?\\|").FindAllStringSubmatch(string(page), -1)
	got := make(map[string]string)
	for _, row := range rows {
		got[row[1]] = row[2]
	}
	want := make(map[string]string)
	for of, names := range map[string][]AlertName{"watch": watchAlerts, "destination": destinationAlerts, "": otherAlerts} {
		for _, name := range names {
			want[string(name)] = of
		}
	}
	require.Equal(t, want, got)
}

// A metric that is not there is found.
func TestQueriesAreChecked(t *testing.T) {
	all := offered(t)
	require.Equal(t, []string{"job", "instance", "alert", "destination", "watch"}, checkQuery(t, `bundlewatch_alerts{alert="budget"} > 0`, all))
	require.NotContains(t, all, "bundlewatch_nothing")
	require.Contains(t, all["bundlewatch_set_latency_seconds_bucket"], "le")
}
