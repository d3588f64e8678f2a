package config

import (
	"time"

	"github.com/bundlewatch/bundlewatch/internal/pattern"
)

// Config is a whole configuration file.
type Config struct {
	Path      string // absolute path of the file
	Artifacts Artifacts
	Watches   []Watch // in file order, at least one unless there is a Tidy
	Tidies    []Tidy  // in file order
	Pushes    []Push  // in file order
	Stores    []Store // in file order
	Limits    Limits
	HTTP      HTTP
	Status    Status
	Alerts    Alerts
	Notify    []Notify // in file order
	Sign      Sign
}

// Artifacts says where bundles are published.
type Artifacts struct {
	Dir    string // absolute; "" where there is no watch and none was given
	Budget int64  // how many bytes all of it may take; 0 for any number
}

// Watch is one [[watch]]: a directory tree and the checkpoint files to look for in it.
type Watch struct {
	Name    string // unique, safe as the name of a directory
	Root    string // absolute; need not exist
	Source  Source
	Settle  time.Duration    // how long a file must be quiet
	Expire  time.Duration    // how long an incomplete set waits before it is reported
	Rescan  time.Duration    // time between two full listings
	PollOps int              // calls into the file system that polling makes in a minute at most
	Regroup time.Duration    // how long a changed member of a published set waits for the others
	Marker  *pattern.Pattern // a file that must exist before a set is bundled; nil for none
	Code    string           // absolute, where the training code is; "" for none
	Members []Member         // in file order; at least one has a pattern
	// IgnoreWriters: it is not looked which processes write.
	IgnoreWriters bool
	Config        Snapshot
	Payload       Payload
	// PartSize is that of the first store for this watch, in bytes; 0 without one.
	PartSize int64
	// Retention is [watch.retention], or [retention] where the watch has none.
	Retention Retention
}

// Member is one role of a set.
type Member struct {
	Role     string
	Pattern  *pattern.Pattern // nil for a sentinel
	Sentinel bool             // the role has no file: another member holds its weights
}

// Snapshot says which config files are frozen with a set and how they become params.
type Snapshot struct {
	Files    []*pattern.Pattern // their placeholders are among those of the members
	Preset   Preset
	Required []string // params without which a set is refused
	// Metrics are CSV files with the metrics of epochs; their placeholders are among those of the members.
	Metrics []*pattern.Pattern
}

// Payload says what of a checkpoint goes into the archive.
type Payload struct {
	Keep    Keep
	Imports Imports
	Select  string // the entry of the checkpoint that holds the weights; "" lets bundlewatch find it
}

// Tidy is one [[tidy]]: a directory and the stray files at its top level that are moved away.
type Tidy struct {
	Root       string             // absolute; need not exist
	Match      []*pattern.Pattern // names at the top level; one of them has to match, at least one
	Keep       []*pattern.Pattern // names that are left alone whatever matches
	MoveTo     Template           // the directory that strays are moved to
	MinAge     time.Duration      // how long a stray must be unchanged
	MaxSize    int64              // in bytes; 0 for any size
	MaxPerHour int                // moves within an hour after which the block stops
	Tracked    Tracked
	Symlinks   bool          // symbolic links are moved too, as links
	Watch      string        // the watch whose captures MoveTo uses, "" for none
	Rescan     time.Duration // time between two listings besides events
}
