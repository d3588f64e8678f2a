package status

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// gauge is a metric that is read from the snapshot.
type gauge struct {
	family
	kind prometheus.ValueType
	read func(s *Snapshot, set func(value float64, labels ...string))
}

// perWatch reads one value of each watch.
func perWatch(value func(w *Watch) float64) func(*Snapshot, func(float64, ...string)) {
	return func(s *Snapshot, set func(float64, ...string)) {
		for i := range s.Watches {
			set(value(&s.Watches[i]), s.Watches[i].Name)
		}
	}
}

func one(value func(s *Snapshot) float64) func(*Snapshot, func(float64, ...string)) {
	return func(s *Snapshot, set func(float64, ...string)) { set(value(s)) }
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// stamp writes a time as a metric: 0 for none.
func stamp(t *time.Time) float64 {
	if t == nil {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

var gauges = slices.Concat(operatorGauges, destinationGauges, []gauge{
	{family{"bundlewatch_ready", nil, "Whether every root was listed, or is known to be missing or to hang."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return truth(s.Ready) })},
	{family{"bundlewatch_root_up", watchLabel, "Whether the root is there."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return truth(w.Gone == "" && w.Path != "") })},
	{family{"bundlewatch_root_hung", watchLabel, "Whether a call into the root's file system does not come back."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return truth(w.Hung != nil) })},
	{family{"bundlewatch_root_degraded", watchLabel, "Whether the root is polled because notifications are incomplete."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return truth(w.Degraded != "") })},
	{family{"bundlewatch_root_directories", watchLabel, "Directories below the root."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Directories) })},
	{family{"bundlewatch_root_unreadable_directories", watchLabel, "Directories below the root that cannot be listed."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Unreadable) })},
	{family{"bundlewatch_root_files", watchLabel, "Files below the root that match a pattern."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Files) })},
	{family{"bundlewatch_event_overflows_total", watchLabel, "How often events were lost and the root was listed anew."}, prometheus.CounterValue,
		perWatch(func(w *Watch) float64 { return float64(w.Overflows) })},
	{family{"bundlewatch_last_scan_timestamp_seconds", watchLabel, "When the last listing of the root ended; 0 before the first."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return stamp(w.Scan.Ended) })},
	{family{"bundlewatch_root_operations_total", watchLabel, "Calls into the file system of the root that the watcher made."}, prometheus.CounterValue,
		perWatch(func(w *Watch) float64 { return float64(w.Operations) })},
	{family{"bundlewatch_inotify_watches", watchLabel, "Directories whose changes the kernel reports."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Inotify) })},
	{family{"bundlewatch_last_scan_operations", watchLabel, "Calls into the file system that the last listing of the root took."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Scan.Operations) })},
	{family{"bundlewatch_sets", watchLabel, "Sets whose files are there."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Sets.Known) })},
	{family{"bundlewatch_pending_sets", []string{"watch", "state"}, "Sets that are not published, by what they do: waiting, queued, packing, retrying, regrouping, refused, expired."},
		prometheus.GaugeValue, func(s *Snapshot, set func(float64, ...string)) {
			for i := range s.Watches {
				for _, state := range States {
					set(float64(s.Watches[i].Sets.Pending[state]), s.Watches[i].Name, string(state))
				}
			}
		}},
	{family{"bundlewatch_oldest_pending_timestamp_seconds", watchLabel, "Since when the set waits that waits longest; 0 when none does. Refused and expired ones do not count."},
		prometheus.GaugeValue, perWatch(func(w *Watch) float64 { return stamp(w.Sets.Oldest) })},
	{family{"bundlewatch_last_bundle_timestamp_seconds", watchLabel, "When the last bundle was published; 0 when none was since the start."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return stamp(w.LastBundle) })},
	{family{"bundlewatch_kept_descriptors", watchLabel, "Descriptors of members that are kept open while their sets wait."}, prometheus.GaugeValue,
		perWatch(func(w *Watch) float64 { return float64(w.Kept) })},
	{family{"bundlewatch_kept_descriptors_limit", nil, "How many descriptors may be kept open, over all watches."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return float64(s.Limits.KeptFiles) })},
	{family{"bundlewatch_workers", nil, "How many bundles may be packed at the same time."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return float64(s.Limits.Workers) })},
	{family{"bundlewatch_packs_running", nil, "Bundles that are being packed."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return float64(len(s.Packs)) })},
	{family{"bundlewatch_packs_stalled", nil, "Of these, those of which no byte has moved for a while."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 {
			n := 0
			for _, p := range s.Packs {
				if p.Stalled {
					n++
				}
			}
			return float64(n)
		})},
	{family{"bundlewatch_artifacts_free_bytes", nil, "Free space of the artifact file system."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return float64(s.Artifacts.Free) })},
	{family{"bundlewatch_artifacts_floor_bytes", nil, "How much of it must stay free; 0 for no floor."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return float64(s.Artifacts.Floor) })},
	{family{"bundlewatch_artifacts_stopped", nil, "Whether nothing is started because less than the floor is free."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return truth(s.Artifacts.Stopped != "") })},
	{family{"bundlewatch_artifacts_faulty", nil, "Whether the last attempt to write to the artifact directory failed."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return truth(s.Artifacts.Fault != "") })},
	{family{"bundlewatch_config_last_reload_successful", nil, "Whether the config in force is the one that was read last; 1 before the first reload."}, prometheus.GaugeValue,
		one(func(s *Snapshot) float64 { return truth(s.Reload.Error == "") })},
})

const (
	gaugeValue   = prometheus.GaugeValue
	counterValue = prometheus.CounterValue
)

var buildInfo = family{"bundlewatch_build_info", []string{"version", "goversion"}, "Always 1: the version of the program and of Go."}

// shown collects the gauges from the last snapshot.
type shown struct {
	board   *Board
	version string
}

func (f family) desc() *prometheus.Desc {
	return prometheus.NewDesc(f.name, f.help, f.labels, nil)
}

// Describe implements prometheus.Collector.
func (c *shown) Describe(out chan<- *prometheus.Desc) {
	for _, g := range gauges {
		out <- g.desc()
	}
	out <- buildInfo.desc()
}

// Collect implements prometheus.Collector.
func (c *shown) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(buildInfo.desc(), prometheus.GaugeValue, 1, c.version, goVersion())
	s := c.board.Last()
	if s == nil {
		return
	}
	for _, g := range gauges {
		desc := g.desc()
		g.read(s, func(value float64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, g.kind, value, labels...)
		})
	}
}
