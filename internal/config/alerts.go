package config

import "time"

// Alerts say when a run that is active and brings no set is an alert. The other alerts need no setting.
type Alerts struct {
	StalledIntervals int           // times the usual interval between two sets of the run; 0 for never
	StalledLeast     time.Duration // and never before that
}

var alertsTable = tableDoc{
	header:  "[alerts]",
	meaning: "When a run counts as stalled. Which alerts there are, and how they are told: [alerts](alerts.md).",
	keys: []keyDoc{
		{
			name: "stalled_intervals", kind: "integer", initial: "3",
			meaning: "A run that is active, and of which no set has become complete for so many times its usual interval, raises the alert `run_stalled`. 0 turns it off. At most 1000.",
		},
		{name: "stalled_least", kind: "duration", initial: "10m", meaning: "The alert is not raised before that, however short the usual interval is."},
	},
}

func readAlerts(s section) Alerts {
	return Alerts{StalledIntervals: int(s.integer("stalled_intervals", 0, 1000)), StalledLeast: s.duration("stalled_least", time.Second)}
}
