package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// operatorText writes what concerns room, retention, notifications and alerts.
func operatorText(s *status.Snapshot) string {
	var b strings.Builder
	if text := usedText(s); text != "" {
		fmt.Fprintf(&b, "used      %s\n", text)
	}
	if r := s.Retention; r != nil {
		fmt.Fprintf(&b, "retention %s\n", retentionText(r))
	}
	for _, n := range s.Notify {
		fmt.Fprintf(&b, "notify    %s: %s\n", visible(n.Name), notifyText(n))
	}
	for _, a := range s.Alerts {
		about := string(a.Name)
		if of := cmp.Or(a.Watch, a.Destination); of != "" {
			about += " of " + visible(of)
		}
		fmt.Fprintf(&b, "alert     %s since %s: %s\n", about, clock(&a.Since), visible(a.Text))
	}
	return b.String()
}

func usedText(s *status.Snapshot) string {
	if s.Artifacts.Used == 0 && s.Artifacts.Budget == 0 {
		return ""
	}
	text := status.Size(s.Artifacts.Used)
	if s.Artifacts.Budget > 0 {
		text += " of a budget of " + status.Size(s.Artifacts.Budget)
	}
	if s.Forecast == nil {
		return text
	}
	full := "the disk is full"
	if s.Artifacts.Floor > 0 {
		full = "the floor"
	}
	return text + ", " + s.Forecast.Text(full)
}

func retentionText(r *status.Retention) string {
	text := fmt.Sprintf("%s pruned since the start (%s), %s", count(r.Pruned, "bundle"), status.Size(r.Bytes), count(r.Failures, "failure"))
	if r.LastPass != nil {
		text += ", last applied " + clock(r.LastPass)
	}
	return text
}

func notifyText(n status.Notify) string {
	text := n.Kind
	if n.To != "" {
		text += " " + visible(n.To)
	}
	text += fmt.Sprintf(", %d delivered, %d given up, %d dropped, %d waiting", n.Delivered, n.Failed, n.Dropped, n.Queued)
	if n.Failing != nil {
		text += fmt.Sprintf("; FAILING for %s: %s", lasting(time.Since(*n.Failing).Seconds()), visible(n.Error))
	}
	return text
}
