package main

import (
	"fmt"
	"strings"

	"github.com/bundlewatch/bundlewatch/internal/status"
)

// destinationText writes for people what still has to go to a destination.
func destinationText(d *status.Destination) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s %s: %s\n", visible(d.Kind), visible(d.Name), visible(d.Address))
	if text := probeText(d); text != "" {
		fmt.Fprintf(&b, "  %s\n", text)
	}
	fmt.Fprintf(&b, "  %s\n", backlogText(d))
	for _, s := range d.Sending {
		fmt.Fprintf(&b, "    sending   %s %s: %s of %s, %d%%\n", visible(s.Watch), visible(s.Key), status.Size(s.Bytes), status.Size(s.Total), s.Percent())
	}
	if d.Error != "" {
		fmt.Fprintf(&b, "  FAILS since %s, next attempt %s: %s\n", clock(d.Since), clock(d.Retry), visible(d.Error))
	}
	if d.Conflicts+d.Refused > 0 {
		damaged := ""
		if d.Damaged > 0 {
			damaged = fmt.Sprintf(", %d of them damaged here", d.Damaged)
		}
		fmt.Fprintf(&b, "  %s, %d refused%s; looked at again every hour\n", count(d.Conflicts, "conflict"), d.Refused, damaged)
	}
	for _, r := range d.Refusals {
		what := "refused"
		switch {
		case r.Conflict:
			what = "conflict"
		case r.Damaged:
			what = "damaged"
		}
		fmt.Fprintf(&b, "    %-9s %s %s: %s\n", what, visible(r.Watch), visible(r.Key), visible(r.Reason))
	}
	if d.Sweeps != nil {
		fmt.Fprintf(&b, "  %s\n", sweepsText(d.Sweeps))
	}
	return b.String()
}

// probeText says what a store was seen to be capable of, "" for what is not probed.
func probeText(d *status.Destination) string {
	switch p := d.Probe; {
	case p == nil && d.Kind == "s3":
		return "not probed yet"
	case p == nil:
		return ""
	default:
		text := fmt.Sprintf("class %s, probed %s", p.Class, clock(&p.At))
		if p.Refused {
			text += ", REFUSED"
		}
		if len(p.Lacks) > 0 {
			text += ": " + visible(strings.Join(p.Lacks, "; "))
		}
		if clocks := status.ClockText(p.ClockAhead); clocks != "" {
			text += "\n  " + clocks
		}
		return text
	}
}

func sweepsText(s *status.Sweeps) string {
	text := "not swept yet"
	if s.Last != nil {
		text = fmt.Sprintf("last swept %s, %s (%s) removed since the start", clock(s.Last), count(s.Objects, "object"), status.Size(s.Bytes))
	}
	if s.Error != "" {
		text += ": FAILS: " + visible(s.Error)
	}
	return text
}

func backlogText(d *status.Destination) string {
	parts := []string{fmt.Sprintf("%s sent since the start (%s)", count(d.Sent, "bundle"), status.Size(d.SentBytes))}
	if !d.Listed {
		parts = append(parts, "not every bundle was looked at yet")
	}
	if d.Unchecked > 0 {
		parts = append(parts, fmt.Sprintf("%d to ask for", d.Unchecked))
	}
	switch {
	case d.Pending > 0:
		parts = append(parts, fmt.Sprintf("%d waiting (%s)", d.Pending, status.Size(d.PendingBytes)))
	case d.Unchecked == 0:
		parts = append(parts, "none waits")
	}
	if d.Oldest != nil {
		parts = append(parts, fmt.Sprintf("the oldest since %s: %s %s", clock(&d.Oldest.Published), visible(d.Oldest.Watch), visible(d.Oldest.Key)))
	}
	if d.Rate > 0 && d.Pending > 0 {
		parts = append(parts, fmt.Sprintf("%s/s, ETA %s", status.Size(d.Rate), lasting(d.ETA)))
	}
	return strings.Join(parts, ", ")
}
