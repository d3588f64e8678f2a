package tidy

// Kind says what an event is about.
type Kind string

// The kinds of events.
const (
	Moved     Kind = "tidied"        // a stray was moved from From to To
	Ready     Kind = "tidy_ready"    // it would be moved, in a pass that changes nothing
	Left      Kind = "tidy_left"     // it matches and is left alone, for Reason
	Refused   Kind = "tidy_refused"  // it cannot be moved as it is, for Reason
	Failed    Kind = "tidy_failed"   // the move or the whole pass failed, for Reason; it is tried again
	Stopped   Kind = "tidy_stopped"  // the storm guard has stopped the block, for Reason
	RootGone  Kind = "tidy_gone"     // the root is missing, for Reason
	RootBack  Kind = "tidy_back"     // it can be listed again
	Restored  Kind = "tidy_restored" // it was put back from From to To
	NotPut    Kind = "undo_refused"  // it cannot be put back, for Reason
	Recovered Kind = "tidy_resolved" // what a crash has left was brought to an end, as Reason says
)

// Event is something that a person wants to know.
type Event struct {
	Kind   Kind
	Root   string // of the block
	From   string // absolute
	To     string // absolute
	Bytes  int64
	Digest string // sha256:…, of a directory that of its listing
	Git    Git
	Reason string // for people
}
