package page

import (
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// destinationView is a place that bundles go to.
type destinationView struct {
	*status.Destination
	Mood, Word string
	Why        string // it does not work
	Since      *moment
	Again      string // when it is tried again
	Waits      string // how much still has to go
	OldestAt   *moment
	Pace       string // rate and time to go, "" when nothing moves
	ProbedAt   *moment
	Lacks      string
	Clocks     string // they differ
	SweptAt    *moment
	Unsendable folded[unsendableView]
}

type unsendableView struct {
	status.Unsendable
	Word, Mood string
	When       *moment
}

func viewDestination(d *status.Destination, now time.Time) destinationView {
	v := destinationView{Destination: d, Since: atPointer(now, d.Since), Waits: waits(d), Why: d.Error}
	v.Mood, v.Word = standing(d)
	if d.Retry != nil {
		v.Again = "at once"
		if left := d.Retry.Sub(now); left > time.Second {
			v.Again = "in " + coarse(left)
		}
	}
	if d.Oldest != nil {
		v.OldestAt = at(now, d.Oldest.Published)
	}
	if d.Rate > 0 {
		v.Pace = status.Size(d.Rate) + "/s"
		if d.ETA > 0 {
			v.Pace += ", " + seconds(d.ETA) + " to go"
		}
	}
	if d.Probe != nil {
		v.ProbedAt, v.Lacks = at(now, d.Probe.At), strings.Join(d.Probe.Lacks, "; ")
		v.Clocks = status.ClockText(d.Probe.ClockAhead)
	}
	if d.Sweeps != nil {
		v.SweptAt = atPointer(now, d.Sweeps.Last)
	}
	v.Unsendable = fold(d.Refusals, func(u status.Unsendable) unsendableView {
		if u.Conflict {
			return unsendableView{u, "conflict", "bad", at(now, u.At)}
		}
		if u.Damaged {
			return unsendableView{u, "damaged", "bad", at(now, u.At)}
		}
		return unsendableView{u, "refused", "warn", at(now, u.At)}
	})
	return v
}

// standing says in one word how a destination does.
func standing(d *status.Destination) (mood, word string) {
	switch {
	case d.Probe != nil && d.Probe.Refused:
		return "bad", "not used"
	case d.Error != "":
		return "bad", "fails"
	case d.Conflicts > 0:
		return "warn", "conflict"
	case d.Damaged > 0:
		return "warn", "damage"
	case d.Refused > 0:
		return "warn", "refuses"
	case len(d.Sending) > 0:
		return "ok", "sending"
	case d.Pending > 0:
		return "warn", "behind"
	case !d.Listed || d.Unchecked > 0:
		return "warn", "being asked"
	}
	return "ok", "has all"
}

// waits says how much still has to go.
func waits(d *status.Destination) string {
	parts := []string{"nothing"}
	if d.Pending > 0 {
		parts[0] = plural(d.Pending, "bundle", "bundles") + ", " + status.Size(d.PendingBytes)
	}
	if d.Unchecked > 0 {
		parts = append(parts, count(d.Unchecked)+" to be asked for")
	}
	if !d.Listed {
		parts = append(parts, "not every bundle was looked at yet")
	}
	return strings.Join(parts, "; ")
}
