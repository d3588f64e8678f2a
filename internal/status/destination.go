package status

import (
	"fmt"
	"math"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Destination is where bundles are sent to, and what still has to go there.
type Destination struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Address string `json:"address"`
	// Probe is the last one that a store answered; none before it, and of a registry.
	Probe *Probe `json:"probe,omitempty"`
	// Listed tells that the whole artifact directory was looked at, so that nothing is missing in the numbers.
	Listed bool `json:"listed"`
	// Unchecked are the bundles of which it is not known yet whether the destination holds them.
	Unchecked    int   `json:"unchecked"`
	Pending      int   `json:"pending"` // bundles that the destination has not
	PendingBytes int64 `json:"pending_bytes"`
	// Oldest is the one of these that was published first; also one that was published since the start and of which the
	// destination could not be asked yet.
	Oldest    *Unsent   `json:"oldest_pending,omitempty"`
	Sending   []Sending `json:"sending,omitempty"`
	Rate      int64     `json:"bytes_per_second"` // over the last half minute
	ETA       float64   `json:"eta_seconds,omitempty"`
	Sent      int       `json:"sent"` // bundles, since the start
	SentBytes int64     `json:"sent_bytes"`
	Failures  int       `json:"failures"` // attempts that are made again
	// Error is why the last attempt failed; none when it did not. Since is when that began, Retry when it is tried again.
	Error string     `json:"error,omitempty"`
	Since *time.Time `json:"failing_since,omitempty"`
	Retry *time.Time `json:"retry_at,omitempty"`
	// Conflicts and Refused count the bundles that cannot go there as they are, Damaged those of the refused ones that are
	// damaged here. Refusals are the first of them.
	Conflicts int          `json:"conflicts"`
	Refused   int          `json:"refused"`
	Damaged   int          `json:"damaged"`
	Refusals  []Unsendable `json:"refusals,omitempty"`
	// Sweeps tells of the sweeps of a store, where this daemon does them.
	Sweeps *Sweeps `json:"sweeps,omitempty"`
}

// Sweeps is what a daemon removed from a store that nobody will miss, since the start.
type Sweeps struct {
	Objects  int        `json:"objects"`
	Bytes    int64      `json:"bytes"`
	Failures int        `json:"failures"`
	Last     *time.Time `json:"last,omitempty"`  // when the last one that did not fail began
	Error    string     `json:"error,omitempty"` // why the last one failed; none when it did not
}

// Class is what a store can be relied on for: docs/store.md.
type Class string

// The classes.
const (
	ClassA Class = "A" // everything that was asked for
	ClassB Class = "B" // names are safe; a condition on large objects, or attested checksums, are missing
	ClassC Class = "C" // a second name may replace the first
)

var classes = []Class{ClassA, ClassB, ClassC}

// Probe is what a store was seen to do.
type Probe struct {
	Class Class     `json:"class"`
	At    time.Time `json:"at"`
	Lacks []string  `json:"lacks,omitempty"` // what keeps it from class A
	// ClockAhead is by how many seconds the clock of this host is ahead of the store's; 0 when they are about the same.
	ClockAhead float64 `json:"clock_ahead_seconds,omitempty"`
	// Refused tells that nothing is sent there because of it.
	Refused bool `json:"refused"`
}

// ClockText says for people that the clocks of host and store differ, "" when they do not.
func ClockText(ahead float64) string {
	of := time.Duration(math.Abs(ahead)) * time.Second
	switch {
	case ahead > 0:
		return fmt.Sprintf("the clock of this host is %v ahead of that of the store: set it (timedatectl), beyond 15 minutes nothing is taken", of)
	case ahead < 0:
		return fmt.Sprintf("the clock of this host is %v behind that of the store: set it (timedatectl), beyond 15 minutes nothing is taken", of)
	}
	return ""
}

// Unsent is a bundle that has not gone yet.
type Unsent struct {
	Watch     string    `json:"watch"`
	Key       string    `json:"key"`
	Published time.Time `json:"published"`
}

// Sending is a bundle on its way.
type Sending struct {
	Watch   string    `json:"watch"`
	Key     string    `json:"key"`
	Bytes   int64     `json:"bytes"`
	Total   int64     `json:"total_bytes"`
	Started time.Time `json:"started"`
}

// Percent tells how much of a bundle has gone.
func (s Sending) Percent() int { return int(100 * s.Bytes / max(s.Total, 1)) }

// Unsendable is a bundle that the destination does not take.
type Unsendable struct {
	Watch string `json:"watch"`
	Key   string `json:"key"`
	// Conflict tells that other content is there under the bundle's name.
	Conflict bool `json:"conflict"`
	// Damaged tells that the bundle here is not what was published, or cannot be read.
	Damaged bool      `json:"damaged"`
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
}

var destinationLabel = []string{"destination"}

// perDestination reads one value of each destination.
func perDestination(value func(d *Destination) float64) func(*Snapshot, func(float64, ...string)) {
	return func(s *Snapshot, set func(float64, ...string)) {
		for i := range s.Destinations {
			set(value(&s.Destinations[i]), s.Destinations[i].Name)
		}
	}
}

// perSweeper reads one value of each store that this daemon sweeps.
func perSweeper(value func(s *Sweeps) float64) func(*Snapshot, func(float64, ...string)) {
	return func(s *Snapshot, set func(float64, ...string)) {
		for i := range s.Destinations {
			if sweeps := s.Destinations[i].Sweeps; sweeps != nil {
				set(value(sweeps), s.Destinations[i].Name)
			}
		}
	}
}

var destinationGauges = []gauge{
	{family{"bundlewatch_destination_unchecked_bundles", destinationLabel, "Bundles of which it is not known yet whether the destination holds them."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.Unchecked) })},
	{family{"bundlewatch_destination_pending_bundles", destinationLabel, "Bundles that the destination has not and that still go there."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.Pending) })},
	{family{"bundlewatch_destination_pending_bytes", destinationLabel, "Bytes of their archives."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.PendingBytes) })},
	{family{"bundlewatch_destination_oldest_pending_timestamp_seconds", destinationLabel, "When the oldest of them was published; 0 when there is none."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 {
			if d.Oldest == nil {
				return 0
			}
			return stamp(&d.Oldest.Published)
		})},
	{family{"bundlewatch_destination_bytes_per_second", destinationLabel, "Bytes that are sent in a second, over the last half minute."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.Rate) })},
	{family{"bundlewatch_destination_eta_seconds", destinationLabel, "Seconds until nothing is pending at that rate; 0 when nothing is, -1 when it cannot be told."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 {
			if d.Pending > 0 && d.ETA == 0 {
				return -1
			}
			return d.ETA
		})},
	{family{"bundlewatch_destination_class", []string{"destination", "class"}, "1 for the class that the last probe of a store found, else 0."}, prometheus.GaugeValue,
		func(s *Snapshot, set func(float64, ...string)) {
			for i := range s.Destinations {
				d := &s.Destinations[i]
				for _, c := range classes {
					set(truth(d.Probe != nil && d.Probe.Class == c), d.Name, string(c))
				}
			}
		}},
	{family{"bundlewatch_destination_class_refused", destinationLabel, "Whether nothing is sent there because of its class."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return truth(d.Probe != nil && d.Probe.Refused) })},
	{family{"bundlewatch_destination_last_probe_timestamp_seconds", destinationLabel, "When a store was probed last; 0 for never."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 {
			if d.Probe == nil {
				return 0
			}
			return stamp(&d.Probe.At)
		})},
	{family{"bundlewatch_destination_sent_bundles_total", destinationLabel, "Bundles that were sent and are proved to be there."}, prometheus.CounterValue,
		perDestination(func(d *Destination) float64 { return float64(d.Sent) })},
	{family{"bundlewatch_destination_sent_bytes_total", destinationLabel, "Bytes that were sent, also in attempts that failed."}, prometheus.CounterValue,
		perDestination(func(d *Destination) float64 { return float64(d.SentBytes) })},
	{family{"bundlewatch_destination_failures_total", destinationLabel, "Attempts to ask or send that failed and are made again."}, prometheus.CounterValue,
		perDestination(func(d *Destination) float64 { return float64(d.Failures) })},
	{family{"bundlewatch_destination_failing", destinationLabel, "Whether the last attempt failed."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return truth(d.Error != "") })},
	{family{"bundlewatch_destination_conflicts", destinationLabel, "Bundles that cannot go there because other content has their name."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.Conflicts) })},
	{family{"bundlewatch_destination_refused_bundles", destinationLabel, "Bundles that cannot go there for another reason."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.Refused) })},
	{family{"bundlewatch_destination_damaged_bundles", destinationLabel, "Those of them that are damaged here, or cannot be read."}, prometheus.GaugeValue,
		perDestination(func(d *Destination) float64 { return float64(d.Damaged) })},
	{family{"bundlewatch_destination_swept_objects_total", destinationLabel, "Objects and uploads that this daemon swept from the store."}, prometheus.CounterValue,
		perSweeper(func(s *Sweeps) float64 { return float64(s.Objects) })},
	{family{"bundlewatch_destination_swept_bytes_total", destinationLabel, "Bytes of these objects, as far as they are known."}, prometheus.CounterValue,
		perSweeper(func(s *Sweeps) float64 { return float64(s.Bytes) })},
	{family{"bundlewatch_destination_sweep_failures_total", destinationLabel, "Sweeps of the store that failed and are made again."}, prometheus.CounterValue,
		perSweeper(func(s *Sweeps) float64 { return float64(s.Failures) })},
	{family{"bundlewatch_destination_last_sweep_timestamp_seconds", destinationLabel, "When the last sweep that did not fail began; 0 before the first."}, prometheus.GaugeValue,
		perSweeper(func(s *Sweeps) float64 {
			if s.Last == nil {
				return 0
			}
			return stamp(s.Last)
		})},
}
