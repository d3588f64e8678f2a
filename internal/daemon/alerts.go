package daemon

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// An alert stays for a while after its cause is gone, so that what comes and goes raises it once. A refusal is
// over by itself.
const (
	alertLingers  = 10 * time.Second
	refusalLasts  = time.Hour
	maxAlertTexts = 100 // alerts that hold at the same time; more are not raised one by one
)

// alertID tells alerts apart.
type alertID struct {
	name                    status.AlertName
	watch, run, destination string
}

// alarm is an alert that was raised.
type alarm struct {
	text   string
	since  time.Time
	seenAt time.Time // when it held last
}

// alarms remembers which alerts hold. It is used from the coordinator alone.
type alarms map[alertID]*alarm

// update takes in what holds now, and returns what is new and what is over.
func (a alarms) update(holds []status.Alert, now time.Time) (events []Event) {
	for _, h := range holds {
		id := alertID{h.Name, h.Watch, h.Run, h.Destination}
		known := a[id]
		if known == nil {
			if len(a) >= maxAlertTexts {
				continue
			}
			known = &alarm{since: now}
			a[id] = known
			events = append(events, alertEvent(AlertRaised, id, h.Text, now))
		}
		known.text, known.seenAt = h.Text, now
	}
	for id, known := range a {
		if known.seenAt != now && now.Sub(known.seenAt) >= alertLingers {
			delete(a, id)
			events = append(events, alertEvent(AlertCleared, id, known.text, known.since))
		}
	}
	slices.SortFunc(events, func(x, y Event) int { return strings.Compare(x.sortKey(), y.sortKey()) })
	return events
}

func (e Event) sortKey() string {
	return e.Alert + "\x00" + e.Watch + "\x00" + e.run + "\x00" + e.Destination
}

func alertEvent(k Kind, id alertID, text string, since time.Time) Event {
	return Event{Kind: k, Alert: string(id.name), Watch: id.watch, Destination: id.destination, Reason: text, run: id.run, since: since}
}

// shown are the alerts that hold, the oldest first.
func (a alarms) shown(now time.Time) []status.Alert {
	all := make([]status.Alert, 0, len(a))
	for id, known := range a {
		all = append(all, status.Alert{Name: id.name, Watch: id.watch, Run: clip(id.run), Destination: id.destination, Text: clip(known.text), Since: *back(now, known.since)})
	}
	slices.SortFunc(all, func(x, y status.Alert) int {
		if c := x.Since.Compare(y.Since); c != 0 {
			return c
		}
		return cmp.Or(cmp.Compare(x.Name, y.Name), cmp.Compare(x.Watch, y.Watch), cmp.Compare(x.Run, y.Run), cmp.Compare(x.Destination, y.Destination))
	})
	return all
}

// conditions are the alerts that hold as of a snapshot.
func (d *Daemon) conditions(s *status.Snapshot, now time.Time) []status.Alert {
	var all []status.Alert
	add := func(name status.AlertName, watch, format string, args ...any) {
		all = append(all, status.Alert{Name: name, Watch: watch, Text: fmt.Sprintf(format, args...)})
	}
	for i := range s.Watches {
		w := &s.Watches[i]
		d.rootConditions(w, add)
		for _, r := range w.Stalled {
			all = append(all, status.Alert{Name: status.AlertRunStalled, Watch: w.Name, Run: r.Run, Text: stalledText(r, now)})
		}
		if r, ok := d.journal.refused(w.Name); ok && now.Sub(r.At) < refusalLasts {
			add(status.AlertRefusal, w.Name, "%s was refused: %s", status.Plain(r.Key+place(r)), status.Plain(r.Reason))
		}
	}
	for _, p := range s.Packs {
		if p.Stalled {
			add(status.AlertPackStalled, p.Watch, "packing %s is stalled", status.Plain(p.Key))
		}
	}
	d.roomConditions(s, add)
	for i := range s.Destinations {
		all = append(all, destinationConditions(&s.Destinations[i], d.config.Alerts, now)...)
	}
	switch call := d.vigil.callOf("retention"); {
	case call != nil:
		add(status.AlertRetention, "", "retention hangs in %q of %q", call.Op, call.Path)
	case s.Retention != nil && s.Retention.Failing != "":
		add(status.AlertRetention, "", "retention fails: %s", status.Plain(s.Retention.Failing))
	}
	if s.Reload.Error != "" {
		add(status.AlertConfig, "", "reload refused, the old config stays in force: %s", status.Plain(firstLine(s.Reload.Error)))
	}
	for _, n := range s.Notify {
		if n.Failing != nil {
			add(status.AlertNotify, "", "%s cannot be told: %s", n.Name, status.Plain(n.Error))
			break // one alert; status shows each
		}
	}
	return all
}

func place(r status.Refusal) string {
	if r.Path == "" {
		return ""
	}
	return " (" + r.Path + ")"
}

func (d *Daemon) rootConditions(w *status.Watch, add func(status.AlertName, string, string, ...any)) {
	switch {
	case w.Hung != nil:
		add(status.AlertRootHung, w.Name, "root hangs in %q of %q", w.Hung.Op, w.Hung.Path)
	case w.Gone != "":
		add(status.AlertRootGone, w.Name, "root %q is not there: %s", w.Root, status.Plain(w.Gone))
	case w.Degraded != "":
		add(status.AlertRootDegraded, w.Name, "root %q is polled: %s", w.Root, status.Plain(w.Degraded))
	case w.Unreadable > 0:
		add(status.AlertRootDegraded, w.Name, "%d directories below %q cannot be listed", w.Unreadable, w.Root)
	}
}

// roomConditions are about the artifact directory.
func (d *Daemon) roomConditions(s *status.Snapshot, add func(status.AlertName, string, string, ...any)) {
	var belowFloor, overBudget int
	for _, r := range d.loops {
		if v := r.shown.Load(); v != nil {
			belowFloor += v.belowFloor
			overBudget += v.overBudget
		}
	}
	kept := d.keeper.shown.Load()
	switch {
	case kept.cause == causeFloor:
		add(status.AlertFreeSpace, "", "%s", status.Plain(kept.stopped))
	case belowFloor > 0:
		add(status.AlertFreeSpace, "", "%d sets do not fit: %s of %s are free, and %s must stay so", belowFloor, status.Size(s.Artifacts.Free), status.Size(s.Artifacts.Size), status.Size(s.Artifacts.Floor))
	}
	switch {
	case kept.cause == causeBudget:
		add(status.AlertBudget, "", "%s", status.Plain(kept.stopped))
	case overBudget > 0:
		add(status.AlertBudget, "", "%d sets do not fit: %s of the budget of %s are used", overBudget, status.Size(s.Artifacts.Used), status.Size(s.Artifacts.Budget))
	}
	switch {
	case d.vigil.callOf("artifacts") != nil:
		add(status.AlertArtifacts, "", "the file system of %q does not answer", s.Artifacts.Dir)
	case kept.cause != "" && kept.cause != causeFloor && kept.cause != causeBudget:
		add(status.AlertArtifacts, "", "%s", status.Plain(kept.stopped))
	case s.Artifacts.Fault != "":
		add(status.AlertArtifacts, "", "bundles cannot be written: %s", status.Plain(s.Artifacts.Fault))
	}
}

// destinationConditions are about a place that bundles go to.
func destinationConditions(t *status.Destination, limits config.Alerts, now time.Time) (all []status.Alert) {
	add := func(name status.AlertName, format string, args ...any) {
		all = append(all, status.Alert{Name: name, Destination: t.Name, Text: fmt.Sprintf(format, args...)})
	}
	switch {
	case t.Probe != nil && t.Probe.Refused:
		add(status.AlertDestinationClass, "nothing is sent there: class %s: %s", t.Probe.Class, status.Plain(strings.Join(t.Probe.Lacks, "; ")))
	case t.Since != nil && now.Sub(*t.Since) >= limits.DestinationDown:
		add(status.AlertDestinationDown, "it cannot be used: %s", status.Plain(t.Error))
	}
	if t.Oldest != nil && now.Sub(t.Oldest.Published) >= limits.DestinationBehind {
		add(status.AlertDestinationBehind, "%s %s was published %s and is not known to be there; %d bundles (%s) wait, %d are to be asked for", t.Oldest.Watch,
			status.Plain(t.Oldest.Key), t.Oldest.Published.Format(time.RFC3339), t.Pending, status.Size(t.PendingBytes), t.Unchecked)
	}
	if t.Conflicts > 0 {
		add(status.AlertDestinationConflict, "it holds other content under the names of %d bundles", t.Conflicts)
	}
	if t.Damaged > 0 {
		text := fmt.Sprintf("bundles that are damaged here do not go there: %d", t.Damaged)
		if i := slices.IndexFunc(t.Refusals, func(u status.Unsendable) bool { return u.Damaged }); i >= 0 {
			u := &t.Refusals[i]
			text += fmt.Sprintf("; %s %s: %s", u.Watch, status.Plain(u.Key), status.Plain(u.Reason))
		}
		add(status.AlertDestinationDamage, "%s", text)
	}
	return all
}
