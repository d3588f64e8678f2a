package status

import (
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// RefusalReason is why something is refused, as a label.
type RefusalReason string

// The reasons of refusals.
const (
	RefusedContent    RefusalReason = "content"     // the file is not whole, or not a checkpoint that can travel
	RefusedConfig     RefusalReason = "config"      // the run's config cannot be frozen or lacks params
	RefusedKey        RefusalReason = "key"         // the key cannot be a path
	RefusedUnreadable RefusalReason = "unreadable"  // permissions
	RefusedNotRegular RefusalReason = "not_regular" // a link, pipe, socket or device
	RefusedOther      RefusalReason = "other"
)

var refusalReasons = []RefusalReason{RefusedContent, RefusedConfig, RefusedKey, RefusedUnreadable, RefusedNotRegular, RefusedOther}

// FailureReason is why an attempt failed that is made again, as a label.
type FailureReason string

// The reasons of failures.
const (
	FailedSpace    FailureReason = "space"     // no room, or a quota
	FailedReadOnly FailureReason = "read_only" // the artifact file system
	FailedIO       FailureReason = "io"
	FailedDenied   FailureReason = "denied" // permissions
	FailedOther    FailureReason = "other"
)

var failureReasons = []FailureReason{FailedSpace, FailedReadOnly, FailedIO, FailedDenied, FailedOther}

// family is what is said of a metric. docs/metrics.md is made of it.
type family struct {
	name   string
	labels []string
	help   string
}

var (
	watchLabel  = []string{"watch"}
	reasonLabel = []string{"watch", "reason"}

	published  = family{"bundlewatch_bundles_published_total", watchLabel, "Bundles that were published."}
	completed  = family{"bundlewatch_sets_completed_total", watchLabel, "Sets that became complete and were queued."}
	expired    = family{"bundlewatch_sets_expired_total", watchLabel, "Sets that waited for longer than expire."}
	refused    = family{"bundlewatch_refusals_total", reasonLabel, "Files and sets that could not be bundled as they were."}
	failures   = family{"bundlewatch_failures_total", reasonLabel, "Attempts that failed for the world around them and are made again."}
	retries    = family{"bundlewatch_pack_retries_total", watchLabel, "Packs that were discarded because a member changed or something failed."}
	packed     = family{"bundlewatch_pack_bytes_total", watchLabel, "Bytes of members that were written into archives, discarded ones too."}
	packTime   = family{"bundlewatch_pack_duration_seconds", watchLabel, "Time from the first read of a bundle that was published to its name."}
	nameTime   = family{"bundlewatch_publish_duration_seconds", watchLabel, "Time to seal a packed bundle and give it its name."}
	latency    = family{"bundlewatch_set_latency_seconds", watchLabel, "Time from the completion of a set to its bundle."}
	pruned     = family{"bundlewatch_bundles_pruned_total", watchLabel, "Bundles whose archive retention removed."}
	prunedSize = family{"bundlewatch_pruned_bytes_total", watchLabel, "Bytes of archives that retention removed."}
	pruneFails = family{"bundlewatch_prune_failures_total", watchLabel, "Bundles that could not be pruned, and passes of retention that failed."}
	scans      = family{"bundlewatch_scans_total", watchLabel, "Listings of the whole root."}
	scanTime   = family{"bundlewatch_scan_duration_seconds", watchLabel, "Time that a listing of the whole root took."}
	reloads    = family{"bundlewatch_config_reloads_total", []string{"result"}, "Requests to read the config again; result is ok or refused."}
	packBounds = []float64{0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000}
	nameBounds = []float64{0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100}
	scanBounds = []float64{0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000}
)

// Metrics counts what happens, and shows the snapshots of a board as gauges. It may be used from any
// goroutine.
type Metrics struct {
	registry *prometheus.Registry
	watches  []string

	published, completed, expired, refused, failures, retries, packed, scans, reloads *prometheus.CounterVec
	pruned, prunedSize, pruneFails                                                    *prometheus.CounterVec
	packTime, nameTime, latency, scanTime                                             *prometheus.HistogramVec
}

// NewMetrics returns metrics of the program with that version.
func NewMetrics(board *Board, version string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	for _, c := range []struct {
		into **prometheus.CounterVec
		of   family
	}{{&m.published, published}, {&m.completed, completed}, {&m.expired, expired}, {&m.refused, refused}, {&m.failures, failures},
		{&m.retries, retries}, {&m.packed, packed}, {&m.scans, scans}, {&m.reloads, reloads},
		{&m.pruned, pruned}, {&m.prunedSize, prunedSize}, {&m.pruneFails, pruneFails}} {
		*c.into = prometheus.NewCounterVec(prometheus.CounterOpts{Name: c.of.name, Help: c.of.help}, c.of.labels)
		m.registry.MustRegister(*c.into)
	}
	for _, h := range []struct {
		into   **prometheus.HistogramVec
		of     family
		bounds []float64
	}{{&m.packTime, packTime, packBounds}, {&m.nameTime, nameTime, nameBounds}, {&m.latency, latency, packBounds}, {&m.scanTime, scanTime, scanBounds}} {
		*h.into = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: h.of.name, Help: h.of.help, Buckets: h.bounds}, h.of.labels)
		m.registry.MustRegister(*h.into)
	}
	m.registry.MustRegister(&shown{board: board, version: version}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.reloads.WithLabelValues("ok")
	m.reloads.WithLabelValues("refused")
	return m
}

// Watches makes the series of the watches that there are, and forgets those of others. It is called from
// one goroutine.
func (m *Metrics) Watches(names []string) {
	for _, gone := range m.watches {
		if !slices.Contains(names, gone) {
			m.forget(prometheus.Labels{"watch": gone})
		}
	}
	m.watches = slices.Clone(names)
	for _, name := range names {
		m.create(name)
	}
}

func (m *Metrics) forget(labels prometheus.Labels) {
	for _, v := range []*prometheus.CounterVec{m.published, m.completed, m.expired, m.refused, m.failures, m.retries, m.packed, m.scans, m.pruned, m.prunedSize, m.pruneFails} {
		v.DeletePartialMatch(labels)
	}
	for _, v := range []*prometheus.HistogramVec{m.packTime, m.nameTime, m.latency, m.scanTime} {
		v.DeletePartialMatch(labels)
	}
}

func (m *Metrics) create(watch string) {
	for _, v := range []*prometheus.CounterVec{m.published, m.completed, m.expired, m.retries, m.packed, m.scans, m.pruned, m.prunedSize, m.pruneFails} {
		v.WithLabelValues(watch)
	}
	for _, v := range []*prometheus.HistogramVec{m.packTime, m.nameTime, m.latency, m.scanTime} {
		v.WithLabelValues(watch)
	}
	for _, reason := range refusalReasons {
		m.refused.WithLabelValues(watch, string(reason))
	}
	for _, reason := range failureReasons {
		m.failures.WithLabelValues(watch, string(reason))
	}
}

// Completed counts a set that became complete.
func (m *Metrics) Completed(watch string) { m.completed.WithLabelValues(watch).Inc() }

// Expired counts a set that has waited too long.
func (m *Metrics) Expired(watch string) { m.expired.WithLabelValues(watch).Inc() }

// Refused counts a refusal.
func (m *Metrics) Refused(watch string, why RefusalReason) {
	m.refused.WithLabelValues(watch, string(why)).Inc()
}

// Failed counts a failure.
func (m *Metrics) Failed(watch string, why FailureReason) {
	m.failures.WithLabelValues(watch, string(why)).Inc()
}

// Pruned counts a bundle whose archive of so many bytes was removed.
func (m *Metrics) Pruned(watch string, bytes int64) {
	m.pruned.WithLabelValues(watch).Inc()
	m.prunedSize.WithLabelValues(watch).Add(float64(bytes))
}

// PruneFailed counts a failure of retention.
func (m *Metrics) PruneFailed(watch string) { m.pruneFails.WithLabelValues(watch).Inc() }

// Retried counts a pack that was discarded.
func (m *Metrics) Retried(watch string) { m.retries.WithLabelValues(watch).Inc() }

// Packed counts bytes that were written into an archive.
func (m *Metrics) Packed(watch string, bytes int64) {
	m.packed.WithLabelValues(watch).Add(float64(bytes))
}

// Published counts a bundle: how long packing it and giving it its name took, and how long ago its set
// became complete.
func (m *Metrics) Published(watch string, packing, naming, since time.Duration) {
	m.published.WithLabelValues(watch).Inc()
	m.packTime.WithLabelValues(watch).Observe(packing.Seconds())
	m.nameTime.WithLabelValues(watch).Observe(naming.Seconds())
	m.latency.WithLabelValues(watch).Observe(since.Seconds())
}

// Scanned counts a listing of a root.
func (m *Metrics) Scanned(watch string, took time.Duration) {
	m.scans.WithLabelValues(watch).Inc()
	m.scanTime.WithLabelValues(watch).Observe(took.Seconds())
}

// Reloaded counts a request to reload.
func (m *Metrics) Reloaded(ok bool) {
	if ok {
		m.reloads.WithLabelValues("ok").Inc()
	} else {
		m.reloads.WithLabelValues("refused").Inc()
	}
}

func goVersion() string { return runtime.Version() }
