package daemon

import (
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
	"github.com/bundlewatch/bundlewatch/internal/tidy"
)

// Kind says what an event is about.
type Kind string

// The kinds of events.
const (
	Watched         Kind = "watch"            // check: a watch, with its root as Path, before its sets
	Bundled         Kind = "bundle"           // a bundle was published
	PublishedBefore Kind = "published_before" // the set was published earlier, with the same content
	Ready           Kind = "ready"            // check: the set is complete and would be bundled, from the files in Members
	Waiting         Kind = "waiting"          // the set is not complete yet, for Waits
	Expired         Kind = "expired"          // the set has waited longer than expire, for Waits
	Refused         Kind = "refused"          // the file or set cannot be bundled as it is, for Reason; looked at again when it changes
	Failed          Kind = "failed"           // it could not be read, written or published, for Reason; a daemon tries again
	Skipped         Kind = "skipped"          // a symbolic link, a directory that cannot be listed, or a file passed over for a newer one
	RootGone        Kind = "root_gone"        // the root of a watch is missing
	RootBack        Kind = "root_back"        // it can be listed again
	Sent            Kind = "sent"             // a bundle was sent to Destination, which is proved to hold it
	Unsendable      Kind = "unsendable"       // Destination does not take a bundle, for Reason
	Unsent          Kind = "unsent"           // once: a bundle was not sent to Destination, for Reason

	// Told by a daemon alone.
	Complete     Kind = "complete"           // all members of the set are there and whole; it is queued
	Healed       Kind = "healed"             // the artifact directory can be written again, after Reason
	Stopped      Kind = "stopped"            // nothing is started any more, for Reason
	Started      Kind = "started"            // bundles are started again, after Reason
	Renewed      Kind = "renewed"            // the artifact directory was removed, and made anew
	Hung         Kind = "hung"               // a call into the file system of a root, or of the artifact directory, does not come back
	Answers      Kind = "answers"            // it came back
	PackStalled  Kind = "pack_stalled"       // nothing of a pack has moved for a while
	PackMoves    Kind = "pack_moves"         // it goes on
	SendFailing  Kind = "send_failing"       // Destination cannot be reached or used, for Reason; it is tried again
	SendHealed   Kind = "send_healed"        // it works again
	Swept        Kind = "swept"              // Objects were removed from the store Destination that nobody will miss
	SweepFailed  Kind = "sweep_failed"       // that failed, for Reason; it is tried again
	Pruned       Kind = "pruned"             // retention removed the archive of the bundle at Path, for Reason
	PruneFailed  Kind = "prune_failed"       // retention, or measuring the artifact directory, failed, for Reason; it is tried again
	AlertRaised  Kind = "alert_raised"       // Alert holds from now on, for Reason
	AlertCleared Kind = "alert_cleared"      // Alert is over, after Reason
	NotifyFails  Kind = "notify_fails"       // a [[notify]] block cannot deliver any more, for Reason
	NotifyWorks  Kind = "notify_works"       // it can again, after Reason
	Tidied       Kind = Kind(tidy.Moved)     // a stray was moved from Path to To
	TidyReady    Kind = Kind(tidy.Ready)     // check: it would be moved
	TidyLeft     Kind = Kind(tidy.Left)      // a stray is left alone, for Reason
	TidyRefused  Kind = Kind(tidy.Refused)   // it cannot be moved as it is, for Reason
	TidyFailed   Kind = Kind(tidy.Failed)    // the move failed, for Reason; a daemon tries again
	TidyStopped  Kind = Kind(tidy.Stopped)   // the storm guard has stopped a block
	TidyGone     Kind = Kind(tidy.RootGone)  // the root of a block is missing
	TidyBack     Kind = Kind(tidy.RootBack)  // it can be listed again
	TidyResolved Kind = Kind(tidy.Recovered) // what a crash had left was brought to an end
	TidyRestored Kind = Kind(tidy.Restored)  // a stray was put back from Path to To
	UndoRefused  Kind = Kind(tidy.NotPut)    // it cannot be put back, for Reason
)

// Event is something that a person wants to know. It is a line of --json.
type Event struct {
	Kind    Kind     `json:"event"`
	Watch   string   `json:"watch,omitempty"`
	Key     string   `json:"key,omitempty"`
	Role    string   `json:"role,omitempty"`
	Path    string   `json:"path,omitempty"`    // of the bundle, or of the file in question; absolute
	Reason  string   `json:"reason,omitempty"`  // for people
	Waits   []string `json:"waits,omitempty"`   // one entry per role
	Members []string `json:"members,omitempty"` // roles; the paths of their files for Ready
	Files   int      `json:"files,omitempty"`   // that match a pattern of the watch
	Sets    int      `json:"sets,omitempty"`    // that they make
	Bytes   int64    `json:"bytes,omitempty"`   // of the archive
	Tensors int      `json:"tensors,omitempty"` // in the archive
	Seconds float64  `json:"seconds,omitempty"` // from the first read to the rename
	Notes   []string `json:"notes,omitempty"`

	Alert  string `json:"alert,omitempty"`  // the name of an alert
	Target string `json:"target,omitempty"` // the name of a [[notify]] block

	run            string        // of the set, as far as it is known
	since          time.Time     // of an alert
	err            error         // that Reason is the text of
	naming, waited time.Duration // of Bundled: to give the bundle its name, since the set became complete
	Root           string        `json:"root,omitempty"`   // of a [[tidy]] block
	To             string        `json:"to,omitempty"`     // where a stray is now, or would be
	Digest         string        `json:"digest,omitempty"` // of a stray
	Git            string        `json:"git,omitempty"`    // what git says of a stray
	Destination    string        `json:"destination,omitempty"`
	Objects        int           `json:"objects,omitempty"` // of Swept
}

// Counts are the totals of a pass: Waiting counts Expired too, Refused what a destination does not take, and Failed
// missing roots and what was not sent.
type Counts struct {
	Bundled         int `json:"bundled"`
	PublishedBefore int `json:"published_before"`
	Ready           int `json:"ready,omitempty"`
	Waiting         int `json:"waiting"`
	Refused         int `json:"refused"`
	Failed          int `json:"failed"`
	Sent            int `json:"sent,omitempty"`
	Skipped         int `json:"skipped"`
	Tidied          int `json:"tidied,omitempty"`
	TidyReady       int `json:"tidy_ready,omitempty"`
	TidyLeft        int `json:"tidy_left,omitempty"`
	TidyRestored    int `json:"tidy_restored,omitempty"`
}

// Add counts an event by its kind.
func (c *Counts) Add(k Kind) {
	switch k {
	case Bundled:
		c.Bundled++
	case PublishedBefore:
		c.PublishedBefore++
	case Ready:
		c.Ready++
	case Waiting, Expired:
		c.Waiting++
	case Sent:
		c.Sent++
	case Refused, Unsendable, TidyRefused, TidyStopped, UndoRefused:
		c.Refused++
	case Failed, Unsent, RootGone, TidyFailed, TidyGone:
		c.Failed++
	case Skipped:
		c.Skipped++
	case Tidied:
		c.Tidied++
	case TidyReady:
		c.TidyReady++
	case TidyLeft:
		c.TidyLeft++
	case TidyRestored:
		c.TidyRestored++
	}
}

// Progress is told how a pack advances. It may be called from any goroutine.
type Progress interface {
	// Begin announces a bundle with so many bytes of members.
	Begin(watch, key string, total int64)
	// Advance tells that bytes were written.
	Advance(bytes int64)
	// End tells that the pack is over, well or not.
	End()
}

// Options are what a pass or a daemon needs besides the config.
type Options struct {
	// Tool is the program's name and version, for manifests.
	Tool string
	// Emit receives every event, from one goroutine at a time. It must not be nil.
	Emit func(Event)
	// Progress may be nil.
	Progress Progress
	// Sending is told several times a second what the destinations do, while a drain or a pass sends. It may be nil.
	Sending func([]status.Destination)
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	// Metrics may be nil.
	Metrics *status.Metrics
	// NoSend leaves what a pass published to a daemon, or to the next pass.
	NoSend bool

	common *common               // nil for one's own
	hook   func(op, path string) // of tests, before every call into a file system
}

func (o Options) alerts() config.Alerts { return *o.common.alerts.Load() }

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}
