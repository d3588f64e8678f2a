package daemon

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/config"
	"github.com/bundlewatch/bundlewatch/internal/notify"
	"github.com/bundlewatch/bundlewatch/internal/status"
)

// lastWords is how long messages that wait are tried at the end.
const lastWords = 3 * time.Second

// newNotifier makes who tells the [[notify]] blocks.
func (d *Daemon) newNotifier() *notify.Notifier {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return notify.New(notify.Options{Tool: d.Tool, Host: host, Now: d.now, Changed: func(target string, err error, since time.Time) {
		if err != nil {
			d.wired.Emit(Event{Kind: NotifyFails, Target: target, Reason: err.Error()})
			return
		}
		d.wired.Emit(Event{Kind: NotifyWorks, Target: target, Reason: "it lasted " + d.now().Sub(since).Round(time.Second).String()})
	}})
}

// closeNotifier tells what still waits, for a short time.
func (d *Daemon) closeNotifier() {
	ctx, stop := context.WithTimeout(context.Background(), lastWords)
	defer stop()
	if dropped := d.notifier.Close(ctx); dropped > 0 {
		d.Log.Warn().Int("messages", dropped).Msg("notifications were dropped at the end")
	}
}

// notifyEvents say which events are told, and as what.
var notifyEvents = map[Kind]config.NotifyEvent{
	Bundled: config.NotifyPublish, Refused: config.NotifyRefusal, Failed: config.NotifyFailure, Expired: config.NotifyExpired,
	Pruned: config.NotifyPrune, AlertRaised: config.NotifyAlert, AlertCleared: config.NotifyAlert,
}

// herald hands an event on to who is to be told.
func (d *Daemon) herald(e Event) {
	if event, ok := notifyEvents[e.Kind]; ok {
		d.notifier.Tell(message(event, e))
	}
}

func message(event config.NotifyEvent, e Event) notify.Message {
	m := notify.Message{Event: event, Text: status.Plain(clip(e.sentence())), Watch: e.Watch, Run: e.run, Key: e.Key, Role: e.Role, Path: e.Path, Destination: e.Destination,
		Reason: clip(e.Reason), Bytes: e.Bytes, Tensors: e.Tensors, Seconds: e.Seconds}
	for _, w := range e.Waits {
		m.Waits = append(m.Waits, clip(w))
	}
	switch e.Kind {
	case AlertRaised:
		m.Alert = &notify.Alert{Name: e.Alert, State: notify.Raised, Since: e.since.UTC().Truncate(time.Millisecond)}
	case AlertCleared:
		m.Alert = &notify.Alert{Name: e.Alert, State: notify.Cleared, Since: e.since.UTC().Truncate(time.Millisecond)}
	}
	return m
}

// sentence says for people what happened.
func (e Event) sentence() string {
	set := e.Watch + " " + e.Key
	switch e.Kind {
	case Bundled:
		return fmt.Sprintf("bundle published: %s (%s)", set, status.Size(e.Bytes))
	case Refused:
		return fmt.Sprintf("refused: %s: %s", set, e.Reason)
	case Failed:
		return fmt.Sprintf("failed, tried again: %s: %s", set, e.Reason)
	case Expired:
		return "waits too long: " + set
	case Pruned:
		return fmt.Sprintf("archive pruned: %s (%s): %s", set, status.Size(e.Bytes), e.Reason)
	}
	about := e.Alert
	if of := cmp.Or(e.Watch, e.Destination); of != "" {
		about += " of " + of
	}
	if e.Kind == AlertCleared {
		return "alert over: " + about + ": " + e.Reason
	}
	return "alert: " + about + ": " + e.Reason
}

// showNotify shows how the [[notify]] blocks are doing.
func (d *Daemon) showNotify(now time.Time) []status.Notify {
	all := []status.Notify{}
	for _, t := range d.notifier.Stats() {
		n := status.Notify{Name: t.Name, Kind: t.Kind, To: t.To, Queued: t.Queued, Delivered: t.Delivered, Failed: t.Failed, Dropped: t.Dropped,
			Retried: t.Retried, Error: clip(t.Error)}
		if !t.Failing.IsZero() {
			n.Failing = back(now, t.Failing)
		}
		all = append(all, n)
	}
	return all
}
