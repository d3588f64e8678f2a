package status

import (
	"sync/atomic"
	"time"
)

// Schema is the version of the JSON object. Fields may be added to it; a change of what a field means
// makes another version.
const Schema = 1

// Snapshot is all that is shown of a daemon at one moment. It is not changed once it is published. Texts
// in it can come from outside, such as names of files.
type Snapshot struct {
	Version int       `json:"version"` // Schema
	At      time.Time `json:"at"`
	Tool    string    `json:"tool"`
	PID     int       `json:"pid"`
	Config  string    `json:"config"` // path of the file
	Started time.Time `json:"started"`
	Uptime  float64   `json:"uptime_seconds"`
	// Ready tells that every root was listed, or is known to be missing or to hang.
	Ready   bool   `json:"ready"`
	Summary string `json:"summary"` // a sentence for people
	// Problems are what somebody should look at, one sentence each; none when all is well.
	Problems  []string  `json:"problems"`
	Artifacts Artifacts `json:"artifacts"`
	Limits    Limits    `json:"limits"`
	Reload    Reload    `json:"reload"`
	// Alerts are those that hold, the oldest first.
	Alerts    []Alert    `json:"alerts"`
	Retention *Retention `json:"retention,omitempty"`
	Forecast  *Forecast  `json:"forecast,omitempty"`
	Notify    []Notify   `json:"notify"`
	HTTP      HTTP       `json:"http"`
	Counts    Counts     `json:"counts"`
	Watches   []Watch    `json:"watches"`
	Packs     []Pack     `json:"packs"`
	Bundles   []Bundle   `json:"bundles"`  // the last ones, newest first
	Refusals  []Refusal  `json:"refusals"` // the last ones, newest first
	Strays    []Stray    `json:"strays"`   // what [[tidy]] did last, newest first
	// Destinations are where bundles are sent to, in the order of the config.
	Destinations []Destination `json:"destinations,omitempty"`

	made time.Time // when it was published, with the monotonic clock
}

// Artifacts is the artifact directory and its file system.
type Artifacts struct {
	Dir     string `json:"dir"`
	Free    int64  `json:"free_bytes"` // for users who are not root
	Size    int64  `json:"size_bytes"`
	Floor   int64  `json:"floor_bytes"`  // what must stay free
	Used    int64  `json:"used_bytes"`   // what its files take; 0 before it was measured
	Budget  int64  `json:"budget_bytes"` // what they may take; 0 for any number
	Stopped string `json:"stopped,omitempty"`
	Fault   string `json:"fault,omitempty"`
	// Since is when it was stopped or became faulty.
	Since *time.Time `json:"since,omitempty"`
}

// Limits are the limits in force.
type Limits struct {
	Workers int `json:"workers"`
	// CPU is how much of one processor is taken on average while packing, in percent; 0: no limit.
	CPU       float64 `json:"cpu_percent"`
	ReadRate  int64   `json:"read_rate_bytes_per_second"` // 0: none
	KeptFiles int     `json:"kept_files"`
	Kept      int     `json:"kept"` // descriptors kept now
}

// Reload is what became of the last request to reload.
type Reload struct {
	At    *time.Time `json:"at,omitempty"` // none yet when missing
	Error string     `json:"error,omitempty"`
	Good  int        `json:"good"`
	Bad   int        `json:"refused"`
}

// HTTP is the listener for metrics.
type HTTP struct {
	Listen string `json:"listen,omitempty"`
	Error  string `json:"error,omitempty"`
}

// Counts are totals since the start.
type Counts struct {
	Published int `json:"published"`
	Refused   int `json:"refused"`
	Failed    int `json:"failed"`
	Expired   int `json:"expired"`
	Pruned    int `json:"pruned"`
	Tidied    int `json:"tidied"` // strays that were moved
}

// Watch is one watch and its root.
type Watch struct {
	Name       string  `json:"name"`
	Root       string  `json:"root"`
	Path       string  `json:"path,omitempty"` // where the root led to
	FileSystem string  `json:"file_system,omitempty"`
	Source     string  `json:"source"`
	Degraded   string  `json:"degraded,omitempty"` // why it is polled although it should not be
	Gone       string  `json:"gone,omitempty"`     // why the root is not there
	Hung       *Call   `json:"hung,omitempty"`
	Settle     float64 `json:"settle_seconds"`
	// Directories and Files count what is known, FilesWaiting the files that are not finished.
	Directories  int   `json:"directories"`
	Files        int   `json:"files"`
	FilesWaiting int   `json:"files_waiting"`
	Unreadable   int   `json:"unreadable_directories"`
	Overflows    int   `json:"overflows"`
	Inotify      int   `json:"inotify_watches"`
	Scan         Scan  `json:"scan"`
	Operations   int64 `json:"operations"` // calls into the file system since the start
	// Mounts are the file systems of the tree, the root's among them, and MountsLeftOut how many more.
	Mounts        []Mount `json:"mounts,omitempty"`
	MountsLeftOut int     `json:"mounts_left_out,omitempty"`
	Kept          int     `json:"kept"`
	Sets          Sets    `json:"sets"`
	// Pending are the sets that are not published, those that wait longest first. LeftOut counts the
	// others.
	Pending []Set `json:"pending"`
	LeftOut int   `json:"pending_left_out"`
	// LastBundle is when the last bundle of the watch was published; none since the start when missing.
	LastBundle *time.Time `json:"last_bundle,omitempty"`
	// Stalled are runs that are active and bring no set.
	Stalled []Stalled `json:"stalled_runs,omitempty"`
}

// Call is a call into a file system that does not come back.
type Call struct {
	Op      string    `json:"op"`
	Path    string    `json:"path"`
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"`
}

// Scan is the listing of a root and what it costs.
type Scan struct {
	Count      int        `json:"count"`
	Ended      *time.Time `json:"ended,omitempty"` // the last one
	Seconds    float64    `json:"seconds"`         // it took
	Operations int64      `json:"operations"`      // calls into the file system
	Running    *time.Time `json:"running_since,omitempty"`
}

// Mount is a file system below a root.
type Mount struct {
	Path        string  `json:"path"`
	FileSystem  string  `json:"file_system"`
	Source      string  `json:"source"`
	Degraded    string  `json:"degraded,omitempty"`
	Settle      float64 `json:"settle_seconds"`
	Directories int     `json:"directories"`
}

// State is what a set that is not published is doing.
type State string

// The states.
const (
	Waiting    State = "waiting"    // for members or a marker
	Queued     State = "queued"     // complete
	Packing    State = "packing"    // is being bundled
	Retrying   State = "retrying"   // after a failure
	Regrouping State = "regrouping" // its members are written anew one by one
	Refused    State = "refused"    // until a file of it changes
	Expired    State = "expired"    // waits for longer than it should
)

// States are all states.
var States = []State{Waiting, Queued, Packing, Retrying, Regrouping, Refused, Expired}

// Sets counts the sets of a watch.
type Sets struct {
	Known     int           `json:"known"` // whose files are there
	Published int           `json:"published"`
	Pending   map[State]int `json:"pending"`
	// Oldest is since when the set waits that waits longest; refused and expired ones do not count.
	Oldest *time.Time `json:"oldest_pending,omitempty"`
}

// Set is a set that is not published.
type Set struct {
	Key     string    `json:"key"`
	State   State     `json:"state"`
	Since   time.Time `json:"since"`
	Seconds float64   `json:"seconds"` // since then
	Waits   []string  `json:"waits,omitempty"`
}

// Pack is a bundle that is being made.
type Pack struct {
	Watch   string    `json:"watch"`
	Key     string    `json:"key"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Bytes   int64     `json:"bytes"`
	Total   int64     `json:"total_bytes"` // 0 until it is known
	Rate    int64     `json:"bytes_per_second"`
	ETA     float64   `json:"eta_seconds,omitempty"`
	// Stalled tells that no byte has moved for a while, in which call when it is one.
	Stalled bool  `json:"stalled"`
	In      *Call `json:"in,omitempty"`
}

// Percent tells how much of a pack is done.
func (p Pack) Percent() int { return int(100 * min(p.Bytes, p.Total) / max(p.Total, 1)) }

// Bundle is a bundle that was published.
type Bundle struct {
	Watch   string    `json:"watch"`
	Key     string    `json:"key"`
	Path    string    `json:"path"`
	Bytes   int64     `json:"bytes"`
	Seconds float64   `json:"seconds"`
	At      time.Time `json:"at"`
}

// Refusal is a file or set that could not be bundled as it was.
type Refusal struct {
	Watch  string    `json:"watch"`
	Key    string    `json:"key"`
	Role   string    `json:"role,omitempty"`
	Path   string    `json:"path,omitempty"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Stray is what became of a stray file.
type Stray struct {
	Event  string    `json:"event"` // as in --json of tidy: "tidied", "tidy_refused", …
	Root   string    `json:"root"`
	From   string    `json:"from,omitempty"`
	To     string    `json:"to,omitempty"` // of one that was moved
	Bytes  int64     `json:"bytes,omitempty"`
	Reason string    `json:"reason,omitempty"` // of one that was not
	At     time.Time `json:"at"`
}

// Board holds the last snapshot. It may be used from any goroutine.
type Board struct {
	last atomic.Pointer[Snapshot]
}

// Publish replaces the snapshot, which must not be changed afterwards.
func (b *Board) Publish(s *Snapshot) {
	s.Version, s.made = Schema, time.Now()
	b.last.Store(s)
}

// Last returns the last snapshot; nil before the first.
func (b *Board) Last() *Snapshot { return b.last.Load() }

// stale is after how long without a new snapshot a daemon is taken for stuck.
const stale = 30 * time.Second

// age is how old the snapshot is. A clock that is set back or forth does not matter.
func (s *Snapshot) age() time.Duration { return time.Since(s.made) }
