package config

import "time"

// Alerts say after how long something is an alert. The other alerts need no setting.
type Alerts struct {
	StalledIntervals int           // times the usual interval between two sets of the run; 0 for never
	StalledLeast     time.Duration // and never before that

	DestinationDown   time.Duration // that it fails
	DestinationBehind time.Duration // since the oldest bundle that it has not was published
}

var alertsTable = tableDoc{
	header:  "[alerts]",
	meaning: "When a run counts as stalled, and a destination of bundles as down or behind. Which alerts there are, and how they are told: [alerts](alerts.md).",
	keys: []keyDoc{
		{
			name: "stalled_intervals", kind: "integer", initial: "3",
			meaning: "A run that is active, and of which no set has become complete for so many times its usual interval, raises the alert `run_stalled`. 0 turns it off. At most 1000.",
		},
		{name: "stalled_least", kind: "duration", initial: "10m", meaning: "The alert is not raised before that, however short the usual interval is."},
		{name: "destination_down", kind: "duration", initial: "15m", meaning: "A `[[store]]` or `[[push]]` that has failed for so long raises the alert `destination_down`."},
		{name: "destination_behind", kind: "duration", initial: "24h", meaning: "A bundle that was published so long ago and still has to go to a `[[store]]` or `[[push]]` raises the alert `destination_behind`."},
	},
}

func readAlerts(s section) Alerts {
	return Alerts{StalledIntervals: int(s.integer("stalled_intervals", 0, 1000)), StalledLeast: s.duration("stalled_least", time.Second),
		DestinationDown: s.duration("destination_down", time.Second), DestinationBehind: s.duration("destination_behind", time.Second)}
}
