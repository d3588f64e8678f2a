package config

import (
	"fmt"
	"strconv"
	"time"
)

// Retention says which bundles of a run keep their archive: those that any rule asks for. The zero value
// has no rule, and keeps all.
type Retention struct {
	KeepLast  int   // the newest of a run; 0 for no such rule
	KeepEvery Every // one out of so many
	KeepBest  Best  // those with the best metric
}

// IsZero tells whether there is no rule, so that nothing is ever pruned.
func (r Retention) IsZero() bool { return r == Retention{} }

// Every keeps one bundle out of a number of them, or out of a span of time. At most one is above zero.
type Every struct {
	Count int
	Span  time.Duration
}

// Best keeps the bundles of a run that have the best value of a metric.
type Best struct {
	Metric string // "" for no such rule
	Mode   Mode
	N      int
}

// Mode is which values of a metric are better.
type Mode string

// The modes.
const (
	ModeMin Mode = "min"
	ModeMax Mode = "max"
)

// UnmarshalText accepts the names of the modes.
func (m *Mode) UnmarshalText(text []byte) error { return choose(m, text, ModeMin, ModeMax) }

var retentionTable = tableDoc{
	header: "[retention]",
	meaning: "Which bundles keep their archive; `[watch.retention]` takes its place, as a whole, for one watch. A bundle stays when any rule " +
		"asks for it, when it is pinned (`bundlewatch pin`), or when no rule is given. The rules count within a run. What goes is the archive " +
		"alone: the manifest stays as a tombstone, so a pruned bundle is not made again. See [retention](retention.md).",
	keys: []keyDoc{
		{name: "keep_last", kind: "number", meaning: "So many of the newest bundles of each run stay."},
		{
			name: "keep_every", kind: "number or duration",
			meaning: "With a number, the first bundle of each run and every so-many-th after it stay, counted in the order of publication, pruned " +
				"ones included; with a duration such as `\"6h\"`, the first bundle of each such span of time.",
		},
		{name: "keep_best", kind: "table", meaning: "The bundles of each run with the best value of a metric stay: `keep_best = { metric = \"val_loss\", mode = \"min\", n = 3 }`."},
	},
}

var bestTable = tableDoc{
	header:  "keep_best = { … }",
	meaning: "Bundles whose metric is not known stay, and are named as such.",
	keys: []keyDoc{
		{
			name: "metric", kind: "string", required: true,
			meaning: "The name of the metric, as in the checkpoint's file name, in the state of Lightning's ModelCheckpoint or Trainer's `trainer_state.json`, " +
				"or the name of a column of the CSV files of `metrics` under `[watch.config]`.",
		},
		{name: "mode", kind: "string", initial: "min", meaning: "Which values are better: `\"min\"` or `\"max\"`."},
		{name: "n", kind: "number", initial: "1", meaning: "How many stay."},
	},
}

// retention reads [retention], or [watch.retention] where fallback is what holds without one.
func (s section) retention(fallback Retention) Retention {
	if _, given := s.values["retention"]; !given {
		return fallback
	}
	t := s.table("retention", retentionTable)
	r := Retention{KeepLast: t.number("keep_last"), KeepEvery: t.every("keep_every")}
	if _, given := t.values["keep_best"]; given {
		best := t.table("keep_best", bestTable)
		if best.values == nil {
			return r // named by table
		}
		r.KeepBest.Metric, _ = best.text("metric")
		best.choice("mode", &r.KeepBest.Mode)
		r.KeepBest.N = best.number("n")
	}
	return r
}

// number returns a whole number of at least 1, or its default, 0 where there is none.
func (s section) number(name string) int {
	value, given := s.values[name]
	if !given {
		n, _ := strconv.Atoi(s.doc.key(name).initial)
		return n
	}
	n, ok := value.(int64)
	if !ok || n < 1 || n > 1<<31-1 {
		s.add(s.place(name), describe(value), "a whole number of at least 1")
		return 0
	}
	return int(n)
}

// every reads a whole number or a duration.
func (s section) every(name string) Every {
	text, isText := s.values[name].(string)
	if !isText {
		return Every{Count: s.number(name)}
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < time.Second {
		s.add(s.place(name), strconv.Quote(text), fmt.Sprintf("a whole number of bundles, or a duration of at least %q, such as \"6h\"", "1s"))
		return Every{}
	}
	return Every{Span: d}
}

// Parse makes the configuration that src describes, as if it were read from path, which must be
// absolute. What is wrong in it is returned as [Problems].
func Parse(path, src string) (*Config, error) { return parse(path, src) }
