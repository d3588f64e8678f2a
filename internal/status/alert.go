package status

import (
	"fmt"
	"time"
)

// AlertName says what an alert is about, as a label.
type AlertName string

// The alerts. They are documented in docs/alerts.md.
const (
	AlertRunStalled   AlertName = "run_stalled"   // a run is active and brings no set
	AlertRefusal      AlertName = "refusal"       // something was refused within the last hour
	AlertRootGone     AlertName = "root_gone"     // the root of a watch is not there
	AlertRootHung     AlertName = "root_hung"     // its file system does not answer
	AlertRootDegraded AlertName = "root_degraded" // it is polled although it should not be, or parts of it cannot be listed
	AlertPackStalled  AlertName = "pack_stalled"  // no byte of a pack moves
	AlertFreeSpace    AlertName = "free_space"    // less than the floor is free, or a bundle does not fit above it
	AlertBudget       AlertName = "budget"        // the budget is used up, or a bundle does not fit into what is left
	AlertArtifacts    AlertName = "artifacts"     // the artifact directory cannot be written
	AlertRetention    AlertName = "retention"     // rules cannot be applied
	AlertConfig       AlertName = "config"        // a reload was refused
	AlertNotify       AlertName = "notify"        // a [[notify]] block cannot deliver

	AlertDestinationDown     AlertName = "destination_down"     // it cannot be used for long
	AlertDestinationBehind   AlertName = "destination_behind"   // it has not got a bundle that was published long ago
	AlertDestinationConflict AlertName = "destination_conflict" // it holds other content under the name of a bundle
	AlertDestinationDamage   AlertName = "destination_damage"   // a bundle does not go there because it is damaged here
	AlertDestinationClass    AlertName = "destination_class"    // it is not used because of what a probe found
)

// watchAlerts are about a watch, destinationAlerts about a destination, otherAlerts about none.
var (
	watchAlerts       = []AlertName{AlertRunStalled, AlertRefusal, AlertRootGone, AlertRootHung, AlertRootDegraded, AlertPackStalled}
	destinationAlerts = []AlertName{AlertDestinationDown, AlertDestinationBehind, AlertDestinationConflict, AlertDestinationDamage, AlertDestinationClass}
	otherAlerts       = []AlertName{AlertFreeSpace, AlertBudget, AlertArtifacts, AlertRetention, AlertConfig, AlertNotify}
)

// Alert is something that a person should look at, as long as it holds.
type Alert struct {
	Name        AlertName `json:"name"`
	Watch       string    `json:"watch,omitempty"`
	Run         string    `json:"run,omitempty"`
	Destination string    `json:"destination,omitempty"`
	Text        string    `json:"text"`
	Since       time.Time `json:"since"`
}

// Stalled is a run that is active and brings no set.
type Stalled struct {
	Run      string    `json:"run"`
	Last     time.Time `json:"last"`             // when its last set became complete
	Interval float64   `json:"interval_seconds"` // the usual time between two sets
	Active   string    `json:"active"`           // how that is known
}

// Retention is what became of the rules; there is none without rules.
type Retention struct {
	LastPass *time.Time `json:"last_pass,omitempty"`
	Seconds  float64    `json:"seconds"` // that it took
	Pruned   int        `json:"pruned"`  // bundles since the start
	Bytes    int64      `json:"pruned_bytes"`
	Failures int        `json:"failures"` // since the start
	// Failing is why the rules could not be applied by the last pass, Since when that began.
	Failing string     `json:"failing,omitempty"`
	Since   *time.Time `json:"since,omitempty"`
}

// Forecast says when the artifact directory is full, if it goes on like this.
type Forecast struct {
	// BytesPerDay is what was published less what was pruned, over the last seven days or since the first bundle.
	BytesPerDay float64  `json:"bytes_per_day"`
	ToFloor     *float64 `json:"days_to_floor,omitempty"`  // until less than the floor is free; none when it does not grow
	ToBudget    *float64 `json:"days_to_budget,omitempty"` // until the budget is used up; none without one
}

// Text says for people how long there is room, and full what there is at the end of it.
func (f *Forecast) Text(full string) string {
	if f.BytesPerDay < 1 {
		return "not growing"
	}
	text := "growing by " + Size(int64(f.BytesPerDay)) + " a day"
	if f.ToBudget != nil {
		text += fmt.Sprintf(", %.1f days until the budget is used up", *f.ToBudget)
	}
	if f.ToFloor != nil {
		text += fmt.Sprintf(", %.1f days until %s", *f.ToFloor, full)
	}
	return text
}

// Notify is a [[notify]] block. Numbers count messages since the start, or since the block was changed.
type Notify struct {
	Name      string     `json:"name"`
	Kind      string     `json:"kind"` // command or webhook
	To        string     `json:"to,omitempty"`
	Queued    int        `json:"queued"`
	Delivered int        `json:"delivered"`
	Failed    int        `json:"failed"` // given up
	Dropped   int        `json:"dropped"`
	Retried   int        `json:"retried"`
	Failing   *time.Time `json:"failing_since,omitempty"`
	Error     string     `json:"error,omitempty"`
}

// perTarget reads one value of each [[notify]] block.
func perTarget(value func(n *Notify) float64) func(*Snapshot, func(float64, ...string)) {
	return func(s *Snapshot, set func(float64, ...string)) {
		for i := range s.Notify {
			set(value(&s.Notify[i]), s.Notify[i].Name)
		}
	}
}

// countAlerts sets a value for every alert that there can be.
func countAlerts(s *Snapshot, set func(float64, ...string)) {
	type series struct {
		name               AlertName
		watch, destination string
	}
	counts := make(map[series]int)
	for _, a := range s.Alerts {
		counts[series{a.Name, a.Watch, a.Destination}]++
	}
	count := func(of series) { set(float64(counts[of]), string(of.name), of.watch, of.destination) }
	for _, name := range otherAlerts {
		count(series{name: name})
	}
	for _, name := range watchAlerts {
		for i := range s.Watches {
			count(series{name: name, watch: s.Watches[i].Name})
		}
	}
	for _, name := range destinationAlerts {
		for i := range s.Destinations {
			count(series{name: name, destination: s.Destinations[i].Name})
		}
	}
}

// secondsTo writes a forecast as a metric: -1 for never, or where nothing can be told.
func secondsTo(s *Snapshot, of func(*Forecast) *float64) float64 {
	if s.Forecast == nil || of(s.Forecast) == nil {
		return -1
	}
	return *of(s.Forecast) * 24 * 3600
}

var targetLabel = []string{"target"}

// operatorGauges are about room, retention, alerts and notifications.
var operatorGauges = []gauge{
	{family{"bundlewatch_artifacts_used_bytes", nil, "What all files of the artifact directory take; 0 before it was measured."}, gaugeValue,
		one(func(s *Snapshot) float64 { return float64(s.Artifacts.Used) })},
	{family{"bundlewatch_artifacts_budget_bytes", nil, "What they may take; 0 for any number."}, gaugeValue,
		one(func(s *Snapshot) float64 { return float64(s.Artifacts.Budget) })},
	{family{"bundlewatch_artifacts_growth_bytes_per_day", nil, "What was published less what was pruned, per day; 0 while there is too little to tell from."}, gaugeValue,
		one(func(s *Snapshot) float64 {
			if s.Forecast == nil {
				return 0
			}
			return s.Forecast.BytesPerDay
		})},
	{family{"bundlewatch_artifacts_seconds_to_floor", nil, "Seconds until less than the floor is free, if it goes on like this; -1 for never, or when it cannot be told."}, gaugeValue,
		one(func(s *Snapshot) float64 { return secondsTo(s, func(f *Forecast) *float64 { return f.ToFloor }) })},
	{family{"bundlewatch_artifacts_seconds_to_budget", nil, "Seconds until the budget is used up, if it goes on like this; -1 for never, or when it cannot be told."}, gaugeValue,
		one(func(s *Snapshot) float64 { return secondsTo(s, func(f *Forecast) *float64 { return f.ToBudget }) })},
	{family{"bundlewatch_retention_last_pass_timestamp_seconds", nil, "When retention was applied last; 0 for never."}, gaugeValue,
		one(func(s *Snapshot) float64 {
			if s.Retention == nil {
				return 0
			}
			return stamp(s.Retention.LastPass)
		})},
	{family{"bundlewatch_retention_failing", nil, "Whether rules could not be applied by the last pass."}, gaugeValue,
		one(func(s *Snapshot) float64 { return truth(s.Retention != nil && s.Retention.Failing != "") })},
	{family{"bundlewatch_alerts", []string{"alert", "watch", "destination"}, "Alerts that hold, by name; watch and destination are empty for those that concern none."}, gaugeValue, countAlerts},
	{family{"bundlewatch_notify_queue", targetLabel, "Messages that wait to be delivered."}, gaugeValue,
		perTarget(func(n *Notify) float64 { return float64(n.Queued) })},
	{family{"bundlewatch_notify_failing", targetLabel, "Whether the last attempt to deliver failed."}, gaugeValue,
		perTarget(func(n *Notify) float64 { return truth(n.Failing != nil) })},
	{family{"bundlewatch_notify_retries_total", targetLabel, "Attempts to deliver after the first of a message."}, counterValue,
		perTarget(func(n *Notify) float64 { return float64(n.Retried) })},
	{family{"bundlewatch_notifications_total", []string{"target", "result"}, "Messages, by what became of them: delivered, failed, dropped."}, counterValue,
		func(s *Snapshot, set func(float64, ...string)) {
			for _, n := range s.Notify {
				set(float64(n.Delivered), n.Name, "delivered")
				set(float64(n.Failed), n.Name, "failed")
				set(float64(n.Dropped), n.Name, "dropped")
			}
		}},
}
