package status

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// The server gives a client half a second to read why it was sent away.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

var update = flag.Bool("update", false, "write docs/metrics.md instead of comparing it")

// full is a snapshot in which everything happens.
func full() *Snapshot {
	then := time.Unix(1_700_000_000, 500_000_000)
	half := 0.5
	call := &Call{Op: "read", Path: "/data/x", Since: then, Seconds: 31}
	return &Snapshot{
		At: then, Tool: "bundlewatch test", PID: 7, Ready: true, Problems: []string{},
		Artifacts: Artifacts{Dir: "/a", Free: 5, Size: 10, Floor: 6, Used: 11, Budget: 12, Stopped: "5 B are free"},
		Alerts: []Alert{{Name: AlertRefusal, Watch: "w", Text: "x", Since: then}, {Name: AlertBudget, Text: "x", Since: then},
			{Name: AlertDestinationClass, Destination: "lab", Text: "x", Since: then}},
		Retention: &Retention{LastPass: &then, Failing: "x"}, Forecast: &Forecast{BytesPerDay: 7, ToBudget: &half},
		Notify: []Notify{{Name: "n", Kind: "webhook", Queued: 3, Delivered: 4, Dropped: 5, Failing: &then}},
		Limits: Limits{Workers: 2, KeptFiles: 100, Kept: 3},
		Watches: []Watch{{Name: "w", Root: "/data", Path: "/data", Source: "inotify", Hung: call, Overflows: 4,
			Scan: Scan{Count: 2, Ended: &then, Operations: 12},
			Sets: Sets{Known: 5, Pending: map[State]int{Waiting: 2}, Oldest: &then}, Kept: 3}},
		Packs: []Pack{{Watch: "w", Key: "k", Bytes: 5, Total: 10, Stalled: true}, {Watch: "w", Key: "l"}},
		Destinations: []Destination{{Name: "lab", Pending: 2, PendingBytes: 20, Oldest: &Unsent{Watch: "w", Published: then}, Sent: 3, SentBytes: 30, Error: "down",
			Rate: 4, ETA: 5, Conflicts: 6, Refused: 7, Damaged: 5, Probe: &Probe{Class: ClassC, At: then, Refused: true}}, {Name: "idle", Sweeps: &Sweeps{Objects: 4, Bytes: 40, Failures: 1, Last: &then}}, {Name: "stuck", Pending: 1}},
	}
}

func metrics() (*Board, *Metrics) {
	board := &Board{}
	m := NewMetrics(board, "bundlewatch test")
	m.Watches([]string{"w"})
	board.Publish(full())
	return board, m
}

// scraped returns what Prometheus gets.
func scraped(t *testing.T, m *Metrics) string {
	t.Helper()
	code, body := get(t, &Board{}, m, "/metrics")
	require.Equal(t, 200, code)
	return body
}

func TestMetricsFollowTheConventions(t *testing.T) {
	_, m := metrics()
	problems, err := testutil.GatherAndLint(m.registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

func TestSeriesAreThereFromTheStart(t *testing.T) {
	_, m := metrics()
	text := scraped(t, m)
	for _, want := range []string{
		`bundlewatch_bundles_published_total{watch="w"} 0`,
		`bundlewatch_refusals_total{reason="content",watch="w"} 0`,
		`bundlewatch_failures_total{reason="space",watch="w"} 0`,
		`bundlewatch_config_reloads_total{result="refused"} 0`,
		`bundlewatch_pack_duration_seconds_count{watch="w"} 0`,
		`bundlewatch_pending_sets{state="expired",watch="w"} 0`,
		`bundlewatch_pending_sets{state="waiting",watch="w"} 2`,
		`bundlewatch_oldest_pending_timestamp_seconds{watch="w"} 1.7000000005e+09`,
		`bundlewatch_root_hung{watch="w"} 1`,
		`bundlewatch_packs_running 2`,
		`bundlewatch_packs_stalled 1`,
		`bundlewatch_artifacts_stopped 1`,
		`bundlewatch_event_overflows_total{watch="w"} 4`,
		`bundlewatch_build_info{goversion="go`,
		`bundlewatch_alerts{alert="refusal",destination="",watch="w"} 1`,
		`bundlewatch_alerts{alert="run_stalled",destination="",watch="w"} 0`,
		`bundlewatch_alerts{alert="budget",destination="",watch=""} 1`,
		`bundlewatch_alerts{alert="notify",destination="",watch=""} 0`,
		`bundlewatch_artifacts_used_bytes 11`,
		`bundlewatch_artifacts_budget_bytes 12`,
		`bundlewatch_artifacts_growth_bytes_per_day 7`,
		`bundlewatch_artifacts_seconds_to_budget 43200`,
		`bundlewatch_artifacts_seconds_to_floor -1`,
		`bundlewatch_retention_failing 1`,
		`bundlewatch_notify_queue{target="n"} 3`,
		`bundlewatch_notifications_total{result="delivered",target="n"} 4`,
		`bundlewatch_notifications_total{result="dropped",target="n"} 5`,
		`bundlewatch_notify_failing{target="n"} 1`,
		`bundlewatch_prune_failures_total{watch="w"} 0`,
		`bundlewatch_alerts{alert="destination_class",destination="lab",watch=""} 1`,
		`bundlewatch_alerts{alert="destination_down",destination="idle",watch=""} 0`,
		`bundlewatch_destination_pending_bundles{destination="lab"} 2`,
		`bundlewatch_destination_pending_bytes{destination="lab"} 20`,
		`bundlewatch_destination_oldest_pending_timestamp_seconds{destination="lab"} 1.7000000005e+09`,
		`bundlewatch_destination_oldest_pending_timestamp_seconds{destination="idle"} 0`,
		`bundlewatch_destination_bytes_per_second{destination="lab"} 4`,
		`bundlewatch_destination_eta_seconds{destination="lab"} 5`,
		`bundlewatch_destination_eta_seconds{destination="idle"} 0`,
		`bundlewatch_destination_eta_seconds{destination="stuck"} -1`,
		`bundlewatch_destination_class{class="C",destination="lab"} 1`,
		`bundlewatch_destination_class{class="A",destination="lab"} 0`,
		`bundlewatch_destination_class{class="A",destination="idle"} 0`,
		`bundlewatch_destination_class_refused{destination="lab"} 1`,
		`bundlewatch_destination_conflicts{destination="lab"} 6`,
		`bundlewatch_destination_refused_bundles{destination="lab"} 7`,
		`bundlewatch_destination_damaged_bundles{destination="lab"} 5`,
		`bundlewatch_alerts{alert="destination_damage",destination="lab",watch=""} 0`,
		`bundlewatch_destination_last_probe_timestamp_seconds{destination="lab"} 1.7000000005e+09`,
		`bundlewatch_destination_last_probe_timestamp_seconds{destination="idle"} 0`,
	} {
		require.Contains(t, text, want)
	}
}

func TestWatchesComeAndGo(t *testing.T) {
	_, m := metrics()
	m.Published("w", 2*time.Second, time.Second, time.Minute)
	m.Refused("w", RefusedConfig)
	m.Failed("w", FailedIO)
	m.Packed("w", 100)
	m.Scanned("w", time.Second)
	m.Retried("w")
	m.Expired("w")
	m.Completed("w")
	m.Pruned("w", 9)
	m.PruneFailed("w")
	m.Reloaded(true)
	text := scraped(t, m)
	for _, want := range []string{`bundles_published_total{watch="w"} 1`, `refusals_total{reason="config",watch="w"} 1`, `pack_bytes_total{watch="w"} 100`,
		`pack_duration_seconds_sum{watch="w"} 2`, `publish_duration_seconds_sum{watch="w"} 1`, `set_latency_seconds_sum{watch="w"} 60`, `bundles_pruned_total{watch="w"} 1`, `pruned_bytes_total{watch="w"} 9`,
		`prune_failures_total{watch="w"} 1`, `reloads_total{result="ok"} 1`} {
		require.Contains(t, text, want)
	}
	m.Watches([]string{"w", "v"})
	require.Contains(t, scraped(t, m), `bundles_published_total{watch="w"} 1`, "what was counted stays")
	m.Watches([]string{"v"})
	require.NotContains(t, scraped(t, m), `bundles_published_total{watch="w"}`)
	require.Contains(t, scraped(t, m), `refusals_total{reason="other",watch="v"} 0`)
}

// docs/metrics.md lists exactly what is registered.
func TestMetricsPage(t *testing.T) {
	_, m := metrics()
	families, err := m.registry.Gather()
	require.NoError(t, err)
	var rows bytes.Buffer
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "bundlewatch_") {
			continue
		}
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		require.NotContains(t, f.GetHelp(), "|")
		fmt.Fprintf(&rows, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, " "), f.GetHelp())
	}
	var reasons []string
	for _, r := range refusalReasons {
		reasons = append(reasons, "`"+string(r)+"`")
	}
	var causes []string
	for _, r := range failureReasons {
		causes = append(causes, "`"+string(r)+"`")
	}
	head, err := os.ReadFile(filepath.Join("testdata", "metrics.md.tmpl"))
	require.NoError(t, err)
	want := strings.NewReplacer("{{table}}\n", rows.String(), "{{refusals}}", strings.Join(reasons, ", "), "{{failures}}", strings.Join(causes, ", ")).Replace(string(head))
	page := filepath.Join("..", "..", "docs", "metrics.md")
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(want), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, want, string(got), "docs/metrics.md is stale: go generate ./internal/status")
}

// Every metric that is described has series, so that the page is complete.
func TestEveryMetricIsCollected(t *testing.T) {
	_, m := metrics()
	families, err := m.registry.Gather()
	require.NoError(t, err)
	var got []string
	for _, f := range families {
		got = append(got, f.GetName())
	}
	all := []family{published, completed, expired, refused, failures, retries, packed, packTime, nameTime, latency, scans, scanTime, reloads, buildInfo, pruned, prunedSize, pruneFails}
	for _, g := range gauges {
		all = append(all, g.family)
	}
	for _, f := range all {
		require.True(t, slices.Contains(got, f.name), f.name)
	}
	descs := make(chan *prometheus.Desc, 100)
	(&shown{}).Describe(descs)
	require.Len(t, descs, len(gauges)+1)
}
